"""Worklists, four eyes, quotas and emergencies as callers meet them over HTTP."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from uuid import UUID

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app import bootstrap
from app.api.application import create_app
from app.api.reidentify_schemas import BatchAnswer, RequestList, RequestRepresentation
from app.audit.events import AuditEvent
from app.audit.repository import AuditTrail
from app.errors import Misconfigured
from app.settings import Settings
from app.vault.disclosure import safeguards
from app.vault.disclosure.transactions import Recorder
from tests import builders
from tests.api.conftest import WHO, House
from tests.api.test_reidentify import asking, study_of
from tests.batches.test_callbacks import receiving

WHY = {"purpose": "TREAT", "reference": "TICKET-1"}
REQUESTS = "/reidentify/requests"
READER, BATCH, BOSS = ({"reidentify"}, {"reidentify-batch"}, {"approve"})


async def require_approval(house: House) -> None:
    event = AuditEvent(action="", organization="DEMO", actor="owner")
    await safeguards.change(
        Recorder(house.gateway.database, AuditTrail), event, needs_approval=True
    )


@pytest.fixture
async def study(client: httpx.AsyncClient, house: House, instance: bytes) -> str:
    return await study_of(client, house, instance)


async def requested(client: httpx.AsyncClient, headers: dict[str, str], study: str) -> str:
    made = await client.post(
        REQUESTS, json={"items": [{"cloud_study_id": study}]} | WHY, headers=headers
    )
    assert made.status_code == 201, made.text
    return str(made.json()["request_id"])


# --- Worklists ---------------------------------------------------------------------------------


async def test_a_worklist_is_answered_in_its_order(
    client: httpx.AsyncClient, house: House, study: str
) -> None:
    never = house.gateway.vault.pseudonyms("DEMO").cloud_study_id("1.2.3.4")
    items = [{"cloud_study_id": study.lower()}, {"cloud_study_id": never}]

    answer = await client.post(
        "/reidentify/batch", json={"items": items} | WHY, headers=await house.headers(scopes=BATCH)
    )

    found = BatchAnswer.model_validate(answer.json()).items
    assert answer.headers["Cache-Control"] == "no-store"
    assert [(one.number, one.outcome) for one in found] == [
        (1, "success"),
        (2, "pseudonym-not-found"),
    ]
    assert found[0].identity.original_patient_id == WHO.patient_id
    assert (found[0].asked, found[1].identity) == ({"cloud_study_id": study}, None)
    assert house.outcomes("reidentify") == ["success", "pseudonym-not-found"]


@pytest.mark.parametrize("scopes", [{"reidentify"}, {"approve", "admin", "anonymize"}])
async def test_a_worklist_needs_its_own_scope(
    client: httpx.AsyncClient, house: House, scopes: set[str]
) -> None:
    answer = await client.post(
        "/reidentify/batch", json={}, headers=await house.headers(scopes=scopes)
    )

    assert (answer.status_code, answer.json()["code"]) == (403, "not-authorised")
    assert house.outcomes("reidentify") == ["not-authorised"]


async def test_the_scope_of_worklists_answers_no_single_question(
    client: httpx.AsyncClient, house: House, study: str
) -> None:
    answer = await client.get(
        "/reidentify", params=asking(study), headers=await house.headers(scopes=BATCH)
    )

    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        (b"PLANTED", 400, "invalid-request", "body"),
        (b'{"items": [], "purpose": "TREAT", "reference": "T-1"}', 400, "invalid-request", "items"),
        (b'{"purpose": "TREAT", "reference": "T-1"}', 400, "invalid-request", "nothing"),
        (b'{"items": [{"cloud_study_id": "PLANTED"}]}', 400, "invalid-request", "purpose"),
        (b'{"items": [{"PLANTED": "x"}]}', 400, "invalid-request", "items.0"),
        (b'{"approval": "PLANTED"}', 404, "approval-not-found", "request"),
        (b'{"approval": "PLANTED", "purpose": "TREAT"}', 400, "invalid-request", "approval"),
        (
            b'{"items": [{"patient_id": "PLANTED"}], "purpose": "TREAT", "reference": "T-1"}',
            422,
            "mistyped-pseudonym",
            "Item 1",
        ),
        (
            json.dumps({"items": [{"cloud_study_id": "x"}] * 101} | WHY).encode(),
            400,
            "invalid-request",
            "100",
        ),
        (b" " * ((1 << 20) + 1), 413, "too-large", "large"),
    ],
    ids=[
        *(
            "no-json",
            "empty",
            "absent",
            "no-purpose",
            "unknown",
            "no-approval",
            "approval-and-more",
        ),
        *("mistyped", "too-many", "too-large"),
    ],
)
async def test_an_unfit_worklist_is_refused_as_a_whole(
    client: httpx.AsyncClient, house: House, body: bytes, status: int, code: str, words: str
) -> None:
    headers = await house.headers(scopes=BATCH) | {"Content-Type": "application/json"}

    answer = await client.post("/reidentify/batch", content=body, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert words in answer.json()["detail"]
    assert "PLANTED" not in answer.text + house.logs.getvalue() + str(house.audit())


async def test_a_worklist_is_json(client: httpx.AsyncClient, house: House) -> None:
    answer = await client.post(
        "/reidentify/batch", content=b"{}", headers=await house.headers(scopes=BATCH)
    )

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")


# --- Mix-ups and quotas ------------------------------------------------------------------------


async def test_ids_of_different_patients_are_refused(
    client: httpx.AsyncClient, house: House, study: str
) -> None:
    other = builders.ct(WHO)
    other.PatientID, other.StudyInstanceUID = "PZ-7741-0099", "1.2.826.0.1.3680043.10.998.9"
    different = await study_of(client, house, builders.part10(other))

    answer = await client.get(
        "/reidentify",
        params=asking(study, accession_number=different),
        headers=await house.headers(),
    )

    assert different != study
    assert (answer.status_code, answer.json()["code"]) == (409, "different-patients")
    assert house.outcomes("reidentify") == ["different-patients"]


async def test_a_used_up_quota_is_told_with_its_end(
    house: House, study: str, configured: Callable[..., Settings]
) -> None:
    headers = await house.headers()
    async with bootstrap.opened(configured(reidentify_per_hour=1)) as gateway:
        transport = httpx.ASGITransport(create_app(gateway.services()))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as one:
            first = await one.get("/reidentify", params=asking(study), headers=headers)
            second = await one.get("/reidentify", params=asking(study), headers=headers)

    assert (first.status_code, second.status_code) == (200, 429)
    assert second.json()["code"] == "reidentify-quota-exceeded"
    assert 3500 < int(second.headers["Retry-After"]) <= 3600


# --- Four eyes ---------------------------------------------------------------------------------


async def test_two_people_and_one_answer(
    client: httpx.AsyncClient, house: House, study: str
) -> None:
    await require_approval(house)
    reader = await house.headers("reader", scopes=READER)
    boss = await house.headers("boss", scopes=BOSS)

    alone = await client.get("/reidentify", params=asking(study), headers=reader)
    named = await requested(client, reader, study)
    waiting = await client.get(f"{REQUESTS}?state=pending", headers=boss)
    approved = await client.post(f"{REQUESTS}/{named}/approve", headers=boss)
    answer = await client.get("/reidentify", params={"approval": named}, headers=reader)
    again = await client.get("/reidentify", params={"approval": named}, headers=reader)
    used = await client.get(f"{REQUESTS}/{named}", headers=reader)

    assert (alone.status_code, alone.json()["code"]) == (403, "approval-required")
    assert REQUESTS in alone.json()["detail"]
    [shown] = RequestList.model_validate(waiting.json()).requests
    assert (shown.request_id, shown.requested_by) == (named, "reader")
    assert shown.items == [{"cloud_study_id": study}]
    assert RequestRepresentation.model_validate(approved.json()).state == "approved"
    assert answer.json()["original_patient_id"] == WHO.patient_id
    assert (again.status_code, again.json()["code"]) == (409, "approval-used")
    assert (used.json()["state"], used.json()["decided_by"]) == ("used", "boss")
    assert WHO.patient_id not in waiting.text + approved.text + used.text


async def test_whoever_approves_is_not_told_whose_it_is(
    client: httpx.AsyncClient, house: House, study: str
) -> None:
    boss = await house.headers("boss", scopes=BOSS)
    named = await requested(client, await house.headers("reader", scopes=READER), study)
    await client.post(f"{REQUESTS}/{named}/approve", headers=boss)

    answer = await client.get("/reidentify", params={"approval": named}, headers=boss)

    assert (answer.status_code, answer.json()["code"]) == (403, "not-authorised")


async def test_nobody_approves_alone(client: httpx.AsyncClient, house: House, study: str) -> None:
    both = await house.headers("both", scopes=READER | BOSS)
    named = await requested(client, both, study)

    answer = await client.post(f"{REQUESTS}/{named}/approve", headers=both)

    assert (answer.status_code, answer.json()["code"]) == (403, "own-request")


async def test_a_denied_request_is_told_as_such(
    client: httpx.AsyncClient, house: House, study: str
) -> None:
    reader = await house.headers("reader", scopes=READER)
    boss = await house.headers("boss", scopes=BOSS)
    named = await requested(client, reader, study)

    denied = await client.post(f"{REQUESTS}/{named}/deny", headers=boss)
    answer = await client.get("/reidentify", params={"approval": named}, headers=reader)

    assert denied.json()["state"] == "denied"
    assert (answer.status_code, answer.json()["code"]) == (409, "approval-denied")
    assert house.outcomes("reidentify-deny") == ["success"]


async def test_a_reader_sees_its_own_requests_alone(
    client: httpx.AsyncClient, house: House, study: str
) -> None:
    named = await requested(client, await house.headers("one", scopes=READER), study)
    other = await house.headers("other", scopes=READER)

    listed = await client.get(REQUESTS, headers=other)
    shown = await client.get(f"{REQUESTS}/{named}", headers=other)

    assert listed.json() == {"requests": [], "next": None}
    assert (shown.status_code, shown.json()["code"]) == (404, "approval-not-found")


async def test_readers_cannot_approve_and_others_see_nothing(
    client: httpx.AsyncClient, house: House, study: str
) -> None:
    reader = await house.headers("reader", scopes=READER)
    named = await requested(client, reader, study)
    sender = await house.headers("sender", scopes={"anonymize", "batch", "audit", "admin"})

    answers = [
        await client.post(f"{REQUESTS}/{named}/approve", headers=reader),
        await client.get(REQUESTS, headers=sender),
        await client.post(REQUESTS, json={}, headers=sender),
    ]

    assert [answer.status_code for answer in answers] == [403] * 3


async def test_a_worklist_is_requested_and_fetched_with_its_own_scope(
    client: httpx.AsyncClient, house: House, study: str
) -> None:
    body = {"items": [{"cloud_study_id": study}] * 2} | WHY
    lister = await house.headers("lister", scopes=BATCH)
    boss = await house.headers("boss", scopes=BOSS)

    refused = await client.post(
        REQUESTS, json=body, headers=await house.headers("reader", scopes=READER)
    )
    made = await client.post(REQUESTS, json=body, headers=lister)
    named = made.json()["request_id"]
    await client.post(f"{REQUESTS}/{named}/approve", headers=boss)
    answer = await client.post("/reidentify/batch", json={"approval": named}, headers=lister)

    assert (refused.status_code, refused.json()["code"]) == (403, "not-authorised")
    assert made.headers["Location"] == f"{REQUESTS}/{named}"
    assert [one["outcome"] for one in answer.json()["items"]] == ["success"] * 2


async def test_pages_of_requests_lead_on(
    client: httpx.AsyncClient, house: House, study: str
) -> None:
    reader = await house.headers("reader", scopes=READER)
    named = [await requested(client, reader, study) for _ in range(3)]

    first = (await client.get(f"{REQUESTS}?limit=2&state=pending", headers=reader)).json()
    second = (await client.get(first["next"], headers=reader)).json()

    shown = [one["request_id"] for page in (first, second) for one in page["requests"]]
    assert (shown, second["next"]) == (named[::-1], None)


async def test_a_page_behind_a_request_that_is_gone_or_not_seen_is_not_found(
    client: httpx.AsyncClient, house: House, study: str
) -> None:
    reader = await house.headers("reader", scopes=READER)
    await requested(client, reader, study)
    foreign = await requested(client, await house.headers("other", scopes=READER), study)

    for before in (foreign, str(UUID(int=7)), "x", f"urn:uuid:{foreign}"):
        answer = await client.get(f"{REQUESTS}?before={before}", headers=reader)
        assert (answer.status_code, answer.json()["code"]) == (404, "approval-not-found"), before


# --- Emergencies -------------------------------------------------------------------------------

EMERGENCY = {"purpose": "ETREAT", "reference": "BED-9", "reason": "unconscious patient"}


@pytest.fixture
async def told(configured: Callable[..., Settings]) -> AsyncIterator[tuple]:
    async with receiving() as receiver:
        settings = configured(break_glass_url=receiver.url)
        async with bootstrap.opened(settings) as gateway, bootstrap.notices_kept(gateway):
            transport = httpx.ASGITransport(create_app(gateway.services()))
            async with httpx.AsyncClient(transport=transport, base_url="http://one.test") as one:
                yield one, gateway, receiver


async def test_an_emergency_is_answered_and_told_signed_at_once(
    told: tuple, house: House, study: str
) -> None:
    client, gateway, receiver = told
    await require_approval(house)
    headers = await house.headers("reader", scopes=READER)

    answer = await client.get("/reidentify", params=asking(study, **EMERGENCY), headers=headers)
    async with asyncio.timeout(20):
        while "reidentify-notice" not in {row["action"] for row in house.audit()}:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    counted = await client.get("/metrics", headers=await house.headers())

    [head], [body] = receiver.heads, receiver.bodies
    signed = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + body
    public = base64.urlsafe_b64decode(gateway.signer.public_jwk()["x"] + "=")
    signature = base64.b64decode(head["webhook-signature"].partition(",")[2])
    Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)
    notice = json.loads(body)
    assert answer.json()["original_patient_id"] == WHO.patient_id
    assert (notice["actor"], notice["purpose_of_use"]) == ("reader", "ETREAT")
    assert notice["request_id"] == answer.headers["X-Request-Id"]
    assert not [text for text in (study, *WHO.texts) if text in body.decode()]
    assert house.outcomes("reidentify-break-glass") == ["success"]
    assert '"event": "break-glass"' in house.logs.getvalue()
    assert "deid_break_glass_total 1.0" in counted.text


async def test_a_receiver_that_is_away_holds_no_emergency_up(
    configured: Callable[..., Settings], house: House, study: str
) -> None:
    async with receiving() as receiver:
        pass
    headers = await house.headers()
    async with bootstrap.opened(configured(break_glass_url=receiver.url)) as gateway:
        transport = httpx.ASGITransport(create_app(gateway.services()))
        async with httpx.AsyncClient(transport=transport, base_url="http://one.test") as one:
            answer = await one.get(
                "/reidentify", params=asking(study, **EMERGENCY), headers=headers
            )
        taken = await gateway.disclosure.notices.deliver()

    assert (answer.status_code, taken) == (200, 0)
    assert house.outcomes("reidentify-notice") == []  # neither told nor given up


async def test_a_receiver_without_encryption_is_refused_at_the_start(
    configured: Callable[..., Settings],
) -> None:
    settings = configured(break_glass_url="http://dpo.hospital.example/notices")

    with pytest.raises(Misconfigured, match="DEID_BREAK_GLASS_URL"):
        async with bootstrap.opened(settings):
            pass
