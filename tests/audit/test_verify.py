import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from app.audit.chain import canonical, facts_of_row, link
from app.audit.events import AuditEvent
from app.audit.verifying import Break, verify, verify_all
from app.errors import DatabaseUnavailable
from tests.mapping_house import NORTH, SOUTH, MappingHouse

pytestmark = pytest.mark.db

ODD = "quotes ' \" \\ newline \n NUL \0 surrogate \ud800 emoji \U0001f600 {},[]"


async def write(house: MappingHouse, count: int, organization: str | None = NORTH) -> None:
    for number in range(count):
        event = AuditEvent(
            action="anonymize", organization=organization, actor="a", detail={"number": number}
        )
        await house.vault.audit(event)


@contextmanager
def as_owner(house: MappingHouse, *, guarded: bool = False) -> Iterator[psycopg.Connection]:
    """The owner of the tables, who can switch the triggers off."""
    with psycopg.connect(house.url, autocommit=True) as owner:
        if not guarded:
            owner.execute("ALTER TABLE audit_events DISABLE TRIGGER ALL")
            owner.execute("ALTER TABLE audit_heads DISABLE TRIGGER ALL")
        yield owner
        owner.execute("ALTER TABLE audit_events ENABLE TRIGGER ALL")
        owner.execute("ALTER TABLE audit_heads ENABLE TRIGGER ALL")


async def test_an_untouched_chain_is_intact(house: MappingHouse) -> None:
    await write(house, 3)

    found = await verify(house.database, NORTH)

    assert (found.is_intact, found.events, found.broken_at) == (True, 3, None)


async def test_an_empty_chain_is_intact(house: MappingHouse) -> None:
    assert (await verify(house.database, "NOBODY")).is_intact


async def test_odd_texts_and_numbers_keep_the_chain_intact(house: MappingHouse) -> None:
    event = AuditEvent(
        action=ODD,
        outcome=ODD,
        organization=NORTH,
        actor=ODD,
        purpose=ODD,
        request_id="",
        detail={"big": 1 << 60, "negative": -1, "text": ODD},
    )

    await house.vault.audit(event)

    assert (await verify(house.database, NORTH)).is_intact


async def test_chains_of_organisations_and_of_the_gateway_are_apart(house: MappingHouse) -> None:
    await asyncio.gather(
        write(house, 3, NORTH), write(house, 2, SOUTH), write(house, 1, organization=None)
    )

    found = [result async for result in verify_all(house.database)]

    assert [(result.organization, result.events) for result in found] == [
        (None, 1),
        (NORTH, 3),
        (SOUTH, 2),
    ]
    assert all(result.is_intact for result in found)


@pytest.mark.parametrize(
    "change",
    [
        "outcome = 'denied'",
        "actor = actor || ' '",
        "recorded_at = recorded_at + interval '1 microsecond'",
        "purpose = ''",
        "detail = '{}'",
        """detail = '{"number": "1"}'""",
        "hash = decode(repeat('00', 32), 'hex')",
        "sop_instance_uid = '2.25.1'",
    ],
)
async def test_an_altered_row_is_found(house: MappingHouse, change: str) -> None:
    await write(house, 4)
    with as_owner(house) as owner:
        owner.execute(f"UPDATE audit_events SET {change} WHERE seq = 2")

    found = await verify(house.database, NORTH)

    assert (found.events, found.broken_at, found.problem) == (1, 2, Break.ALTERED)


async def test_every_column_is_in_the_hash(house: MappingHouse) -> None:
    columns = house.query(
        "SELECT column_name AS name FROM information_schema.columns"
        " WHERE table_name = 'audit_events' AND data_type = 'text'"
    )
    for column in {row["name"] for row in columns} - {"chain"}:
        await write(house, 1, organization=column)
        with as_owner(house) as owner:
            owner.execute(
                f"UPDATE audit_events SET {column} = 'changed' WHERE chain = %s",
                [column],
            )
        assert (await verify(house.database, column)).problem is Break.ALTERED, column


async def test_a_missing_row_is_found(house: MappingHouse) -> None:
    await write(house, 4)
    with as_owner(house) as owner:
        owner.execute("DELETE FROM audit_events WHERE seq = 2")

    found = await verify(house.database, NORTH)

    assert (found.broken_at, found.problem) == (2, Break.MISSING)


