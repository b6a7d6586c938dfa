"""Archives that are sent: taken whole and bounded, or gone without a trace."""

import asyncio
import errno
import json
import os
import zipfile
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from app import bootstrap, errors
from app.api import batch_uploads
from app.api.application import create_app
from app.batches.records import NewBatch
from app.batches.service import BatchService
from app.settings import Settings
from app.storage.uploads import Uploads
from tests.api.batch_worker import PLANTED, Worker, archive, intake_of, uploads
from tests.api.conftest import House, listening

MIB = 1 << 20
ZIP = {"Content-Type": "application/zip"}
KEY = {"Idempotency-Key": "nightly-17"}


@pytest.fixture
async def headers(house: House) -> dict[str, str]:
    return await house.headers("sender")


@pytest.fixture
async def worker(house: House) -> Worker:
    return await Worker.joined(house)


async def send(
    client: httpx.AsyncClient, headers: dict[str, str], content: bytes, query: str = ""
) -> httpx.Response:
    return await client.post(f"/batch-prepare{query}", content=content, headers=headers | ZIP)


# --- What is taken -----------------------------------------------------------------------------


async def test_an_archive_is_taken_as_it_was_sent(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], worker: Worker
) -> None:
    content = archive(os.urandom(3 * MIB))

    answer = await send(client, headers, content, "?organization_id=DEMO&priority=STAT&fhir=true")

    [kept] = uploads(house)
    claim = await house.gateway.work.claim_scan(worker.worker, intake_of(house).staging_id)
    assert (answer.status_code, answer.json()["priority"]) == (202, "STAT")
    assert kept.read_bytes() == content
    assert kept.stat().st_mode & 0o777 == 0o600
    assert claim is not None
    assert claim.request.fhir is True
    assert claim.request.source == {"kind": "archive", "name": kept.name}
    assert PLANTED not in kept.name + house.logs.getvalue()


