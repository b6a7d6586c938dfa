"""Batches that were taken: read, listed, changed, forgotten, and whose files they were."""

import base64
from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest

from app import bootstrap
from app.api.application import create_app
from app.api.batch_schemas import BatchItems, BatchList, BatchOriginals, BatchRepresentation
from app.batches.states import ItemState
from app.settings import Settings
from app.vault.signing import PublicKeys
from tests.api.batch_worker import PLANTED, Worker, prepare
from tests.api.conftest import House
from tests.batches.house import SECRET

REASON = "look into refused files"


@pytest.fixture
async def headers(house: House) -> dict[str, str]:
    return await house.headers("sender")


@pytest.fixture
async def worker(house: House) -> Worker:
    return await Worker.joined(house)


@pytest.fixture
async def own(client: httpx.AsyncClient, house: House, headers: dict[str, str]) -> str:
    """Where a batch is that was just taken."""
    answer = await prepare(client, house, headers)
    return answer.headers["Location"]


@pytest.fixture
async def partial(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], worker: Worker
) -> str:
    """Where a batch is of which one file was refused, one ignored, and three are published."""
    answer = await prepare(client, house, headers, on_error="skip")
    await worker.scan(5)
    await worker.process(ItemState.REFUSED, ItemState.IGNORED)
    await worker.publish()
    return answer.headers["Location"]


# --- One batch ---------------------------------------------------------------------------------


async def test_a_batch_shows_counts_and_problems(
    client: httpx.AsyncClient, headers: dict[str, str], partial: str
) -> None:
    shown = (await client.get(partial, headers=headers)).json()

    assert BatchRepresentation.model_validate(shown)
    assert (shown["state"], shown["success"], shown["revision"]) == ("partial", False, 1)
    assert (shown["total_files"], shown["successful_files"]) == (5, 3)
    assert shown["counts"] == {
        "waiting": 0,
        "succeeded": 3,
        "duplicate": 0,
        "ignored": 1,
        "refused": 1,
        "failed": 0,
        "in_review": 0,
        "published": 3,
    }
    assert shown["problems"] == {"not-dicom": 1, "truncated": 1}
    assert shown["links"]["retry"] == f"{partial}/retry"


async def test_a_batch_under_way_shows_how_fast_it_is(
    client: httpx.AsyncClient, headers: dict[str, str], own: str, worker: Worker
) -> None:
    await worker.scan(2, 2)
    await worker.process()

    shown = (await client.get(own, headers=headers)).json()

    assert shown["rate"]["files_per_s"] > 0
    assert shown["estimated_end_at"] > shown["started_at"]
    assert shown["counts"]["waiting"] == 2


UNKNOWN = str(uuid4())


NO_IDS = [
    UNKNOWN,
    UNKNOWN.replace("-", ""),
    f"urn:uuid:{UNKNOWN}",
    f"{{{UNKNOWN}}}",
    "PLANTED",
    "%00",
    "0",
    "%F0%9F%92%A9",
    "a" * 3000,
]
ROUTES = [
    ("GET", ""),
    ("GET", "/items"),
    ("GET", "/events"),
    ("GET", "/originals?purpose=HOPERAT&reference=T-1"),
    ("POST", "/cancel"),
    ("POST", "/retry"),
    ("DELETE", ""),
]


