import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from app.audit.chain import GENESIS, canonical, facts_of_row, link
from app.audit.checkpoints import Checkpoint, read, seal
from app.audit.events import AuditEvent
from app.audit.keeping import kept
from app.audit.reading import newest
from app.audit.sealing import Sealer
from app.audit.verifying import Break, verify, verify_all
from app.storage.destinations import open_destination
from app.vault.signing import Signer
from tests.audit.events import WHEN
from tests.mapping_house import NORTH, SOUTH, KeyPair, MappingHouse, make_keys

pytestmark = pytest.mark.db


@pytest.fixture
def signer(pair: KeyPair) -> Signer:
    return Signer(pair.keys)


@pytest.fixture
def sealer(house: MappingHouse, signer: Signer) -> Sealer:
    return Sealer(house.database, signer)


async def write(house: MappingHouse, count: int, organization: str | None = NORTH) -> None:
    for number in range(count):
        detail = {"number": number}
        await house.vault.audit(AuditEvent(action="a", organization=organization, detail=detail))


@contextmanager
def without_guards(house: MappingHouse) -> Iterator[psycopg.Connection]:
    """The owner of the tables with the triggers switched off."""
    tables = ("audit_events", "audit_heads", "audit_checkpoints")
    with psycopg.connect(house.url, autocommit=True) as owner:
        for table in tables:
            owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        yield owner
        for table in tables:
            owner.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL")


def rewrite(house: MappingHouse, first: int, *, outcome: str = "forged") -> None:
    """Change every row from one on, with hashes and a head that fit."""
    rows = house.query("SELECT * FROM audit_events WHERE chain = %s ORDER BY seq", NORTH)
    previous = GENESIS if first == 1 else rows[first - 2]["hash"]
    with without_guards(house) as owner:
        for row in rows[first - 1 :]:
            row["outcome"] = outcome
            facts = facts_of_row(row, seq=row["seq"], recorded_at=row["recorded_at"])
            previous = link(previous, canonical(facts))
            owner.execute(
                "UPDATE audit_events SET outcome = %s, hash = %s WHERE chain = %s AND seq = %s",
                [outcome, previous, NORTH, row["seq"]],
            )
        owner.execute("UPDATE audit_heads SET hash = %s WHERE chain = %s", [previous, NORTH])


def remove_checkpoints(house: MappingHouse) -> None:
    with without_guards(house) as owner:
        owner.execute("DELETE FROM audit_checkpoints")


async def test_every_chain_is_sealed_at_its_head(house: MappingHouse, sealer: Sealer) -> None:
    await asyncio.gather(write(house, 3), write(house, 2, SOUTH), write(house, 1, None))

    made = await sealer.seal()

    assert [(one.chain, one.seq) for one in made] == [("", 1), (NORTH, 3), (SOUTH, 2)]
    assert await newest(house.database) == made


async def test_nothing_new_is_not_sealed_again(house: MappingHouse, sealer: Sealer) -> None:
    await write(house, 2)
    await sealer.seal()

    assert await sealer.seal(at_once=True) == []


async def test_a_few_new_rows_wait_for_their_time(house: MappingHouse, sealer: Sealer) -> None:
    await write(house, 1)
    await sealer.seal()
    await write(house, 1)

    assert await sealer.seal() == []
    assert [one.seq for one in await sealer.seal(at_once=True)] == [2]


async def test_many_new_rows_do_not_wait(house: MappingHouse, signer: Signer) -> None:
    sealer = Sealer(house.database, signer, every_rows=3)
    await write(house, 1)
    await sealer.seal()
    await write(house, 3)

    assert [one.seq for one in await sealer.seal()] == [4]


async def test_an_old_checkpoint_is_followed_by_another(
    house: MappingHouse, signer: Signer
) -> None:
    sealer = Sealer(house.database, signer, every_s=0)
    await write(house, 1)
    await sealer.seal()
    await write(house, 1)

    assert [one.seq for one in await sealer.seal()] == [2]


async def test_of_many_that_seal_at_once_one_does(house: MappingHouse, signer: Signer) -> None:
    await write(house, 2)

    made = await asyncio.gather(*[Sealer(house.database, signer).seal() for _ in range(4)])

    assert sum(map(len, made)) == 1
    assert house.count("audit_checkpoints") == 1