async def test_a_form_carries_an_archive_and_its_fields(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    content = archive(os.urandom(3 * MIB))

    answer = await client.post(
        "/batch-prepare",
        data={"priority": "URGENT", "on_error": "skip", "fhir": "false"},
        files={"archive": (f"{PLANTED}.zip", content)},
        headers=headers,
    )

    [kept] = uploads(house)
    shown = answer.json()
    assert (answer.status_code, shown["priority"], shown["on_error"]) == (202, "URGENT", "skip")
    assert kept.read_bytes() == content
    assert PLANTED not in answer.text + kept.name + house.logs.getvalue()


def form(*parts: tuple[str, bytes], end: bytes = b"--B--\r\n") -> bytes:
    lines = [
        b'--B\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value)
        for name, value in parts
    ]
    return b"".join(lines) + end


FORM = {"Content-Type": "multipart/form-data; boundary=B"}


async def test_fields_may_follow_the_archive(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    body = form(("archive", archive()), ("priority", b"STAT"))

    answer = await client.post("/batch-prepare", content=body, headers=headers | FORM)

    assert (answer.status_code, answer.json()["priority"]) == (202, "STAT")


async def test_an_archive_is_done_where_it_lies(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], worker: Worker
) -> None:
    await send(client, headers, archive())

    assert await house.gateway.work.claim_scan(worker.worker, worker.worker) is None


# --- What is refused ---------------------------------------------------------------------------


REFUSED = {
    "?priority=SOON": 400,
    "?organisation_id=DEMO": 400,
    "?priority=STAT&priority=STAT": 400,
    "?study_directory=/srv": 400,
    "?source_url=s3://scanner/1": 400,
    "?fhir=perhaps": 400,
    "?profile=%FF": 400,
    "?" + "&".join(f"a{number}=1" for number in range(200)): 400,
    "?organization_id=OTHER": 403,
    "?profile=basic-per-study": 403,
    "?destination=nowhere": 404,
    "?callback_url=https://elsewhere.example/PLANTED": 422,
}


async def test_what_may_not_be_is_refused_before_the_archive_is_taken(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    answers = {query: await send(client, headers, archive(), query) for query in REFUSED}

    assert {query: answer.status_code for query, answer in answers.items()} == REFUSED
    assert uploads(house) == []
    assert [answer.text for answer in answers.values() if PLANTED in answer.text] == []


INVALID = "invalid-request"
NO_FORMS = [
    (form(("priority", b"STAT")), INVALID),
    (form(("archive", b"")), INVALID),
    (form(("archive", b"PK"), ("archive", b"PK")), INVALID),
    (form(("archive", b"PK"), end=b""), INVALID),
    (form(("archive", b"PK"), ("PLANTED", b"1")), INVALID),
    (form(("PLANTED", b"1"), ("archive", b"PK")), INVALID),
    (form(("priority", b"STAT"), ("priority", b"STAT"), ("archive", b"PK")), INVALID),
    (form(("priority", b"\xff"), ("archive", b"PK")), INVALID),
    (form(("profile", b"a" * 20_000), ("archive", b"PK")), INVALID),
    (form(("study_directory", b"/srv"), ("archive", b"PK")), INVALID),
    (form(("archive", b"PK"), ("study_directory", b"/srv")), INVALID),
    (form(("organization_id", b"OTHER"), ("archive", b"PK")), "not-authorised"),
    (form(("archive", b"PK"), ("organization_id", b"OTHER")), "not-authorised"),
    (b"no form", INVALID),
    (b"", INVALID),
]


async def test_a_form_that_may_not_be_leaves_nothing(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    answers = [
        await client.post("/batch-prepare", content=body, headers=headers | FORM)
        for body, _ in NO_FORMS
    ]

    assert [answer.json()["code"] for answer in answers] == [code for _, code in NO_FORMS]
    assert uploads(house) == []
    assert [answer.text for answer in answers if PLANTED in answer.text] == []
    assert house.outcomes("batch-prepare") == ["not-authorised"] * 2


KINDS = {
    "multipart/form-data": 400,
    "multipart/form-data; boundary=": 400,
    f"multipart/form-data; boundary={'B' * 71}": 400,
    "application/x-zip-compressed": 415,
    "application/octet-stream": 415,
}


async def test_other_kinds_of_body_are_refused(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    answers = {
        kind: await client.post(
            "/batch-prepare", content=archive(), headers=headers | {"Content-Type": kind}
        )
        for kind in KINDS
    }

    assert {kind: answer.status_code for kind, answer in answers.items()} == KINDS
    assert uploads(house) == []


async def test_a_form_takes_no_query_parameters(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    body = form(("archive", archive()))

    answer = await client.post("/batch-prepare?priority=STAT", content=body, headers=headers | FORM)

    assert answer.status_code == 400


async def test_an_empty_archive_is_refused(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    answer = await send(client, headers, b"")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")
    assert uploads(house) == []


# --- Bounds ------------------------------------------------------------------------------------


@pytest.fixture
async def narrow(configured: Callable[..., Settings]) -> AsyncIterator[str]:
    settings = configured(max_archive_bytes=MIB, body_idle_timeout_s=0.2)
    async with bootstrap.opened(settings) as gateway, listening(gateway) as url:
        yield url


async def pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(0, size, 64 << 10):
        yield bytes(64 << 10)


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_an_archive_that_is_too_large_is_refused_with_an_answer(
    narrow: str, house: House, headers: dict[str, str], declared: bool
) -> None:
    typed = headers | ZIP | ({"Content-Length": str(8 * MIB)} if declared else {})

    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(
            f"{narrow}/batch-prepare", content=pieces(8 * MIB), headers=typed
        )

    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert uploads(house) == []


async def test_a_form_that_is_too_large_is_refused_with_an_answer(
    narrow: str, house: House, headers: dict[str, str]
) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(
            f"{narrow}/batch-prepare", files={"archive": bytes(2 * MIB)}, headers=headers
        )

    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert uploads(house) == []


async def test_a_form_of_too_many_fields_is_refused(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    fields = [(f"field-{number}", b"a" * 10_000) for number in range(40)]

    answer = await client.post("/batch-prepare", content=form(*fields), headers=headers | FORM)

    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert uploads(house) == []


async def sending(
    address: str, headers: dict[str, str]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Begin to send an archive of which most never comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
    writer.write(
        b"POST /batch-prepare HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/zip\r\n"
        + f"Authorization: {headers['Authorization']}\r\n".encode()
        + b"Content-Length: 999999\r\n\r\nPK"
    )
    await writer.drain()
    return reader, writer


async def test_an_archive_that_stops_arriving_is_given_up(
    narrow: str, house: House, headers: dict[str, str]
) -> None:
    reader, writer = await sending(narrow, headers)

    answer = await asyncio.wait_for(reader.readuntil(b"}"), timeout=20)

    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"body-timeout" in answer
    assert uploads(house) == []


async def test_a_sender_who_hangs_up_leaves_nothing(
    address: str, house: House, headers: dict[str, str]
) -> None:
    _, writer = await sending(address, headers)
    await _until(lambda: bool(uploads(house)))
    writer.transport.abort()
    await _until(lambda: not uploads(house))

    assert house.outcomes("batch-prepare") == []


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the server offers no event
            await asyncio.sleep(0.01)


async def test_a_full_staging_area_takes_no_archive(
    configured: Callable[..., Settings], house: House, headers: dict[str, str]
) -> None:
    async with bootstrap.opened(configured(staging_min_free_bytes=1 << 60)) as gateway:
        transport = httpx.ASGITransport(create_app(gateway.services()))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as full:
            answer = await send(full, headers, archive())

    assert (answer.status_code, answer.json()["code"]) == (503, "staging-full")
    assert answer.headers["Retry-After"]
    assert uploads(house) == []


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "staging-full"), (errno.EIO, "staging-unavailable")]
)
async def test_a_disk_that_takes_no_more_is_told_from_a_broken_one(
    client: httpx.AsyncClient,
    house: House,
    headers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    code: str,
) -> None:
    def failing(*_: object) -> None:
        raise OSError(number, os.strerror(number), "/secret/PLANTED")

    monkeypatch.setattr(batch_uploads, "write_all", failing)
    answer = await send(client, headers, archive())

    assert (answer.status_code, answer.json()["code"]) == (503, code)
    assert "PLANTED" not in answer.text + house.logs.getvalue()
    assert uploads(house) == []


async def test_memory_does_not_grow_with_the_archive(
    address: str, house: House, headers: dict[str, str]
) -> None:
    before = _resident_bytes()

    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(
            f"{address}/batch-prepare", content=pieces(192 * MIB), headers=headers | ZIP
        )

    [kept] = uploads(house)
    assert answer.status_code == 202
    assert kept.stat().st_size == 192 * MIB
    assert _resident_bytes() - before < 64 * MIB


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - no path of the tests
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- The same archive again --------------------------------------------------------------------


async def test_an_archive_sent_again_is_the_same_batch(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    first = await send(client, headers | KEY, archive())
    second = await send(client, headers | KEY, archive())

    assert first.json()["batch_id"] == second.json()["batch_id"]
    assert len(uploads(house)) == 1


async def test_an_archive_sent_again_in_vain_leaves_the_first_one_where_it_is(
    client: httpx.AsyncClient,
    house: House,
    headers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await send(client, headers | KEY, archive())

    def full(*_: object) -> None:
        raise errors.StorageUnavailable

    monkeypatch.setattr(Uploads, "keep", full)
    again = await send(client, headers | KEY, archive())

    assert again.status_code == 503
    assert len(uploads(house)) == 1


async def test_another_archive_under_the_same_key_is_refused_and_gone(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    await send(client, headers | KEY, archive())
    [kept] = uploads(house)

    answer = await send(client, headers | KEY, archive(b"another one"))
    other_wish = await send(client, headers | KEY, archive(), "?priority=STAT")

    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency-key-reused")
    assert other_wish.json()["code"] == "idempotency-key-reused"
    assert uploads(house) == [kept]
    assert zipfile.is_zipfile(kept)


async def test_an_archive_that_is_not_needed_any_more_is_not_kept(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], worker: Worker
) -> None:
    await send(client, headers | KEY, archive())
    await worker.succeed()
    [kept] = uploads(house)
    kept.unlink()  # as the workers do

    answer = await send(client, headers | KEY, archive())

    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
    assert uploads(house) == []


async def test_an_archive_that_was_found_damaged_is_not_kept_again(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], worker: Worker
) -> None:
    await send(client, headers | KEY, archive())
    work, staging = house.gateway.work, intake_of(house).staging_id
    scan = await work.claim_scan(worker.worker, staging)
    assert await work.fail(scan, errors.InvalidArchive())
    [kept] = uploads(house)
    kept.unlink()  # as the workers do

    answer = await send(client, headers | KEY, archive())

    assert (answer.status_code, answer.json()["code"]) == (200, "invalid-archive")
    assert uploads(house) == []


class Unsure(BatchService):
    """Takes the batch and loses the connection before it learns of that."""

    async def submit(self, new: NewBatch):
        await super().submit(new)
        raise errors.DatabaseUnavailable


async def test_an_archive_stays_where_it_is_unknown_whether_its_batch_was_taken(
    house: House, client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    services = house.gateway.services()
    known = services.batches
    unsure = Unsure(known._repository, known._vault, known._staging)
    gateway = type(services)(
        **{name: getattr(services, name) for name in services.__slots__} | {"batches": unsure}
    )
    transport = httpx.ASGITransport(create_app(gateway))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as asking:
        lost = await send(asking, headers | KEY, archive())
    again = await send(client, headers | KEY, archive())

    assert (lost.status_code, again.status_code) == (503, 202)
    assert len(uploads(house)) == 1
    assert len((await client.get("/batches", headers=headers)).json()["batches"]) == 1
    assert json.dumps(house.audit(), default=str).count("batch_id") == 1
