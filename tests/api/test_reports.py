"""An object with the report on it: for those who ask for it, and for nobody else."""

from email import message_from_bytes
from email.message import Message
from email.policy import HTTP

import httpx
import pytest

from app.api.profile_schemas import ObjectReport
from app.api.reports import wants_report
from tests import builders
from tests.api.conftest import WHO, House

DICOM = {"Content-Type": "application/dicom"}
RELATED = {"Accept": 'multipart/related; type="application/dicom"'}


def parts_of(answer: httpx.Response) -> list[Message]:
    """Take a message apart with the standard library's parser."""
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
    parts = message_from_bytes(head + answer.content, policy=HTTP).get_payload()
    assert isinstance(parts, list)
    return parts


def part_bytes(answer: httpx.Response, number: int) -> bytes:
    """Return a part byte for byte: the parser above is one for text."""
    boundary = answer.headers["Content-Type"].partition("boundary=")[2]
    part = answer.content.split(f"--{boundary}".encode())[number + 1]
    return part.partition(b"\r\n\r\n")[2][:-2]


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (b"", False),
        (b"*/*", False),
        (b"application/dicom", False),
        (b"multipart/*", False),
        (b"multipart/form-data", False),
        (b"multipart/related", True),
        (b"Multipart/Related", True),
        (b'multipart/related; type="application/dicom"', True),
        (b"multipart/related;type=application/dicom, */*;q=0.1", True),
        (b"application/dicom, multipart/related", True),
        (b"application/dicom;q=0.5, multipart/related;q=0.9", True),
        (b"application/dicom, multipart/related;q=0.9", False),
        (b"multipart/related;q=0", False),
        (b"multipart/related;q=2", False),
        (b'multipart/related; type="application/json"', False),
        (b'x/y;a="multipart/related"', False),
    ],
)
def test_the_report_comes_where_it_is_named_and_preferred(accept: bytes, wanted: bool) -> None:
    assert wants_report(accept) is wanted


async def test_object_and_report_come_as_two_parts(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    headers = DICOM | await house.headers()
    plain = await client.post("/anonymize-stream", content=instance, headers=headers)

    answer = await client.post("/anonymize-stream", content=instance, headers=headers | RELATED)

    first, second = parts_of(answer)
    study = answer.headers["X-Cloud-Study-Id"]
    assert (first.get_content_type(), second.get_content_type()) == (
        "application/dicom",
        "application/json",
    )
    assert (first.get_filename(), second.get_filename()) == (f"{study}.dcm", f"{study}.json")
    assert int(first["Content-Length"]) == len(plain.content)
    assert part_bytes(answer, 0) == plain.content


async def test_the_report_tells_what_was_done_and_no_value(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    headers = DICOM | RELATED | await house.headers()

    answer = await client.post("/anonymize-stream", content=instance, headers=headers)

    text = part_bytes(answer, 1).decode()
    report = ObjectReport.model_validate_json(text)
    actions = {element.path: element.action for element in report.elements}
    assert report.cloud_study_id == answer.headers["X-Cloud-Study-Id"]
    assert actions["(0010,0010)"] == "identity"
    assert sum(report.counts.values()) == len(report.elements)
    assert [code.value for code in report.method_codes] == ["113100"]
    assert '"old"' not in text
    assert [planted for planted in WHO.texts if planted in text] == []


async def test_other_headers_stay_as_they_are(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    headers = DICOM | await house.headers()
    plain = await client.post("/anonymize-stream", content=instance, headers=headers)

    answer = await client.post("/anonymize-stream", content=instance, headers=headers | RELATED)

    missing = {"content-length", "content-disposition"}
    assert set(plain.headers) - set(answer.headers) == missing
    assert answer.headers["X-Deid-Profile"] == plain.headers["X-Deid-Profile"]
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("accept", ["*/*", "application/dicom", "application/json"])
async def test_whoever_does_not_ask_gets_the_object_alone(
    client: httpx.AsyncClient, house: House, instance: bytes, accept: str
) -> None:
    headers = DICOM | {"Accept": accept} | await house.headers()

    answer = await client.post("/anonymize-stream", content=instance, headers=headers)

    assert answer.headers["Content-Type"] == "application/dicom"
    assert answer.headers["Content-Length"] == str(len(answer.content))
    assert answer.content[128:132] == b"DICM"


async def test_a_refused_object_has_no_report(client: httpx.AsyncClient, house: House) -> None:
    headers = DICOM | RELATED | await house.headers()

    answer = await client.post("/anonymize-stream", content=b"not DICOM at all", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (400, "not-dicom")


async def test_a_large_object_keeps_every_byte_beside_its_report(
    address: str, house: House
) -> None:
    dataset = builders.ct(WHO)
    dataset.Rows = dataset.Columns = 2304
    dataset.PixelData = bytes(range(256)) * (2304 * 2304 * 2 // 256)
    headers = DICOM | RELATED | await house.headers()

    async with httpx.AsyncClient() as speaking:
        answer = await speaking.post(
            f"{address}/anonymize-stream", content=builders.part10(dataset), headers=headers
        )

    assert len(dataset.PixelData) > house.gateway.settings.memory_body_bytes
    assert part_bytes(answer, 0).endswith(dataset.PixelData)
    assert ObjectReport.model_validate_json(part_bytes(answer, 1)).elements[-1].result == "kept"