async def test_while_another_process_seals_nothing_is_sealed(
    house: MappingHouse, sealer: Sealer
) -> None:
    await write(house, 1)
    with psycopg.connect(house.url) as other:
        other.execute("SELECT pg_advisory_xact_lock(4107005)")

        assert await sealer.seal() == []

    assert len(await sealer.seal()) == 1


async def test_a_sealed_chain_is_intact(
    house: MappingHouse, sealer: Sealer, signer: Signer
) -> None:
    await write(house, 2)
    await sealer.seal()
    await write(house, 2)
    await sealer.seal(at_once=True)
    await write(house, 1)

    found = await verify(house.database, NORTH, keys=signer.public_keys())

    assert found.is_intact
    assert (found.events, found.checkpoints, found.sealed) == (5, 2, 4)


@pytest.mark.parametrize("first", [1, 3])
async def test_a_tail_that_was_rewritten_with_its_head_is_found_by_the_checkpoint(
    house: MappingHouse, sealer: Sealer, first: int
) -> None:
    await write(house, 4)
    await sealer.seal()
    rewrite(house, first)

    found = await verify(house.database, NORTH)

    assert (found.broken_at, found.problem) == (4, Break.REWRITTEN)


@pytest.mark.parametrize("first", [1, 3])
async def test_a_checkpoint_that_was_kept_elsewhere_finds_it_when_those_here_are_gone(
    house: MappingHouse, sealer: Sealer, first: int
) -> None:
    await write(house, 4)
    held = await sealer.seal()
    remove_checkpoints(house)
    rewrite(house, first)

    assert (await verify(house.database, NORTH)).is_intact
    found = await verify(house.database, NORTH, held=held)
    assert (found.broken_at, found.problem) == (4, Break.REWRITTEN)


async def test_a_kept_checkpoint_finds_it_when_the_rewritten_chain_was_sealed_again(
    house: MappingHouse, sealer: Sealer, signer: Signer
) -> None:
    await write(house, 4)
    held = await sealer.seal()
    remove_checkpoints(house)
    rewrite(house, 2)
    again = await sealer.seal()

    for order in ([*held, *again], [*again, *held]):
        found = await verify(house.database, NORTH, keys=signer.public_keys(), held=order)
        assert (found.broken_at, found.problem) == (4, Break.REWRITTEN)


async def test_a_kept_checkpoint_finds_a_cut_tail(house: MappingHouse, sealer: Sealer) -> None:
    await write(house, 4)
    held = await sealer.seal()
    remove_checkpoints(house)
    second = house.query("SELECT hash FROM audit_events WHERE seq = 2")[0]["hash"]
    with without_guards(house) as owner:
        owner.execute("DELETE FROM audit_events WHERE seq > 2")
        owner.execute("UPDATE audit_heads SET seq = 2, hash = %s", [second])

    assert (await verify(house.database, NORTH)).is_intact
    found = await verify(house.database, NORTH, held=held)
    assert (found.broken_at, found.problem) == (3, Break.MISSING)


async def test_a_kept_checkpoint_finds_a_chain_that_is_gone_altogether(
    house: MappingHouse, sealer: Sealer
) -> None:
    await write(house, 2)
    held = await sealer.seal()
    remove_checkpoints(house)
    with without_guards(house) as owner:
        owner.execute("DELETE FROM audit_events")
        owner.execute("DELETE FROM audit_heads")

    found = [one async for one in verify_all(house.database, held=held)]

    assert [(one.organization, one.problem) for one in found] == [(NORTH, Break.MISSING)]


async def test_the_databases_own_checkpoint_finds_a_cut_tail(
    house: MappingHouse, sealer: Sealer
) -> None:
    await write(house, 3)
    await sealer.seal()
    with without_guards(house) as owner:
        owner.execute("DELETE FROM audit_events")
        owner.execute("DELETE FROM audit_heads")

    found = [one async for one in verify_all(house.database)]

    assert [(one.organization, one.broken_at) for one in found] == [(NORTH, 1)]


async def test_a_checkpoint_by_somebody_else_is_forged(
    house: MappingHouse, signer: Signer, tmp_path: Path
) -> None:
    await write(house, 2)
    rewrite(house, 2)
    await Sealer(house.database, Signer(make_keys(tmp_path / "others").keys)).seal()

    found = await verify(house.database, NORTH, keys=signer.public_keys())

    assert (found.broken_at, found.problem) == (2, Break.FORGED)


