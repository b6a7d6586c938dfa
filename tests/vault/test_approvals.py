"""Four eyes: a second person approves, once, in time; whoever comes together decides one by one."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

import psycopg
import pytest

from app.audit.repository import AuditTrail
from app.audit.verifying import verify
from app.errors import (
    AlreadyDecided,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalNotFound,
    ApprovalPending,
    ApprovalRequired,
    ApprovalUsed,
    BreakGlassNotAllowed,
    GatewayError,
    InvalidRequest,
    KeyUnavailable,
    NotAuthenticated,
    OwnRequest,
    PseudonymNotFound,
    ReidentifyQuotaExceeded,
)
from app.vault.disclosure import safeguards
from app.vault.disclosure.approvals import Approval, Decision, State
from app.vault.disclosure.purposes import Purpose
from app.vault.disclosure.questions import Question
from app.vault.disclosure.quotas import Bounds
from app.vault.disclosure.transactions import Recorder
from tests.mapping_house import NORTH, REPORT, SOUTH, KeyPair, MappingHouse, opened, originals

pytestmark = pytest.mark.db

EMERGENCY = Purpose("BTG", "BED-9", "unconscious patient")


@dataclass
class Office:
    """An organisation where a second person approves, and one study of it."""

    house: MappingHouse
    study: str

    async def request(self, actor: str = "reader", **given: object) -> Approval:
        wanted = {
            "purpose": REPORT,
            "questions": (Question.stated({"cloud_study_id": self.study}),),
        } | given
        return await self.house.disclosure.request(replace(self.house.asked(actor=actor), **wanted))

    async def decide(
        self, request_id: UUID, decision: Decision = Decision.APPROVED, actor: str = "second"
    ) -> Approval:
        event = self.house.asked(actor=actor).event
        return await self.house.disclosure.decide(event, request_id, decision)

    async def approved(self, **given: object) -> UUID:
        request_id = (await self.request(**given)).request_id
        await self.decide(request_id)
        return request_id

    async def fetch(self, request_id: UUID, actor: str = "reader", **given: object):
        asked = replace(self.house.asked(actor=actor), approval=request_id, **given)
        return await self.house.disclosure.answer(asked)

    def alter(self, columns: str) -> None:
        with psycopg.connect(self.house.url, autocommit=True) as owner:
            owner.execute(f"UPDATE reidentify_requests SET {columns}")


async def require_approval(house: MappingHouse, **changes: object) -> None:
    recorder = Recorder(house.database, AuditTrail)
    await safeguards.change(recorder, house.asked().event, **({"needs_approval": True} | changes))


@pytest.fixture
async def office(database_url: str, pair: KeyPair) -> AsyncIterator[Office]:
    async with opened(database_url, pair) as house:
        made = await house.record(originals())
        await require_approval(house)
        yield Office(house, made.cloud_study_id)


async def outcome_of(work) -> str:
    try:
        await work
    except GatewayError as refusal:
        return refusal.code
    return "success"


# --- The way through ---------------------------------------------------------------------------


async def test_without_approval_nothing_is_told(office: Office) -> None:
    with pytest.raises(ApprovalRequired):
        await office.house.reidentify(office.study)

    assert office.house.outcomes()[-1] == "approval-required"


async def test_an_approved_request_is_answered_to_whoever_asked(office: Office) -> None:
    request_id = (await office.request()).request_id
    decided = await office.decide(request_id)

    [answer] = await office.fetch(request_id)

    [*_, row] = office.house.query("SELECT * FROM audit_events ORDER BY seq")
    assert (decided.state, decided.decided_by) == (State.APPROVED, "second")
    assert answer.found.patient_id == "PAT-4711"
    assert (row["action"], row["outcome"], row["actor"]) == ("reidentify", "success", "reader")
    assert (row["detail"]["approval"], row["detail"]["approved-by"]) == (str(request_id), "second")
    assert (row["purpose"], row["detail"]["reference"]) == ("TREAT report delivery", "TICKET-1")


async def test_every_step_is_in_an_intact_chain(office: Office) -> None:
    await office.fetch(await office.approved())

    rows = office.house.query("SELECT action, actor FROM audit_events ORDER BY seq")
    found = await verify(office.house.database, NORTH)
    assert [(row["action"], row["actor"]) for row in rows[2:]] == [
        ("reidentify-request", "reader"),
        ("reidentify-approve", "second"),
        ("reidentify", "reader"),
    ]
    assert (found.is_intact, found.events) == (True, 5)


async def test_a_worklist_is_approved_as_a_whole(office: Office) -> None:
    questions = (Question.stated({"cloud_study_id": office.study}),) * 2
    request_id = await office.approved(questions=questions)

    with pytest.raises(InvalidRequest):
        await office.fetch(request_id)
    answers = await office.fetch(request_id, is_batch=True)

    assert [one.found.patient_id for one in answers] == ["PAT-4711"] * 2


# --- What stops it -----------------------------------------------------------------------------


@pytest.mark.parametrize("actor", ["reader", "READER"])
async def test_nobody_approves_a_request_of_ones_own(office: Office, actor: str) -> None:
    request_id = (await office.request("reader")).request_id

    with pytest.raises(OwnRequest):
        await office.decide(request_id, actor=actor)

    assert office.house.outcomes()[-1] == "own-request"
    assert (await office.house.disclosure.request_of(NORTH, request_id, caller=None)).state == (
        State.PENDING
    )


async def test_the_database_itself_refuses_an_approval_by_whoever_asked(office: Office) -> None:
    await office.request()

    with pytest.raises(psycopg.errors.CheckViolation, match="four_eyes"):
        office.alter("decision = 'approved', decider = caller, decided_by = 'second'")


async def test_another_key_of_the_same_name_is_no_second_person(office: Office) -> None:
    house = office.house
    keys = [
        await house.api_keys.create(name=name, organization=NORTH, scopes=["reidentify"])
        for name in ("dr-jones", "Dr-Jones")
    ]
    first, second = [key.id for key, _ in keys]
    asked = house.asked(actor="dr-jones", api_key_id=first)
    questions = (Question.stated({"cloud_study_id": office.study}),)
    made = await house.disclosure.request(replace(asked, purpose=REPORT, questions=questions))
    event = house.asked(actor="Dr-Jones", api_key_id=second).event

    with pytest.raises(OwnRequest):
        await house.disclosure.decide(event, made.request_id, Decision.APPROVED)


async def test_a_pending_request_is_not_answered(office: Office) -> None:
    request_id = (await office.request()).request_id

    with pytest.raises(ApprovalPending):
        await office.fetch(request_id)


async def test_a_denied_request_is_not_answered_and_stays_denied(office: Office) -> None:
    request_id = (await office.request()).request_id
    await office.decide(request_id, Decision.DENIED)

    with pytest.raises(ApprovalDenied):
        await office.fetch(request_id)
    with pytest.raises(AlreadyDecided):
        await office.decide(request_id, actor="third")


async def test_somebody_elses_approval_is_not_there_for_others(office: Office) -> None:
    request_id = await office.approved()

    with pytest.raises(ApprovalNotFound):
        await office.fetch(request_id, actor="second")
    with pytest.raises(ApprovalNotFound):
        await office.fetch(uuid4())


async def test_another_organisation_neither_sees_nor_decides(office: Office) -> None:
    request_id = (await office.request()).request_id
    disclosure = office.house.disclosure
    event = office.house.asked(organization=SOUTH, actor="second").event

    with pytest.raises(ApprovalNotFound):
        await disclosure.decide(event, request_id, Decision.APPROVED)

    assert await disclosure.requests(SOUTH, caller=None) == []


async def test_an_approval_is_good_for_one_answer(office: Office) -> None:
    request_id = await office.approved()
    await office.fetch(request_id)

    with pytest.raises(ApprovalUsed):
        await office.fetch(request_id)

    assert office.house.outcomes()[-1] == "approval-used"


async def test_an_approval_ends_after_minutes(office: Office) -> None:
    request_id = await office.approved()
    office.alter("valid_until = valid_until - interval '16 minutes'")

    with pytest.raises(ApprovalExpired):
        await office.fetch(request_id)


async def test_a_request_that_nobody_decided_in_time_is_over(office: Office) -> None:
    request_id = (await office.request()).request_id
    office.alter("expires_at = expires_at - interval '25 hours'")

    with pytest.raises(ApprovalExpired):
        await office.decide(request_id)

    [found] = await office.house.disclosure.requests(NORTH, caller=None, state=State.EXPIRED)
    assert found.request_id == request_id


async def test_what_leads_nowhere_is_refused_before_anybody_is_asked(office: Office) -> None:
    unknown = office.house.vault.pseudonyms(NORTH).cloud_study_id("never seen")

    with pytest.raises(PseudonymNotFound):
        await office.request(questions=(Question.stated({"cloud_study_id": unknown}),))

    assert await office.house.disclosure.requests(NORTH, caller=None) == []


async def test_a_failure_uses_no_approval_up(office: Office) -> None:
    request_id = await office.approved()
    keyless = opened(office.house.url, office.house.pair, can_open=False, is_new=False)

    async with keyless as other:
        with pytest.raises(KeyUnavailable):
            await Office(other, office.study).fetch(request_id)

    assert (await office.fetch(request_id))[0].found.patient_id == "PAT-4711"


async def test_a_revoked_key_decides_nothing(office: Office) -> None:
    house = office.house
    key, _ = await house.api_keys.create(name="boss", organization=NORTH, scopes=["approve"])
    request_id = (await office.request()).request_id
    await house.api_keys.revoke(key.id)
    event = house.asked(actor="boss", api_key_id=key.id).event

    with pytest.raises(NotAuthenticated):
        await house.disclosure.decide(event, request_id, Decision.APPROVED)

    assert (await house.disclosure.request_of(NORTH, request_id, caller=None)).decision is None


async def test_requests_count_like_looks_and_their_answers_do_not(
    database_url: str, pair: KeyPair
) -> None:
    async with opened(database_url, pair, looks=Bounds(1, 0)) as house:
        office = Office(house, (await house.record(originals())).cloud_study_id)
        request_id = await office.approved()
        await office.fetch(request_id)

        with pytest.raises(ReidentifyQuotaExceeded):
            await office.request()


async def test_requests_of_long_ago_are_forgotten(office: Office) -> None:
    await office.request()
    office.alter("requested_at = requested_at - interval '91 days'")
    kept = await office.request()

    [found] = await office.house.disclosure.requests(NORTH, caller=None)
    assert found.request_id == kept.request_id


async def test_lists_have_pages_states_and_owners(office: Office) -> None:
    disclosure = office.house.disclosure
    first, second, third = [(await office.request(actor)).request_id for actor in "aba"]
    await office.decide(third)

    newest = await disclosure.requests(NORTH, caller=None, limit=2)
    older = await disclosure.requests(NORTH, caller=None, before=second)
    own = await disclosure.requests(NORTH, caller="a", state=State.PENDING)

    assert [one.request_id for one in newest] == [third, second]
    assert [one.request_id for one in older] == [first]
    assert [one.request_id for one in own] == [first]


# --- At the same time --------------------------------------------------------------------------


async def test_of_many_who_decide_at_once_one_decides(office: Office) -> None:
    request_id = (await office.request()).request_id
    decisions = [Decision.APPROVED, Decision.DENIED] * 4

    outcomes = await asyncio.gather(
        *[
            outcome_of(office.decide(request_id, decision, actor=f"approver-{number}"))
            for number, decision in enumerate(decisions)
        ]
    )

    assert sorted(outcomes) == ["already-decided"] * 7 + ["success"]
    rows = office.house.query(
        "SELECT action FROM audit_events WHERE outcome = 'success' AND action LIKE '%%-approve'"
        " OR outcome = 'success' AND action LIKE '%%-deny'"
    )
    assert len(rows) == 1


async def test_of_many_processes_that_fetch_at_once_one_is_answered(office: Office) -> None:
    request_id = await office.approved()
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(
            opened(office.house.url, office.house.pair, is_new=False)
        )
        offices = [office, Office(other, office.study)] * 4

        outcomes = await asyncio.gather(*[outcome_of(one.fetch(request_id)) for one in offices])

    assert sorted(outcomes) == ["approval-used"] * 7 + ["success"]


# --- Emergencies -------------------------------------------------------------------------------


async def test_an_emergency_needs_nobody_and_is_marked(office: Office) -> None:
    found = await office.house.reidentify(office.study, purpose=EMERGENCY)

    [*_, row] = office.house.query("SELECT * FROM audit_events ORDER BY seq")
    assert found.patient_id == "PAT-4711"
    assert (row["action"], row["outcome"]) == ("reidentify-break-glass", "success")
    assert (row["purpose"], row["detail"]["reference"]) == ("BTG unconscious patient", "BED-9")


async def test_an_organisation_may_allow_no_emergency(office: Office) -> None:
    await require_approval(office.house, allows_break_glass=False)

    with pytest.raises(BreakGlassNotAllowed):
        await office.house.reidentify(office.study, purpose=EMERGENCY)

    [*_, row] = office.house.query("SELECT * FROM audit_events ORDER BY seq")
    assert (row["action"], row["outcome"]) == ("reidentify-break-glass", "break-glass-not-allowed")


async def test_no_worklist_and_no_request_is_an_emergency(office: Office) -> None:
    question = {"cloud_study_id": office.study}

    with pytest.raises(InvalidRequest):
        await office.house.ask(question, question, purpose=EMERGENCY, is_batch=True)
    with pytest.raises(InvalidRequest):
        await office.request(purpose=EMERGENCY)


@dataclass
class Desk:
    """A receiver of notices that answers as it is told to."""

    answers: list[tuple[bool, float | None]]
    told: list[tuple[str, dict, int]]

    async def tell(self, identity: str, body_fields, attempt: int) -> tuple[bool, float | None]:
        self.told.append((identity, dict(body_fields), attempt))
        return self.answers.pop(0)


async def test_an_emergency_is_told_until_somebody_takes_it(
    database_url: str, pair: KeyPair
) -> None:
    desk = Desk([(False, 0.0), (True, None)], [])
    async with opened(database_url, pair, receiver=desk) as house:
        study = (await house.record(originals())).cloud_study_id
        purpose = Purpose("ETREAT", "BED-9", "is this pat-4711?")
        await house.reidentify(study, purpose=purpose)
        taken = await house.disclosure.notices.deliver()
        [*_, row] = house.query("SELECT * FROM audit_events ORDER BY seq")

        assert (taken, house.count("reidentify_notices")) == (1, 0)

    [first, second] = desk.told
    assert first[:2] == second[:2]
    assert (first[2], second[2]) == (1, 2)
    told = first[1]
    assert dt.datetime.fromisoformat(told.pop("occurred_at")).tzinfo is not None
    assert told == {
        "type": "break-glass",
        "organization_id": NORTH,
        "actor": "reader",
        "purpose_of_use": "ETREAT",
        "reason": "is this [original patient id]?",
        "reference": "BED-9",
        "request_id": "",
    }
    assert (row["action"], row["outcome"]) == ("reidentify-notice", "success")
    assert row["detail"] == {"notice": first[0], "attempts": 2}


async def test_a_notice_that_nobody_takes_is_given_up_and_recorded(
    database_url: str, pair: KeyPair
) -> None:
    desk = Desk([(False, None)], [])
    async with opened(database_url, pair, receiver=desk) as house:
        study = (await house.record(originals())).cloud_study_id
        await house.reidentify(study, purpose=EMERGENCY)
        await house.disclosure.notices.deliver()

        assert house.count("reidentify_notices") == 0
        assert house.outcomes()[-1] == "unavailable"


async def test_a_refused_emergency_is_told_to_nobody(database_url: str, pair: KeyPair) -> None:
    async with opened(database_url, pair, receiver=Desk([], [])) as house:
        unknown = house.vault.pseudonyms(NORTH).cloud_study_id("never seen")

        with pytest.raises(PseudonymNotFound):
            await house.reidentify(unknown, purpose=EMERGENCY)

        assert house.count("reidentify_notices") == 0