async def test_what_is_not_there_is_not_found(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answers = [
        await client.request(method, f"/batches/{batch_id}{part}", headers=headers)
        for batch_id in NO_IDS
        for method, part in ROUTES
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert {answer.json()["code"] for answer in answers} == {"batch-not-found"}
    assert [answer.text for answer in answers if PLANTED in answer.text] == []


async def test_another_organisations_batch_is_not_there(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], own: str
) -> None:
    await house.gateway.organizations.create("OTHER", "Another organisation", actor="test")
    theirs = await house.headers("other", organization="OTHER")

    answers = [await client.request(method, own + part, headers=theirs) for method, part in ROUTES]

    still = await client.get(own, headers=headers)
    assert [answer.json()["code"] for answer in answers] == ["batch-not-found"] * len(ROUTES)
    assert still.json()["state"] == "queued"


@pytest.mark.parametrize(
    ("scopes", "code"),
    [(None, "not-authenticated"), ({"reidentify", "audit", "admin"}, "not-authorised")],
)
async def test_every_route_needs_the_scope_batch_and_says_who_lacked_it(
    client: httpx.AsyncClient, house: House, own: str, scopes: set[str] | None, code: str
) -> None:
    asking = await house.headers("reader", scopes=scopes) if scopes else {}

    answers = [await client.request(method, own + part, headers=asking) for method, part in ROUTES]

    assert [answer.json()["code"] for answer in answers] == [code] * len(ROUTES)
    assert house.outcomes("batch-read") == [code] * 3
    assert house.outcomes("batch-originals") == [code]
    assert [house.outcomes(f"batch-{done}") for done in ("cancel", "retry", "delete")] == [
        [code]
    ] * 3


# --- Lists -------------------------------------------------------------------------------------


async def test_batches_are_listed_newest_first_page_by_page(
    client: httpx.AsyncClient, house: House, headers: dict[str, str]
) -> None:
    made = [(await prepare(client, house, headers)).json()["batch_id"] for _ in range(5)]

    pages, following = [], "/batches?limit=2"
    while following:
        answer = await client.get(following, headers=headers)
        assert BatchList.model_validate(answer.json())
        pages.append([batch["batch_id"] for batch in answer.json()["batches"]])
        following = answer.json()["next"]
        assert (answer.headers.get("Link") is None) is (following is None)

    assert pages == [made[4:2:-1], made[2:0:-1], made[:1]]


async def test_a_page_behind_a_batch_that_is_gone_is_not_the_last_one(
    client: httpx.AsyncClient, headers: dict[str, str], partial: str
) -> None:
    await client.delete(partial, headers=headers)

    answer = await client.get(f"/batches?before={partial.rpartition('/')[2]}", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (404, "batch-not-found")


async def test_batches_are_listed_by_state(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], partial: str
) -> None:
    await prepare(client, house, headers)

    answer = await client.get("/batches", params={"state": "partial"}, headers=headers)

    assert [batch["links"]["self"] for batch in answer.json()["batches"]] == [partial]


async def test_an_organisation_sees_its_own_batches_alone(
    client: httpx.AsyncClient, house: House, own: str
) -> None:
    await house.gateway.organizations.create("OTHER", "Another organisation", actor="test")
    theirs = await house.headers("other", organization="OTHER")
    both = await house.headers("both", organization="OTHER", organizations=["DEMO"])

    unseen = await client.get("/batches", headers=theirs)
    denied = await client.get("/batches?organization=DEMO", headers=theirs)
    seen = await client.get("/batches?organization=DEMO", headers=both)

    assert house.outcomes("batch-read") == ["not-authorised"]
    assert unseen.json()["batches"] == []
    assert denied.json()["code"] == "not-authorised"
    assert [batch["links"]["self"] for batch in seen.json()["batches"]] == [own]


async def test_parameters_are_taken_as_described_or_refused(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    queries = [
        "/batches?limit=0",
        "/batches?limit=1001",
        "/batches?limit=x",
        "/batches?state=done",
        "/batches?before=1",
        "/batches?states=failed",
        f"/batches/{UNKNOWN}/items?after=-2",
        f"/batches/{UNKNOWN}/items?after=99999999999999999999",
        f"/batches/{UNKNOWN}/items?state=partial",
        f"/batches/{UNKNOWN}/items?of=1",
        f"/batches/{UNKNOWN}/originals?limit=1001&purpose=HOPERAT&reference=T-1",
    ]

    answers = [await client.get(query, headers=headers) for query in queries]

    assert [answer.json()["code"] for answer in answers] == ["invalid-request"] * len(queries)


async def test_the_files_of_a_batch_are_listed_by_number(
    client: httpx.AsyncClient, headers: dict[str, str], partial: str
) -> None:
    first = await client.get(f"{partial}/items?limit=3", headers=headers)
    second = await client.get(first.json()["next"], headers=headers)

    items = first.json()["items"] + second.json()["items"]
    assert BatchItems.model_validate(first.json())
    assert first.headers["Link"] == f'<{first.json()["next"]}>; rel="next"'
    assert second.json()["next"] is None
    assert [item["seq"] for item in items] == [0, 1, 2, 3, 4]
    assert [item["state"] for item in items] == [
        *("refused", "ignored", "succeeded", "succeeded", "succeeded")
    ]
    assert items[0] == {
        "seq": 0,
        "state": "refused",
        "code": "truncated",
        "detail": None,
        "element_path": None,
        "warnings": [],
        "cloud_study_id": None,
        "series_uid": None,
        "sop_instance_uid": None,
        "file": None,
        "size": None,
        "sha256": None,
        "quarantine_id": None,
    }
    assert items[2]["file"] == "7QM2X-9THV4-CBK8/2.25.2/2.25.1002.dcm"
    assert items[2]["sha256"] == "02" * 32


async def test_files_are_listed_by_state(
    client: httpx.AsyncClient, headers: dict[str, str], partial: str
) -> None:
    answer = await client.get(f"{partial}/items?state=succeeded&limit=2", headers=headers)
    rest = await client.get(answer.json()["next"], headers=headers)

    listed = answer.json()["items"] + rest.json()["items"]
    assert [item["seq"] for item in listed] == [2, 3, 4]


# --- Originals ---------------------------------------------------------------------------------


async def test_who_may_learns_which_file_was_which(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], partial: str
) -> None:
    stated = headers | {"X-Purpose-Of-Use": "HOPERAT", "X-Reference": "T-1", "X-Reason": REASON}

    answer = await client.get(f"{partial}/originals?limit=2", headers=stated)
    rest = await client.get(answer.json()["next"], headers=stated)

    [*_, row] = [row for row in house.audit() if row["action"] == "batch-originals"]
    assert BatchOriginals.model_validate(answer.json())
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json()["originals"][0] == {
        "seq": 0,
        "state": "refused",
        "code": "truncated",
        "original_name": f"{SECRET}/0.dcm",
        "cloud_study_id": None,
        "sop_instance_uid": None,
    }
    assert [original["seq"] for original in rest.json()["originals"]] == [2, 3]
    assert (row["outcome"], row["purpose"], row["actor"]) == (
        "success",
        f"HOPERAT {REASON}",
        "sender",
    )
    assert row["detail"]["reference"] == "T-1"
    assert SECRET not in house.logs.getvalue()


@pytest.mark.parametrize(
    ("scopes", "status"),
    [
        (None, 401),
        ({"batch"}, 403),
        ({"reidentify"}, 403),
        ({"anonymize", "audit", "admin"}, 403),
    ],
)
async def test_originals_need_both_scopes(
    client: httpx.AsyncClient, house: House, partial: str, scopes: set[str] | None, status: int
) -> None:
    asking = await house.headers("reader", scopes=scopes) if scopes else {}

    answer = await client.get(f"{partial}/originals?purpose=HOPERAT&reference=T-1", headers=asking)

    assert answer.status_code == status
    assert house.outcomes("batch-originals") == [answer.json()["code"]]
    assert SECRET not in answer.text


@pytest.mark.parametrize("purpose", [None, "", "look into refused files"])
async def test_without_a_proper_purpose_no_original_is_told(
    client: httpx.AsyncClient,
    house: House,
    headers: dict[str, str],
    partial: str,
    purpose: str | None,
) -> None:
    params = {"purpose": purpose} if purpose is not None else {}

    answer = await client.get(
        f"{partial}/originals", params={"reference": "T-1"} | params, headers=headers
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")
    assert house.outcomes("batch-originals") == ["invalid-request"]


async def test_a_process_without_the_private_key_tells_no_original(
    house: House, headers: dict[str, str], partial: str, configured: Callable[..., Settings]
) -> None:
    settings = configured()
    settings.reidentify_key_path.unlink()

    async with bootstrap.opened(settings) as keyless:
        transport = httpx.ASGITransport(create_app(keyless.services()))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as other:
            answer = await other.get(
                f"{partial}/originals?purpose=HOPERAT&reference=T-1", headers=headers
            )

    assert (answer.status_code, answer.json()["code"]) == (503, "key-unavailable")
    assert house.outcomes("batch-originals") == ["key-unavailable"]


async def test_originals_are_the_role_of_reidentification(
    headers: dict[str, str], partial: str, configured: Callable[..., Settings]
) -> None:
    codes = {}
    for role in ("batch", "reidentify"):
        async with bootstrap.opened(configured(roles=role)) as gateway:
            transport = httpx.ASGITransport(create_app(gateway.services()))
            async with httpx.AsyncClient(transport=transport, base_url="http://other.test") as one:
                answer = await one.get(
                    f"{partial}/originals?purpose=HOPERAT&reference=T-1", headers=headers
                )
                codes[role] = answer.status_code

    assert codes == {"batch": 503, "reidentify": 200}


# --- Changes -----------------------------------------------------------------------------------


async def test_a_batch_is_cancelled(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], own: str
) -> None:
    answer = await client.post(f"{own}/cancel", headers=headers)

    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert answer.json()["success"] is False
    assert house.outcomes("batch-cancel") == ["success"]


async def test_a_batch_is_cancelled_however_often_that_is_asked(
    client: httpx.AsyncClient, headers: dict[str, str], own: str
) -> None:
    answers = [await client.post(f"{own}/cancel", headers=headers) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()


UNKNOWN = "There is an unknown parameter; known here: before, limit, organization, state"


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("?limit=0", "Missing or malformed: limit"),
        ("?limit=x&before=PLANTED", "Missing or malformed: before, limit"),
        ("?state=PLANTED", "Missing or malformed: state"),
        ("?PLANTED=1", UNKNOWN),
        ("?limit=PLANTED&PLANTED=1", UNKNOWN),
        ("?state=held&state=failed", "A query parameter comes twice"),
    ],
)
async def test_a_wrong_parameter_is_named_where_its_name_is_ours(
    client: httpx.AsyncClient, headers: dict[str, str], query: str, detail: str
) -> None:
    answer = await client.get(f"/batches{query}", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")
    assert answer.json()["detail"] == detail
    assert "PLANTED" not in answer.text


async def test_what_is_done_cannot_be_cancelled(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], own: str, worker: Worker
) -> None:
    await worker.succeed()

    answer = await client.post(f"{own}/cancel", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (409, "illegal-transition")
    assert house.outcomes("batch-cancel") == ["illegal-transition"]


async def test_what_did_not_succeed_is_tried_again(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], own: str, worker: Worker
) -> None:
    await worker.scan(3)
    await worker.process(ItemState.FAILED)

    held = await client.get(own, headers=headers)
    answer = await client.post(f"{own}/retry", headers=headers)
    await worker.process()
    await worker.publish(2)

    done = (await client.get(own, headers=headers)).json()
    assert held.json()["state"] == "held"
    assert (answer.status_code, answer.json()["state"]) == (202, "processing")
    assert (answer.headers["Location"], answer.headers["Retry-After"]) == (own, "2")
    assert (done["state"], done["successful_files"], done["problems"]) == ("succeeded", 3, {})
    assert house.outcomes("batch-retry") == ["success"]