async def test_a_row_before_the_first_is_found(house: MappingHouse) -> None:
    await write(house, 2)
    with without_guards(house) as owner:
        owner.execute(
            "INSERT INTO audit_events (chain, seq, recorded_at, action, outcome, actor, hash)"
            " SELECT chain, 0, now(), 'x', 'x', '', hash FROM audit_events WHERE seq = 1"
        )

    assert (await verify(house.database, NORTH)).problem is Break.MISSING


async def test_checkpoints_on_the_borders_of_pages_count(
    house: MappingHouse, sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.audit.verifying._READ_AT_ONCE", 2)
    for _ in range(6):
        await write(house, 1)
        await sealer.seal(at_once=True)

    found = await verify(house.database, NORTH)

    assert (found.events, found.checkpoints, found.sealed) == (6, 6, 6)


def insert(one: Checkpoint) -> tuple[str, list[object]]:
    statement = (
        "INSERT INTO audit_checkpoints (chain, seq, hash, sealed_at, key_id, signature)"
        " VALUES (%s, %s, %s, %s, %s, %s)"
    )
    return statement, [one.chain, one.seq, one.hash, one.sealed_at, one.key_id, one.signature]


async def test_rows_that_are_not_there_yet_cannot_be_sealed(
    house: MappingHouse, signer: Signer
) -> None:
    await write(house, 1)
    early = seal(signer, chain=NORTH, seq=2, row_hash=bytes(32), sealed_at=WHEN)

    with (
        psycopg.connect(house.url) as owner,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        owner.execute(*insert(early))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_checkpoints SET seq = seq",
        "UPDATE audit_checkpoints SET hash = hash WHERE false",
        "DELETE FROM audit_checkpoints",
        "TRUNCATE audit_checkpoints",
    ],
)
async def test_even_the_owner_cannot_change_checkpoints(
    house: MappingHouse, sealer: Sealer, statement: str
) -> None:
    await write(house, 1)
    await sealer.seal()

    with (
        psycopg.connect(house.url) as owner,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        owner.execute(statement)


async def test_what_is_sealed_is_written_to_a_directory_as_well(
    house: MappingHouse, signer: Signer, tmp_path: Path
) -> None:
    destination = open_destination(str(tmp_path / "kept"))
    sealer = Sealer(house.database, signer, every_s=0, destination=destination)
    await write(house, 2)

    async with kept(sealer.run):
        while not list((tmp_path / "kept").glob("*.json")):  # noqa: ASYNC110 - a file, no event
            await asyncio.sleep(0.01)
    await destination.close()

    (path,) = (tmp_path / "kept").iterdir()
    assert [(one.chain, one.seq) for one in read(path.read_bytes())] == [(NORTH, 2)]


async def test_what_another_process_sealed_is_written_by_those_that_have_a_place_for_it(
    house: MappingHouse, signer: Signer, tmp_path: Path
) -> None:
    destination = open_destination(str(tmp_path / "kept"))
    writers = [Sealer(house.database, signer, destination=destination) for _ in range(2)]
    await write(house, 2)
    await Sealer(house.database, signer).seal()

    for writer in (*writers, *writers):
        await writer.publish()
    await destination.close()

    (path,) = (tmp_path / "kept").iterdir()
    assert [(one.chain, one.seq) for one in read(path.read_bytes())] == [(NORTH, 2)]


async def test_what_is_left_is_sealed_at_the_end(house: MappingHouse, signer: Signer) -> None:
    await write(house, 1)
    sealer = Sealer(house.database, signer)

    async with kept(sealer.run):
        while not house.count("audit_checkpoints"):  # noqa: ASYNC110 - a row, no event
            await asyncio.sleep(0.01)
        await write(house, 2)

    assert [one.seq for one in await newest(house.database)] == [3]


async def test_a_keeper_that_fails_is_told_and_begins_anew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("app.audit.keeping.AGAIN_AFTER_S", 0.0)
    turns: list[int] = []
    came_again = asyncio.Event()

    async def work(stop: asyncio.Event) -> None:
        turns.append(len(turns))
        if len(turns) == 1:
            raise ValueError("PLANTED^NAME")
        came_again.set()
        await stop.wait()

    async with kept(work):
        await came_again.wait()

    assert turns == [0, 1]
    assert "PLANTED" not in "".join(capsys.readouterr())
