"""``POST /batch-prepare``: what is taken, what is refused, and that nothing is told twice."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import bootstrap, errors
from app.api.application import create_app
from app.api.batch_preferences import MAX_WAIT_S, Preferences, idempotency_key, preferences
from app.api.batch_schemas import BatchRepresentation
from app.batches.states import ItemState
from app.settings import Settings
from tests.api.batch_worker import PLANTED, Worker, prepare, study, taken
from tests.api.conftest import House

STORES = """
stores:
  archive: {url: "s3://bucket/archive", organizations: [DEMO]}
  elsewhere: {url: "s3://bucket/elsewhere", organizations: [OTHER]}
  shared: {url: "file:///srv/shared", organizations: "*"}
  incoming: {url: "s3://scanner/exports", organizations: [DEMO], use: [source]}
  nested: {url: "s3://scanner/exports/ct", organizations: [DEMO], use: [source]}
"""


@pytest.fixture
def configured(configured: Callable[..., Settings], tmp_path: Path) -> Callable[..., Settings]:
    stores = tmp_path / "stores.yaml"
    stores.write_text(STORES)

    def load(**given) -> Settings:
        return configured(**{"stores_file": stores, "callback_hosts": "told.example"} | given)

    return load


@pytest.fixture
async def headers(house: House) -> dict[str, str]:
    return await house.headers("sender")


@pytest.fixture
async def worker(house: House) -> Worker:
    return await Worker.joined(house)


# --- What is taken -----------------------------------------------------------------------------


async def test_a_study_directory_is_taken(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    answer = await prepare(client, house, headers, organization_id="DEMO", priority="STAT")

    shown = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/batches/{shown['batch_id']}"
    assert answer.headers["Retry-After"] == "2"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Preference-Applied" not in answer.headers
    assert BatchRepresentation.model_validate(shown)
    assert (shown["state"], shown["success"], shown["priority"]) == ("queued", None, "STAT")
    assert (shown["total_files"], shown["successful_files"]) == (0, 0)
    assert (shown["on_error"], shown["profile"], shown["destination"]) == (
        *("hold", "basic", "staging"),
    )
    assert house.outcomes("batch-prepare") == ["success"]


async def test_a_batch_is_found_where_its_location_says(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    answer = await prepare(client, house, headers)

    found = await client.get(answer.headers["Location"], headers=headers)

    assert found.status_code == 200
    assert found.json() == answer.json()


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("s3://scanner/exports", {"name": "incoming", "prefix": ""}),
        ("s3://scanner/exports/", {"name": "incoming", "prefix": ""}),
        ("s3://scanner/exports/mr/1", {"name": "incoming", "prefix": "mr/1"}),
        ("s3://scanner/exports/ct/1/", {"name": "nested", "prefix": "1"}),
        ("s3://scanner/exports/ct2", {"name": "incoming", "prefix": "ct2"}),
        ("store://incoming/mr/1", {"name": "incoming", "prefix": "mr/1"}),
        ("store://nested", {"name": "nested", "prefix": ""}),
    ],
)
async def test_a_prefix_of_an_object_store_is_taken(
    client: httpx.AsyncClient,
    house: House,
    headers: dict[str, str],
    worker: Worker,
    url: str,
    source: dict[str, str],
) -> None:
    answer = await client.post(
        "/batch-prepare", json={"source_url": url, "destination": "archive"}, headers=headers
    )

    claim = await house.gateway.work.claim_scan(worker.worker, worker.worker)
    assert (answer.status_code, answer.json()["destination"]) == (202, "archive")
    assert claim is not None
    assert claim.request.source == {"kind": "store"} | source


@pytest.mark.parametrize(
    ("destination", "anywhere"), [("archive", True), ("shared", False), (None, False)]
)
async def test_what_goes_to_a_disk_is_done_where_that_disk_is(
    client: httpx.AsyncClient,
    house: House,
    headers: dict[str, str],
    worker: Worker,
    destination: str | None,
    anywhere: bool,
) -> None:
    await prepare(client, house, headers, destination=destination)

    elsewhere = await house.gateway.work.claim_scan(worker.worker, worker.worker)

    assert (elsewhere is not None) is anywhere


async def test_a_key_may_act_for_another_organisation_where_it_says_so(
    client: httpx.AsyncClient, house: House
) -> None:
    await house.gateway.organizations.create("OTHER", "Another organisation", actor="test")
    headers = await house.headers(organizations=["OTHER"])

    answer = await prepare(client, house, headers, organization_id="OTHER", destination="elsewhere")

    found = await client.get(answer.headers["Location"], headers=headers)
    assert (answer.status_code, found.json()["organization_id"]) == (202, "OTHER")


async def test_the_profile_asked_for_is_used_where_the_key_allows_it(
    client: httpx.AsyncClient, house: House
) -> None:
    headers = await house.headers(profiles=["*"])

    answer = await prepare(client, house, headers, profile="basic-per-study")

    known = house.gateway.contexts.get("DEMO", "basic-per-study").profile
    assert answer.json()["profile"] == "basic-per-study"
    assert answer.json()["profile_version"] == known.version


# --- What is refused ---------------------------------------------------------------------------


REFUSED = [
    ({"study_directory": None}, 400, "invalid-request"),
    ({"source_url": "s3://scanner/exports/1"}, 400, "invalid-request"),
    ({"priority": "SOON"}, 400, "invalid-request"),
    ({"on_error": "ignore"}, 400, "invalid-request"),
    ({"fhir": "yes"}, 400, "invalid-request"),
    ({"organisation_id": "DEMO"}, 400, "invalid-request"),
    ({"study_directory": ""}, 400, "invalid-request"),
    ({"study_directory": ["a"]}, 400, "invalid-request"),
    ({"organization_id": "OTHER"}, 403, "not-authorised"),
    ({"profile": "basic-per-study"}, 403, "not-authorised"),
    ({"destination": "nowhere"}, 404, "destination-not-found"),
    ({"destination": "elsewhere"}, 404, "destination-not-found"),
    ({"destination": "incoming"}, 404, "destination-not-found"),
    ({"study_directory": "/"}, 422, "source-not-allowed"),
    ({"study_directory": "/etc"}, 422, "source-not-allowed"),
    ({"study_directory": "../keys"}, 422, "source-not-allowed"),
    ({"study_directory": "PLANTED-absent"}, 422, "source-not-allowed"),
    ({"study_directory": "a\0b"}, 422, "source-not-allowed"),
    ({"callback_url": "https://elsewhere.example/PLANTED"}, 422, "callback-not-allowed"),
    ({"callback_url": "http://told.example/PLANTED"}, 422, "callback-not-allowed"),
]


async def test_what_may_not_be_is_refused_by_its_code(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    answers = [await prepare(client, house, headers, **asked) for asked, _, _ in REFUSED]

    listed = await client.get("/batches", headers=headers)
    codes = [(answer.status_code, answer.json()["code"]) for answer in answers]
    assert codes == [(status, code) for _, status, code in REFUSED]
    assert [answer.text for answer in answers if PLANTED in answer.text] == []
    assert listed.json()["batches"] == []
    assert house.outcomes("batch-prepare") == [code for _, status, code in REFUSED if status > 400]


NO_SOURCES = {
    "s3://scanner/other": "source-not-allowed",
    "s3://scanner/exportsmore": "source-not-allowed",
    "s3://bucket/archive/PLANTED": "source-not-allowed",
    "s3://scanner/exports/../secret": "source-not-allowed",
    "s3://scanner/exports//1": "source-not-allowed",
    "s3://scanner/exports/a\tb": "source-not-allowed",
    "https://scanner.example/PLANTED": "source-not-allowed",
    "file:///etc": "source-not-allowed",
    "store://incoming/../secret": "source-not-allowed",
    "store://archive/1": "destination-not-found",
    "store:///1": "destination-not-found",
}


async def test_a_url_that_is_no_configured_source_is_refused(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answers = {
        url: await client.post("/batch-prepare", json={"source_url": url}, headers=headers)
        for url in NO_SOURCES
    }

    assert {url: answer.json()["code"] for url, answer in answers.items()} == NO_SOURCES
    assert [answer.text for answer in answers.values() if PLANTED in answer.text] == []


NO_REQUESTS = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"[" * 60_000,
    b'{"study_directory":"\\ud800"}',
    b'{"study_directory":"a\xff"}',
    b'{"priority":NaN}',
    b'{"PLANTED":1}',
    b'{"study_directory":"PLANTED","study_directory":"PLANTED2"}',
    b'{"study_directory":"PLANTED","priority":"STAT","priority":"ROUTINE"}',
]


async def test_a_body_that_is_no_request_is_refused_without_being_repeated(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    typed = headers | {"Content-Type": "application/json"}

    answers = [
        await client.post("/batch-prepare", content=body, headers=typed) for body in NO_REQUESTS
    ]

    assert [answer.json()["code"] for answer in answers] == ["invalid-request"] * len(NO_REQUESTS)
    assert [answer.text for answer in answers if PLANTED in answer.text] == []


async def test_json_has_a_bound(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await client.post(
        "/batch-prepare",
        content=b" " * 70_000,
        headers=headers | {"Content-Type": "application/json"},
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


async def test_json_takes_no_query_parameters(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    answer = await client.post(
        "/batch-prepare?priority=STAT", json={"study_directory": study(house)}, headers=headers
    )

    assert answer.status_code == 400


async def test_other_media_types_are_not_taken(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    typed = [{"Content-Type": name} for name in ("text/plain", "application/dicom", "", "json")]

    answers = [
        await client.post("/batch-prepare", content=b"{}", headers=headers | named)
        for named in [{}, *typed]
    ]

    assert [answer.json()["code"] for answer in answers] == ["unsupported-media-type"] * 5


async def test_a_compressed_body_is_not_taken(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    typed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    answer = await client.post("/batch-prepare", content=b"{}", headers=headers | typed)

    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("scopes", "status"), [(None, 401), (frozenset({"anonymize", "reidentify"}), 403)]
)
async def test_the_scope_batch_is_needed(
    client: httpx.AsyncClient, house: House, scopes: frozenset[str] | None, status: int
) -> None:
    headers = await house.headers(scopes=scopes) if scopes else {}

    answer = await prepare(client, house, headers)

    assert answer.status_code == status
    assert house.outcomes("batch-prepare") == [answer.json()["code"]]


async def test_a_process_that_does_not_serve_batches_says_so(
    house: House, configured: Callable[..., Settings], headers: dict[str, str]
) -> None:
    settings = configured(roles=frozenset({"anonymize"}), staging_dir=Path("/nowhere/at/all"))
    async with bootstrap.opened(settings) as sender:
        transport = httpx.ASGITransport(create_app(sender.services()))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as other:
            answer = await prepare(other, house, headers)
            listed = await other.get("/batches", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (503, "role-not-served")
    assert listed.json()["code"] == "role-not-served"


async def test_a_link_that_leads_out_of_the_root_is_not_followed(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], tmp_path: Path
) -> None:
    inside = Path(study(house)).parent / "link"
    inside.symlink_to(tmp_path)

    answer = await prepare(client, house, headers, study_directory=str(inside))

    assert answer.json()["code"] == "source-not-allowed"


async def test_a_directory_of_another_organisation_is_no_source(
    configured: Callable[..., Settings], tmp_path: Path
) -> None:
    place = tmp_path / "north" / "study"
    place.mkdir(parents=True)
    codes = {}
    for owner in ("NORTH", "DEMO"):
        settings = configured(source_roots=f"{owner}={place.parent}", organization="DEMO")
        async with bootstrap.opened(settings) as gateway:
            house = House(gateway, "", None)
            transport = httpx.ASGITransport(create_app(gateway.services()))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://gateway.test"
            ) as asking:
                headers = await house.headers()
                answer = await prepare(asking, house, headers, study_directory=str(place))
                codes[owner] = (answer.status_code, answer.json()["code"])

    assert codes == {"NORTH": (422, "source-not-allowed"), "DEMO": (202, None)}


async def test_the_gateways_own_directories_are_no_source(
    configured: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = configured(source_roots=str(tmp_path))
    async with bootstrap.opened(settings) as gateway:
        house = House(gateway, "", None)
        transport = httpx.ASGITransport(create_app(gateway.services()))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as asking:
            headers = await house.headers()
            places = [settings.staging_path, settings.key_path.parent, settings.spool_path]
            answers = [
                await prepare(asking, house, headers, study_directory=str(place.absolute()))
                for place in places
            ]

    assert [answer.json()["code"] for answer in answers] == ["source-not-allowed"] * 3


# --- The same request again --------------------------------------------------------------------


async def test_a_request_sent_again_is_the_same_batch(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    keyed = headers | {"Idempotency-Key": "nightly-17"}

    first = await prepare(client, house, keyed)
    second = await prepare(client, house, keyed)

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["batch_id"] == second.json()["batch_id"]
    assert house.outcomes("batch-prepare") == ["success"]


@pytest.mark.parametrize("is_absolute", [True, False])
async def test_a_request_sent_again_finds_its_batch_when_its_directory_is_gone(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], is_absolute: bool
) -> None:
    keyed = headers | {"Idempotency-Key": "nightly-17"}
    directory = Path(study(house))
    asked = {"study_directory": str(directory) if is_absolute else f"./{directory.name}/"}
    first = await client.post("/batch-prepare", json=asked, headers=keyed)
    shutil.rmtree(directory)

    again = await client.post("/batch-prepare", json=asked, headers=keyed)

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["batch_id"] == again.json()["batch_id"]
    assert house.outcomes("batch-prepare") == ["success"]


@pytest.mark.parametrize(
    ("key", "differing"),
    [
        ({}, {}),
        ({"Idempotency-Key": "nightly-18"}, {}),
        ({"Idempotency-Key": "nightly-17"}, {"priority": "STAT"}),
        ({"Idempotency-Key": "nightly-17"}, {"study_directory": "another"}),
        ({"Idempotency-Key": "nightly-17"}, {"study_directory": "../another"}),
    ],
)
async def test_any_other_request_for_a_directory_that_is_gone_is_refused(
    client: httpx.AsyncClient,
    house: House,
    headers: dict[str, str],
    key: dict[str, str],
    differing: dict[str, str],
) -> None:
    asked = {"study_directory": study(house)}
    keyed = headers | {"Idempotency-Key": "nightly-17"}
    await client.post("/batch-prepare", json=asked, headers=keyed)
    shutil.rmtree(asked["study_directory"])

    answer = await client.post("/batch-prepare", json=asked | differing, headers=headers | key)

    assert (answer.status_code, answer.json()["code"]) == (422, "source-not-allowed")
    assert house.outcomes("batch-prepare") == ["success", "source-not-allowed"]


async def test_many_at_once_with_one_key_are_one_batch(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    keyed = headers | {"Idempotency-Key": "nightly-17"}

    answers = await asyncio.gather(*(prepare(client, house, keyed) for _ in range(8)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["batch_id"] for answer in answers}) == 1


async def test_a_key_that_came_with_another_request_is_refused(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    keyed = headers | {"Idempotency-Key": "nightly-17"}
    await prepare(client, house, keyed)

    answer = await prepare(client, house, keyed, priority="STAT")

    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency-key-reused")


async def test_organisations_do_not_share_their_keys(
    client: httpx.AsyncClient, house: House
) -> None:
    await house.gateway.organizations.create("OTHER", "Another organisation", actor="test")
    key = {"Idempotency-Key": "nightly-17"}
    theirs = await house.headers(organization="OTHER") | key
    ours = await house.headers() | key

    first = await prepare(client, house, ours)
    second = await prepare(client, house, theirs)

    assert first.json()["batch_id"] != second.json()["batch_id"]


@pytest.mark.parametrize("key", ["", " ", "a b", "é", "a" * 256, "a\tb"])
def test_a_key_that_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        idempotency_key([key])


async def test_a_request_with_no_proper_key_is_not_taken(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    answer = await prepare(client, house, headers | {"Idempotency-Key": "two words"})

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")


def test_two_keys_are_refused() -> None:
    with pytest.raises(errors.InvalidRequest):
        idempotency_key(["a", "b"])


# --- Waiting for the end -----------------------------------------------------------------------


async def test_who_waits_is_answered_when_the_batch_has_ended(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], worker: Worker
) -> None:
    waiting = asyncio.create_task(prepare(client, house, headers | {"Prefer": "wait=30"}))
    await taken(client, headers)
    await worker.succeed()

    answer = await waiting

    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "wait=30"
    assert (answer.json()["state"], answer.json()["success"]) == ("succeeded", True)
    assert answer.json()["manifest_path"] == "file:///out/manifest.json"
    assert "Retry-After" not in answer.headers


async def test_a_wait_that_is_over_is_answered_as_it_stands(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], worker: Worker
) -> None:
    waiting = asyncio.create_task(prepare(client, house, headers | {"Prefer": "wait=1"}))
    await taken(client, headers)
    await worker.scan(2)

    answer = await waiting

    assert (answer.status_code, answer.json()["state"]) == (202, "processing")
    assert answer.headers["Preference-Applied"] == "wait=1"


async def test_who_does_not_want_to_wait_is_answered_at_once(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    answer = await prepare(client, house, headers | {"Prefer": "respond-async"})

    assert answer.status_code == 202
    assert answer.headers["Preference-Applied"] == "respond-async"


async def test_a_repeated_request_learns_that_the_batch_has_ended(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], worker: Worker
) -> None:
    keyed = headers | {"Idempotency-Key": "nightly-17"}
    await prepare(client, house, keyed, on_error="skip")
    await worker.scan(2)
    await worker.process(ItemState.REFUSED)
    await worker.publish()

    answer = await prepare(client, house, keyed, on_error="skip")

    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["success"]) == ("partial", False)
    assert (answer.json()["total_files"], answer.json()["successful_files"]) == (2, 1)
    assert answer.json()["problems"] == {"truncated": 1}


@pytest.fixture
async def crowded(house: House) -> AsyncIterator[httpx.AsyncClient]:
    services = house.gateway.services()
    application = create_app(services)
    with services.watchers.place():
        services.watchers._free = 0
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as asking:
            yield asking


async def test_where_too_many_wait_nobody_else_does(
    crowded: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    answer = await prepare(crowded, house, headers | {"Prefer": "wait=30"})
    events = await crowded.get(f"{answer.headers['Location']}/events", headers=headers)

    assert answer.status_code == 202
    assert (events.status_code, events.json()["code"]) == (503, "unavailable")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Preferences()),
        (["wait=30"], Preferences(30)),
        (["respond-async, wait=10"], Preferences(10, is_async=True)),
        (["respond-async", "wait=10"], Preferences(10, is_async=True)),
        (['Wait = "5" ; x=y'], Preferences(5)),
        (["wait=1, wait=2"], Preferences(1)),
        (["wait=100000000000"], Preferences(MAX_WAIT_S)),
        (["wait=0"], Preferences(0)),
        (["wait=-1"], Preferences()),
        (["wait"], Preferences()),
        (["wait=soon"], Preferences()),
        (['other="a, wait=3", wait=4'], Preferences(4)),
        (["return=minimal; wait=3"], Preferences()),
    ],
)
def test_preferences_are_read_as_they_are_meant(values: list[str], expected: Preferences) -> None:
    assert preferences(values) == expected


@given(st.lists(st.text(max_size=50), max_size=3))
def test_no_preference_is_an_error(values: list[str]) -> None:
    found = preferences(values)

    assert found.wait_s is None or 0 <= found.wait_s <= MAX_WAIT_S


# --- What stays inside -------------------------------------------------------------------------


async def test_the_source_is_in_no_answer_log_or_plain_row(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], worker: Worker
) -> None:
    first = await prepare(
        client,
        house,
        headers,
        callback_url="https://told.example/PLANTED",
        on_error="skip",
    )
    await worker.scan(2)
    await worker.process(ItemState.REFUSED)
    await worker.publish()
    own = first.headers["Location"]
    answers = [
        await client.get(path, headers=headers)
        for path in ("/batches", own, f"{own}/items", f"{own}/events")
    ]
    answers.append(await client.post(f"{own}/retry", headers=headers))
    answers.append(await client.post(f"{own}/cancel", headers=headers))

    told = [first.text, *(answer.text for answer in answers), house.logs.getvalue()]
    told += [json.dumps(dict(answer.headers)) for answer in answers]
    audited = json.dumps(house.audit(), default=str)
    assert {answer.status_code for answer in answers} == {200, 202}
    assert [text for text in (*told, audited) if PLANTED in text or "incoming" in text] == []