async def test_there_is_nothing_to_retry_while_a_batch_is_worked_on(
    client: httpx.AsyncClient, headers: dict[str, str], own: str
) -> None:
    answer = await client.post(f"{own}/retry", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (409, "illegal-transition")


@pytest.mark.parametrize(
    ("query", "action"),
    [
        ("", "batch-delete"),
        ("?objects=false", "batch-delete"),
        ("?objects=true", "batch-delete-with-objects"),
    ],
)
async def test_a_batch_that_has_ended_is_forgotten(
    client: httpx.AsyncClient,
    house: House,
    headers: dict[str, str],
    partial: str,
    query: str,
    action: str,
) -> None:
    answer = await client.delete(partial + query, headers=headers)

    gone = await client.get(partial, headers=headers)
    assert (answer.status_code, answer.content) == (204, b"")
    assert gone.json()["code"] == "batch-not-found"
    assert house.outcomes(action) == ["success"]


@pytest.mark.parametrize("query", ["?object=true", "?objects=perhaps"])
async def test_a_misspelt_wish_deletes_nothing(
    client: httpx.AsyncClient, headers: dict[str, str], partial: str, query: str
) -> None:
    answer = await client.delete(partial + query, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")
    assert (await client.get(partial, headers=headers)).status_code == 200


async def test_a_batch_that_is_worked_on_is_not_forgotten(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], own: str
) -> None:
    answer = await client.delete(own, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (409, "illegal-transition")
    assert house.outcomes("batch-delete") == ["illegal-transition"]
    assert (await client.get(own, headers=headers)).status_code == 200


# --- Signing keys ------------------------------------------------------------------------------


async def test_everybody_learns_the_public_keys_and_nothing_else(
    client: httpx.AsyncClient, house: House
) -> None:
    answer = await client.get("/signing-keys")

    [key] = answer.json()["keys"]
    signer = house.gateway.signer
    trusted = PublicKeys.from_jwks(answer.content)
    assert set(key) == {"kty", "crv", "x", "kid", "use"}
    assert len(base64.urlsafe_b64decode(key["x"] + "=")) == 32
    assert trusted.verify(signer.key_id, b"said", signer.sign(b"said"))
