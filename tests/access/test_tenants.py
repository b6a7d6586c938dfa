"""What organisations allow: profiles, and how much of everything."""

import asyncio
import datetime as dt

import psycopg
import pytest

from app.access.organizations import Organizations
from app.access.policies import OrganizationPolicies
from app.access.principals import OrganizationPolicy, Principal, bounded
from app.access.quotas import ADDED_UP_AFTER_S, Quotas
from app.access.repository import _OPEN_STATES
from app.audit.repository import AuditTrail
from app.batches.states import ENDED, BatchState
from app.db.session import Database
from app.errors import InvalidRequest, OrganizationNotFound, QuotaExceeded
from tests.mapping_house import NORTH, SOUTH, MappingHouse

NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> dt.datetime:
        return self.now

    def later(self, **given: float) -> None:
        self.now += dt.timedelta(**given)


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def allow(house: MappingHouse, organization: str = NORTH, **quotas: int | None) -> None:
    organizations = Organizations(house.database, AuditTrail())
    number = (await organizations.policy(organization)).number
    policy = OrganizationPolicy(number, "basic", frozenset({"*"}), **quotas)
    await organizations.change(organization, policy, actor="cli:admin")


def quotas_of(house: MappingHouse, clock: Clock) -> Quotas:
    return Quotas(house.database, OrganizationPolicies(house.database), now=clock)


def used(house: MappingHouse) -> list[tuple[str, int]]:
    rows = house.query("SELECT day::text, objects FROM organization_usage ORDER BY day")
    return [(row["day"], row["objects"]) for row in rows]


async def test_a_change_is_in_the_audit_with_who_made_it(house: MappingHouse) -> None:
    await allow(house, objects_per_day=7)

    [row] = house.query("SELECT action, actor, chain, detail FROM audit_events")
    assert (row["action"], row["actor"], row["chain"]) == (
        "change-organization",
        "cli:admin",
        NORTH,
    )
    assert row["detail"] == {
        "profile": "basic",
        "profiles": "*",
        "objects_per_day": 7,
        "open_batches": "unbounded",
    }


async def test_what_cannot_be_is_not_written(house: MappingHouse) -> None:
    with pytest.raises(InvalidRequest):
        await allow(house, objects_per_day=-1)
    with pytest.raises(OrganizationNotFound):
        await allow(house, "NOBODY")

    assert house.count("audit_events") == 0


async def test_without_a_quota_nothing_is_counted(house: MappingHouse, clock: Clock) -> None:
    quotas = quotas_of(house, clock)

    for _ in range(100):
        await quotas.admit_object(NORTH)
    await quotas.close()

    assert used(house) == []


async def test_a_quota_ends_with_the_day(house: MappingHouse, clock: Clock) -> None:
    await allow(house, objects_per_day=3)
    quotas = quotas_of(house, clock)
    for _ in range(3):
        await quotas.admit_object(NORTH)

    with pytest.raises(QuotaExceeded) as refused:
        await quotas.admit_object(NORTH)
    await quotas.admit_object(SOUTH)
    clock.later(seconds=refused.value.retry_after_s)
    await quotas.admit_object(NORTH)
    await quotas.close()

    assert refused.value.retry_after_s == 12 * 3600
    assert used(house) == [("2026-01-31", 3), ("2026-02-01", 1)]


async def test_only_the_first_refusal_of_a_day_is_marked(house: MappingHouse, clock: Clock) -> None:
    await allow(house, objects_per_day=0)
    quotas, marks = quotas_of(house, clock), []
    for _ in range(3):
        with pytest.raises(QuotaExceeded) as refused:
            await quotas.admit_object(NORTH)
        marks.append(refused.value.is_first)

    await quotas.close()
    assert marks == [True, False, False]


async def test_processes_share_a_quota(house: MappingHouse, clock: Clock) -> None:
    await allow(house, objects_per_day=10)
    one, other = quotas_of(house, clock), quotas_of(house, clock)
    for _ in range(4):
        await one.admit_object(NORTH)
        await other.admit_object(NORTH)
    clock.later(seconds=ADDED_UP_AFTER_S)

    await one.admit_object(NORTH)  # adds up in the background
    await one.close()
    await other.close()

    third = quotas_of(house, clock)
    await third.admit_object(NORTH)
    with pytest.raises(QuotaExceeded):
        await third.admit_object(NORTH)
    await third.close()
    assert used(house) == [("2026-01-31", 10)]


async def test_a_day_begins_once_for_all_who_come_at_once(
    house: MappingHouse, clock: Clock
) -> None:
    await allow(house, objects_per_day=5)
    quotas = quotas_of(house, clock)

    done = await asyncio.gather(
        *[quotas.admit_object(NORTH) for _ in range(20)], return_exceptions=True
    )
    await quotas.close()

    assert sum(1 for outcome in done if outcome is None) == 5
    assert used(house) == [("2026-01-31", 5)]


async def test_only_so_many_batches_are_open(house: MappingHouse, clock: Clock) -> None:
    await allow(house, open_batches=2)
    quotas = quotas_of(house, clock)
    add = """
    INSERT INTO batches (id, organization, state, priority, on_error, profile, profile_version,
        destination, sealed_request, actor, request_hash)
    SELECT gen_random_uuid(), number, %s, 1, 'hold', 'basic', '1', 'staging', '', 'x', ''
    FROM organizations WHERE id = %s
    """
    with psycopg.connect(house.url, autocommit=True) as owner:
        for state, organization in [("queued", NORTH), ("held", NORTH), ("queued", SOUTH)]:
            owner.execute(add, [state, organization])
        await quotas.admit_batch(NORTH)
        owner.execute(add, ["publishing", NORTH])

    with pytest.raises(QuotaExceeded):
        await quotas.admit_batch(NORTH)
    await quotas.admit_batch(SOUTH)


def test_open_batches_are_those_that_have_not_ended() -> None:
    assert {BatchState(state) for state in _OPEN_STATES} == set(BatchState) - ENDED


def principal(profile: str = "", profiles: tuple[str, ...] = ()) -> Principal:
    return Principal(
        api_key_id="k",
        name="viewer",
        organization=NORTH,
        scopes=frozenset(),
        profile=profile,
        profiles=frozenset(profiles),
        organizations=frozenset(),
    )


@pytest.mark.parametrize(
    ("key", "allowed", "expected"),
    [
        (("", ()), ("*",), ("basic", set())),
        (("", ("*",)), ("*",), ("basic", {"*"})),
        (("strict", ()), ("*",), ("strict", set())),
        (("", ("*",)), ("strict",), ("basic", {"basic", "strict"})),
        (("", ("strict", "research")), ("strict",), ("basic", {"strict"})),
        (("", ("research",)), (), ("basic", set())),
        (("research", ()), ("strict",), ("research", set())),
    ],
)
def test_a_key_gets_what_its_organisation_allows_as_well(
    key: tuple[str, tuple[str, ...]], allowed: tuple[str, ...], expected: tuple[str, set[str]]
) -> None:
    policy = OrganizationPolicy(1, "basic", frozenset(allowed))

    found = bounded(principal(*key), {NORTH: policy})

    assert (found.profile, found.profiles) == expected
    assert (found.bounds == {}) is ("*" in allowed)


async def test_an_organisation_that_is_not_there_has_no_policy(database_url: str) -> None:
    database = Database(database_url)

    assert await OrganizationPolicies(database).get("NOBODY") is None
    with pytest.raises(OrganizationNotFound):
        await Organizations(database).policy("NOBODY")
    await database.close()
