import asyncio

import pytest

from app.access.organizations import Organizations
from app.audit.repository import AuditTrail
from app.errors import AlreadyExists, InvalidRequest
from tests.mapping_house import NORTH, SOUTH, MappingHouse

pytestmark = pytest.mark.db
WHO = "cli:admin"


@pytest.fixture
def organizations(house: MappingHouse) -> Organizations:
    return Organizations(house.database, AuditTrail())


async def test_an_organisation_is_added_and_listed(organizations: Organizations) -> None:
    await organizations.create("east-1", "Hospital in the East", actor=WHO)

    listed = {found.id: found.name for found in await organizations.list()}

    assert listed == {NORTH: NORTH, SOUTH: SOUTH, "east-1": "Hospital in the East"}


async def test_an_id_is_given_once(organizations: Organizations) -> None:
    await organizations.create("east", actor=WHO)

    with pytest.raises(AlreadyExists):
        await organizations.create("east", actor=WHO)


async def test_who_added_an_organisation_is_in_its_audit(
    organizations: Organizations, house: MappingHouse
) -> None:
    await organizations.create("east", actor=WHO)
    await organizations.ensure("west")
    with pytest.raises(AlreadyExists):
        await organizations.create("west", actor=WHO)

    rows = house.query("SELECT action, actor, chain FROM audit_events ORDER BY chain")
    assert [tuple(row.values()) for row in rows] == [
        ("create-organization", WHO, "east"),
        ("create-organization", "gateway", "west"),
    ]


async def test_ensuring_at_once_adds_one(organizations: Organizations) -> None:
    added = await asyncio.gather(*[organizations.ensure("east") for _ in range(4)])

    assert sorted(added) == [False, False, False, True]
    assert await organizations.exists("east")
    assert not await organizations.exists("west")


@pytest.mark.parametrize("name", ["", "a b", "x" * 25, "ä", "a\n", "a/b"])
async def test_other_ids_are_refused(organizations: Organizations, name: str) -> None:
    with pytest.raises(InvalidRequest):
        await organizations.create(name, actor=WHO)


async def test_a_name_is_printable(organizations: Organizations) -> None:
    with pytest.raises(InvalidRequest):
        await organizations.create("east", "two\nlines", actor=WHO)
