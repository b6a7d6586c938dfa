"""Clean Pixel Data over HTTP: masked, held back with a place to look, decided, sent again."""

import io
import json
from collections.abc import AsyncIterator, Callable
from email.parser import BytesParser
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border

from app import bootstrap
from app.api.application import create_app
from app.api.profile_schemas import ExplainedObject, ObjectReport
from app.settings import Settings
from tests.api.conftest import House
from tests.pipeline.echo import BANNER, RULES, WHO, echo, encoded, with_region

DICOM = {"Content-Type": "application/dicom"}
PROFILE = "{name: cleaning, options: [basic, clean_pixel_data]}"
SENDER = frozenset({"anonymize"})
REVIEWER = frozenset({"review"})


@pytest.fixture
async def house(
    configured: Callable[..., Settings], database_url: str, logs: io.StringIO, tmp_path: Path
) -> AsyncIterator[House]:
    """Serve a site with a profile and a mask rule of its own, and without a reader of text."""
    for name, text in (("profiles", PROFILE), ("rules", RULES)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "site.yaml").write_text(text)
    given = configured(
        profiles_dir=tmp_path / "profiles", pixel_rules_dir=tmp_path / "rules", ocr_processes=0
    )
    async with bootstrap.opened(given) as gateway:
        yield House(gateway, database_url, logs)


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(house.gateway.services()))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as speaking:
        yield speaking


async def viewer(house: House) -> dict[str, str]:
    return DICOM | await house.headers(
        "viewer", scopes=SENDER, profile="cleaning", profiles=frozenset({"basic"})
    )


UNKNOWN = {"Manufacturer": "NARWHAL", "ManufacturerModelName": "Sonar 1"}


async def test_a_known_device_is_masked_on_the_way(client: httpx.AsyncClient, house: House) -> None:
    answer = await client.post(
        "/anonymize-stream", content=encoded(echo()), headers=await viewer(house)
    )

    made = dcmread(io.BytesIO(answer.content))
    assert answer.status_code == 200
    assert not made.pixel_array[: BANNER.bottom].any()
    assert made.pixel_array[BANNER.bottom :].any()
    assert made.BurnedInAnnotation == "NO"


async def test_a_doubtful_object_is_held_and_the_same_bytes_get_what_was_decided(
    client: httpx.AsyncClient, house: House
) -> None:
    data, headers = encoded(echo(**UNKNOWN)), await viewer(house)
    reviewer = await house.headers("reviewer", scopes=REVIEWER)

    held = await client.post("/anonymize-stream", content=data, headers=headers)
    again = await client.post("/anonymize-stream", content=data, headers=headers)
    place = held.headers["Location"]
    mark = {"left": 0, "top": 40, "right": 96, "bottom": 64}
    decided = await client.post(f"{place}/mask", json={"marks": [mark]}, headers=reviewer)
    passed = await client.post("/anonymize-stream", content=data, headers=headers)

    problem = held.json()
    assert (held.status_code, problem["code"]) == (422, "quarantined")
    assert place == f"/quarantine/{problem['quarantine_id']}"
    assert again.headers["Location"] == place
    assert decided.status_code == 200, decided.text
    assert passed.status_code == 200, passed.text
    made = dcmread(io.BytesIO(passed.content))
    assert not made.pixel_array[40:].any()
    assert made.pixel_array[:40].any()
    assert house.outcomes("anonymize") == ["quarantined", "quarantined", "success"]
    details = [row["detail"] for row in house.audit() if row["action"] == "anonymize"]
    assert {one["quarantine"] for one in details} == {problem["quarantine_id"]}
    assert details[-1]["masks"] == 1
    assert WHO.family not in held.text + house.logs.getvalue()


async def test_what_was_rejected_stays_refused(client: httpx.AsyncClient, house: House) -> None:
    data, headers = encoded(echo(**UNKNOWN)), await viewer(house)
    reviewer = await house.headers("reviewer", scopes=REVIEWER)

    held = await client.post("/anonymize-stream", content=data, headers=headers)
    await client.post(f"{held.headers['Location']}/reject", headers=reviewer)
    again = await client.post("/anonymize-stream", content=data, headers=headers)

    assert (again.status_code, again.json()["code"]) == (422, "rejected-in-review")


async def test_an_explanation_names_rung_rule_and_rectangles(
    client: httpx.AsyncClient, house: House
) -> None:
    answer = await client.post(
        "/profiles/cleaning/explain", content=encoded(echo()), headers=await viewer(house)
    )

    told = ExplainedObject.model_validate(answer.json())
    assert told.pixels is not None
    (mark,) = told.pixels.marks
    assert (mark.rung, mark.rule) == ("mask-rule", "acme-echo")
    assert (mark.right, mark.bottom) == (BANNER.right, BANNER.bottom)
    assert told.pixels.verdict == "mask"
    assert WHO.family not in answer.text
    rules = {line.path: line.rule for line in told.elements}
    assert rules["(7FE0,0010)"].kind == "clean-pixel-data"
    assert "E.3.1" in rules["(0008,0008)"].text


async def test_the_report_that_goes_with_an_object_tells_what_was_masked(
    client: httpx.AsyncClient, house: House
) -> None:
    headers = await viewer(house) | {"Accept": "multipart/related"}

    answer = await client.post("/anonymize-stream", content=encoded(echo()), headers=headers)

    kind = answer.headers["Content-Type"].encode()
    parts = BytesParser().parsebytes(b"Content-Type: " + kind + b"\r\n\r\n" + answer.content)
    payloads = [part.get_payload(decode=True) for part in parts.get_payload()]
    (report,) = [one for one in payloads if one.lstrip().startswith(b"{")]
    assert ObjectReport.model_validate(json.loads(report)).pixels is not None


async def test_without_the_option_a_declared_image_is_refused_with_advice(
    client: httpx.AsyncClient, house: House
) -> None:
    data = encoded(with_region(echo(BurnedInAnnotation="YES"), 10, 20, 59, 49))

    answer = await client.post(
        "/anonymize-stream?profile=basic", content=data, headers=await viewer(house)
    )

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "burned-in-annotation-suspected")
    assert "clean_pixel_data" in problem["detail"]


async def test_the_gateway_says_loudly_that_nothing_reads_what_a_profile_wants_read(
    house: House,
) -> None:
    warned = [json.loads(line) for line in house.logs.getvalue().splitlines()]

    assert [one["profile"] for one in warned if one["event"] == "ocr-absent"] == ["cleaning"]