async def test_a_missing_row_whose_gap_was_closed_is_found(house: MappingHouse) -> None:
    await write(house, 4)
    with as_owner(house) as owner:
        owner.execute("DELETE FROM audit_events WHERE seq = 2")
        owner.execute("UPDATE audit_events SET seq = seq - 1 WHERE seq = 3")
        owner.execute("UPDATE audit_events SET seq = seq - 1 WHERE seq = 4")

    found = await verify(house.database, NORTH)

    assert (found.broken_at, found.problem) == (2, Break.ALTERED)


async def test_reordered_rows_are_found(house: MappingHouse) -> None:
    await write(house, 4)
    with as_owner(house) as owner:
        for old, new in ((2, 99), (3, 2), (99, 3)):
            owner.execute("UPDATE audit_events SET seq = %s WHERE seq = %s", [new, old])

    found = await verify(house.database, NORTH)

    assert (found.broken_at, found.problem) == (2, Break.ALTERED)


async def test_a_cut_tail_is_found(house: MappingHouse) -> None:
    await write(house, 4)
    with as_owner(house) as owner:
        owner.execute("DELETE FROM audit_events WHERE seq > 2")

    found = await verify(house.database, NORTH)

    assert (found.events, found.broken_at, found.problem) == (2, 3, Break.MISSING)


async def test_a_row_put_in_behind_the_head_is_found(house: MappingHouse) -> None:
    await write(house, 2)
    with as_owner(house, guarded=True) as owner:
        owner.execute(
            "INSERT INTO audit_events (chain, seq, recorded_at, action, outcome, actor, hash)"
            " SELECT chain, 3, now(), 'forged', 'success', '', hash FROM audit_events WHERE seq = 2"
        )

    found = await verify(house.database, NORTH)

    assert (found.broken_at, found.problem) == (3, Break.ALTERED)


async def test_a_well_made_row_behind_the_head_is_found(house: MappingHouse) -> None:
    await write(house, 2)
    with as_owner(house) as owner:
        owner.execute("UPDATE audit_heads SET seq = 1")

    found = await verify(house.database, NORTH)

    assert (found.broken_at, found.problem) == (2, Break.APPENDED)


async def test_a_last_row_that_was_rewritten_with_a_fitting_hash_is_found(
    house: MappingHouse,
) -> None:
    await write(house, 2)
    first, last = house.query("SELECT * FROM audit_events ORDER BY seq")
    last["outcome"] = "forged"
    facts = facts_of_row(last, seq=2, recorded_at=last["recorded_at"])
    with as_owner(house) as owner:
        owner.execute(
            "UPDATE audit_events SET outcome = 'forged', hash = %s WHERE seq = 2",
            [link(first["hash"], canonical(facts))],
        )

    found = await verify(house.database, NORTH)

    assert (found.broken_at, found.problem) == (2, Break.NO_HEAD)


async def test_a_missing_head_is_found(house: MappingHouse) -> None:
    await write(house, 2)
    with as_owner(house) as owner:
        owner.execute("DELETE FROM audit_heads")

    assert (await verify(house.database, NORTH)).problem is Break.NO_HEAD


async def test_without_its_head_a_chain_takes_no_more_rows(house: MappingHouse) -> None:
    await write(house, 2)
    with as_owner(house) as owner:
        owner.execute("DELETE FROM audit_heads")

    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            await write(house, 1)

    assert house.count("audit_events") == 2


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET outcome = 'x'",
        "UPDATE audit_events SET outcome = 'x' WHERE false",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "DELETE FROM audit_heads",
        "TRUNCATE audit_heads",
        "UPDATE audit_heads SET seq = seq - 1",
        "UPDATE audit_heads SET hash = hash",
        "UPDATE audit_heads SET chain = 'other', seq = seq + 1",
    ],
)
async def test_even_the_owner_is_refused_by_the_triggers(
    house: MappingHouse, statement: str
) -> None:
    await write(house, 2)

    with (
        as_owner(house, guarded=True) as owner,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        owner.execute(statement)

    assert (await verify(house.database, NORTH)).events == 2


async def test_verification_goes_on_while_rows_are_written(house: MappingHouse) -> None:
    await write(house, 1)
    writing = asyncio.create_task(write(house, 60))

    while not writing.done():
        assert (await verify(house.database, NORTH)).is_intact

    await writing


async def test_a_long_chain_is_read_in_parts(
    house: MappingHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.audit.verifying._READ_AT_ONCE", 2)
    await write(house, 7)

    assert (await verify(house.database, NORTH)).events == 7
