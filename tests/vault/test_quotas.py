"""Quotas of looks: per caller, exact whoever counts at the same time, and forgiven with time."""

import asyncio
from contextlib import AsyncExitStack

import psycopg
import pytest

from app.errors import InvalidRequest, PseudonymNotFound, ReidentifyQuotaExceeded
from app.vault.disclosure import safeguards
from app.vault.disclosure.purposes import Purpose
from app.vault.disclosure.quotas import Bounds
from app.vault.disclosure.transactions import Recorder
from tests.mapping_house import NORTH, SOUTH, KeyPair, MappingHouse, opened, originals

pytestmark = pytest.mark.db

EMERGENCY = Purpose("ETREAT", "BED-9", "unconscious patient")


def rewind(url: str, by: str) -> None:
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(
            "UPDATE reidentify_quotas SET hour_began_at = hour_began_at - %s::interval,"
            " day_began_at = day_began_at - %s::interval",
            [by, by],
        )


async def looks(house: MappingHouse, study: str, count: int, **given: object) -> list[str]:
    outcomes = []
    for _ in range(count):
        try:
            await house.reidentify(study, **given)
            outcomes.append("success")
        except ReidentifyQuotaExceeded as refusal:
            outcomes.append(refusal.code)
    return outcomes


@pytest.mark.parametrize(
    ("bounds", "least_s", "most_s"),
    [(Bounds(2, 0), 3500, 3600), (Bounds(0, 2), 86_300, 86_400), (Bounds(2, 2), 86_300, 86_400)],
    ids=["hour", "day", "both"],
)
async def test_a_caller_that_asked_enough_hears_when_to_come_back(
    database_url: str, pair: KeyPair, bounds: Bounds, least_s: int, most_s: int
) -> None:
    async with opened(database_url, pair, looks=bounds) as house:
        study = (await house.record(originals())).cloud_study_id
        await looks(house, study, 2)

        with pytest.raises(ReidentifyQuotaExceeded) as refusal:
            await house.reidentify(study)

    assert least_s < refusal.value.retry_after_s <= most_s


async def test_windows_end(database_url: str, pair: KeyPair) -> None:
    async with opened(database_url, pair, looks=Bounds(1, 2)) as house:
        study = (await house.record(originals())).cloud_study_id
        outcomes = await looks(house, study, 2)
        rewind(database_url, "61 minutes")
        outcomes += await looks(house, study, 2)
        rewind(database_url, "61 minutes")
        outcomes += await looks(house, study, 1)
        rewind(database_url, "22 hours")
        outcomes += await looks(house, study, 1)

    refused = "reidentify-quota-exceeded"
    assert outcomes == ["success", refused, "success", refused, refused, "success"]


async def test_each_caller_and_organisation_counts_for_itself(
    database_url: str, pair: KeyPair
) -> None:
    async with opened(database_url, pair, looks=Bounds(1, 0)) as house:
        study = (await house.record(originals())).cloud_study_id
        elsewhere = (await house.record(originals(), organization=SOUTH)).cloud_study_id
        outcomes = await looks(house, study, 1)
        outcomes += await looks(house, study, 1, actor="another")
        outcomes += await looks(house, elsewhere, 1, organization=SOUTH)

    assert outcomes == ["success"] * 3


async def test_what_leads_nowhere_counts_as_well(database_url: str, pair: KeyPair) -> None:
    async with opened(database_url, pair, looks=Bounds(1, 0)) as house:
        unknown = house.vault.pseudonyms(NORTH).cloud_study_id("never seen")

        with pytest.raises(PseudonymNotFound):
            await house.reidentify(unknown)
        with pytest.raises(ReidentifyQuotaExceeded):
            await house.reidentify(unknown)


async def test_only_the_first_of_many_refusals_is_in_the_audit(
    database_url: str, pair: KeyPair
) -> None:
    async with opened(database_url, pair, looks=Bounds(1, 0)) as house:
        study = (await house.record(originals())).cloud_study_id
        await looks(house, study, 5)

        assert house.outcomes() == ["success", "success", "reidentify-quota-exceeded"]
        assert house.query("SELECT refused FROM reidentify_quotas") == [{"refused": 4}]


async def test_a_worklist_counts_each_question_or_none(database_url: str, pair: KeyPair) -> None:
    async with opened(database_url, pair, looks=Bounds(4, 0)) as house:
        question = {"cloud_study_id": (await house.record(originals())).cloud_study_id}
        await house.ask(*[question] * 3, is_batch=True)

        with pytest.raises(ReidentifyQuotaExceeded):
            await house.ask(*[question] * 2, is_batch=True)

        await house.ask(question)
        assert house.query("SELECT hour_used FROM reidentify_quotas") == [{"hour_used": 4}]


async def test_a_worklist_larger_than_the_quota_is_told_so(
    database_url: str, pair: KeyPair
) -> None:
    async with opened(database_url, pair, looks=Bounds(2, 0)) as house:
        question = {"cloud_study_id": (await house.record(originals())).cloud_study_id}

        with pytest.raises(InvalidRequest, match="2 looks"):
            await house.ask(*[question] * 3, is_batch=True)


async def test_processes_at_the_same_time_count_exactly(database_url: str, pair: KeyPair) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(opened(database_url, pair, looks=Bounds(7, 0)))
        second = await stack.enter_async_context(
            opened(database_url, pair, is_new=False, looks=Bounds(7, 0))
        )
        study = (await first.record(originals())).cloud_study_id
        houses = [first, second] * 8

        counted = await asyncio.gather(*[looks(house, study, 1) for house in houses])

    outcomes = [outcome for [outcome] in counted]
    assert (len(outcomes), outcomes.count("success")) == (16, 7)


async def test_looks_that_wait_for_each_other_leave_connections_to_everybody_else(
    database_url: str, pair: KeyPair
) -> None:
    async with opened(database_url, pair, looks=Bounds(100, 0)) as house:
        study = (await house.record(originals())).cloud_study_id
        await looks(house, study, 1)
        with psycopg.connect(database_url) as holding:
            holding.execute("SELECT FROM reidentify_quotas FOR UPDATE")
            waiting = [asyncio.create_task(looks(house, study, 1)) for _ in range(8)]
            await asyncio.sleep(0.2)

            is_ready = await house.database.is_ready()

        outcomes = await asyncio.gather(*waiting)

    assert is_ready
    assert outcomes == [["success"]] * 8


async def test_an_organisation_may_set_its_own_quota(database_url: str, pair: KeyPair) -> None:
    async with opened(database_url, pair, looks=Bounds(1, 1)) as house:
        study = (await house.record(originals())).cloud_study_id
        recorder = Recorder(house.database, type(house.vault._repository._trail))
        await safeguards.change(recorder, house.asked().event, per_hour=3, per_day=0)

        outcomes = await looks(house, study, 4)

    assert outcomes == ["success"] * 3 + ["reidentify-quota-exceeded"]


async def test_emergencies_are_counted_apart(database_url: str, pair: KeyPair) -> None:
    async with opened(database_url, pair, looks=Bounds(1, 0), emergencies=Bounds(0, 2)) as house:
        study = (await house.record(originals())).cloud_study_id
        outcomes = await looks(house, study, 2)
        outcomes += await looks(house, study, 3, purpose=EMERGENCY)

    refused = "reidentify-quota-exceeded"
    assert outcomes == ["success", refused, "success", "success", refused]
