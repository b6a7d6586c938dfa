import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from app.audit.events import AuditEvent
from app.audit.verifying import verify
from app.db.embedded import EmbeddedPostgres
from app.db.migrate import upgrade
from app.db.session import Database
from app.errors import DatabaseUnavailable, NotAuthenticated
from app.vault import repository
from tests.mapping_house import NORTH, KeyPair, MappingHouse, opened, originals

pytestmark = pytest.mark.db


@pytest.fixture
def own_server(reachable_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(reachable_path / "pg", reachable_dir=reachable_path / "reachable")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def own_house(own_server: EmbeddedPostgres, pair: KeyPair) -> AsyncIterator[MappingHouse]:
    url = own_server.url("deid_gateway")
    await upgrade(url)
    async with opened(url, pair) as house:
        yield house


async def test_a_record_is_committed_when_it_is_answered(house: MappingHouse) -> None:
    made = await house.record(originals())

    with psycopg.connect(house.url) as stranger:
        kept = stranger.execute("SELECT cloud_study_id FROM studies").fetchone()
    assert kept == (made.cloud_study_id,)


async def test_while_postgres_is_down_callers_hear_so_and_afterwards_it_goes_on(
    own_house: MappingHouse, own_server: EmbeddedPostgres
) -> None:
    await own_house.record(originals(1))
    own_server.stop()

    answers = await asyncio.gather(
        *[own_house.record(originals(n)) for n in range(2, 12)], return_exceptions=True
    )
    assert {type(answer) for answer in answers} == {DatabaseUnavailable}

    own_server.start()
    await asyncio.gather(*[own_house.record(originals(n)) for n in range(2, 12)])
    assert own_house.count("instances") == 11
    found = await verify(own_house.database, NORTH)
    assert (found.is_intact, found.events) == (True, 11)


async def test_a_restart_under_load_loses_nothing_that_was_answered(
    own_house: MappingHouse, own_server: EmbeddedPostgres
) -> None:
    answered, is_over = [], False

    async def keep_sending(lane: int) -> None:
        number = lane
        while not is_over:
            number += 100
            try:
                await own_house.record(originals(number))
            except DatabaseUnavailable:
                await asyncio.sleep(0.01)
            else:
                answered.append(originals(number).sop_instance_uid)

    lanes = [asyncio.create_task(keep_sending(lane)) for lane in range(8)]
    for _ in range(2):
        await asyncio.sleep(0.2)
        await asyncio.to_thread(own_server.stop)
        await asyncio.to_thread(own_server.start)
    before = len(answered)
    while len(answered) < before + 20:  # noqa: ASYNC110 - it must recover by itself
        await asyncio.sleep(0.01)
    is_over = True
    await asyncio.gather(*lanes)

    pseudonyms = own_house.vault.pseudonyms(NORTH)
    kept = {str(row["uid"].int) for row in own_house.query("SELECT uid FROM instances")}
    assert not [uid for uid in answered if pseudonyms.uid(uid).removeprefix("2.25.") not in kept]
    found = await verify(own_house.database, NORTH)
    assert found.is_intact
    assert found.events >= len(answered)


async def test_a_connection_that_died_while_idle_is_made_again_unnoticed(
    house: MappingHouse,
) -> None:
    await house.record(originals(1))
    close_every_connection(house)

    await house.record(originals(2))

    assert house.count("instances") == 2


async def test_a_connection_that_dies_in_the_commit_leaves_the_outcome_open(
    house: MappingHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.record(originals(1))
    append = repository.MappingRepository._connected

    async def connected(self):
        connection = await append(self)

        async def commit() -> None:
            close_every_connection(house)
            await type(connection).commit(connection)

        monkeypatch.setattr(connection, "commit", commit)
        return connection

    monkeypatch.setattr(repository.MappingRepository, "_connected", connected)

    with pytest.raises(DatabaseUnavailable):
        await house.record(originals(2))

    monkeypatch.undo()
    await house.record(originals(2))
    assert house.count("instances") == 2


async def test_a_locked_audit_answers_in_bounded_time(
    house: MappingHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "GROUP_TIMEOUT_S", 0.3)
    await house.record(originals(1))
    with psycopg.connect(house.url) as stranger:
        stranger.execute("SELECT * FROM audit_heads FOR UPDATE")
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            await house.record(originals(2))
        assert time.monotonic() - started < 3

    await house.record(originals(2))

    assert house.count("instances") == 2


async def test_the_error_names_a_state_and_nothing_of_the_driver(house: MappingHouse) -> None:
    with psycopg.connect(house.url, autocommit=True) as owner:
        owner.execute("ALTER TABLE subjects ADD CHECK (cloud_patient_id = 'nobody')")

    with pytest.raises(DatabaseUnavailable) as caught:
        await house.record(originals())

    assert "SQLSTATE 23514" in str(caught.value)
    assert house.replacements(originals()).cloud_patient_id not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_what_the_server_refuses_fails_its_own_call_only(house: MappingHouse) -> None:
    bad = originals(50, patient_id="OTHER", study_uid="1.9", series_uid="1.9.1")
    refused = house.replacements(bad).cloud_patient_id
    with psycopg.connect(house.url, autocommit=True) as owner:
        owner.execute(f"ALTER TABLE subjects ADD CHECK (cloud_patient_id <> '{refused}')")

    answers = await asyncio.gather(
        *[house.record(originals(n)) for n in range(7)],
        house.record(bad),
        *[house.record(originals(n)) for n in range(7, 12)],
        return_exceptions=True,
    )

    assert [type(a) for a in answers if isinstance(a, Exception)] == [DatabaseUnavailable]
    assert house.count("instances") == 12
    found = await verify(house.database, NORTH)
    assert (found.is_intact, found.events) == (True, 12)


async def test_a_key_that_is_revoked_meanwhile_records_nothing(house: MappingHouse) -> None:
    kept, _ = await house.api_keys.create(name="a", organization=NORTH, scopes=["anonymize"])
    gone, _ = await house.api_keys.create(name="b", organization=NORTH, scopes=["anonymize"])
    await house.api_keys.revoke(gone.id)

    answers = await asyncio.gather(
        house.record(originals(1), api_key_id=kept.id),
        house.record(originals(2), api_key_id=gone.id),
        house.record(originals(3)),
        return_exceptions=True,
    )

    assert [type(a) for a in answers if isinstance(a, Exception)] == [NotAuthenticated]
    assert house.count("instances") == 2
    assert house.outcomes().count("not-authenticated") == 1


async def test_an_unknown_key_records_nothing(house: MappingHouse) -> None:
    with pytest.raises(NotAuthenticated):
        await house.record(originals(), api_key_id="nobody00")

    assert (house.count("instances"), house.outcomes()) == (0, ["not-authenticated"])


async def test_the_refusal_of_a_revoked_key_can_be_audited(house: MappingHouse) -> None:
    await house.vault.audit(
        AuditEvent(action="anonymize", outcome="not-authenticated", api_key_id="nobody00")
    )

    assert house.outcomes() == ["not-authenticated"]


async def test_a_group_that_is_cancelled_is_rolled_back_and_the_next_one_written(
    house: MappingHouse,
) -> None:
    await house.record(originals(1))
    with psycopg.connect(house.url) as stranger:
        stranger.execute("SELECT * FROM audit_heads FOR UPDATE")
        waiting = asyncio.create_task(house.record(originals(2)))
        await asyncio.sleep(0.1)
        house.vault._committer._writer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    await house.record(originals(3))

    assert (house.count("instances"), house.outcomes()) == (2, ["success", "success"])


async def test_audit_rows_and_mapping_rows_commit_together_or_not_at_all(
    house: MappingHouse,
) -> None:
    with psycopg.connect(house.url, autocommit=True) as owner:
        owner.execute("ALTER TABLE audit_events ADD CHECK (action <> 'anonymize')")

    with pytest.raises(DatabaseUnavailable):
        await house.record(originals())

    assert house.count("instances") == 0


def test_what_is_known_has_a_bound() -> None:
    known = repository.KnownRows(4)

    for number in range(20):
        known.add([row(number)])

    assert known.get(row(19).key) == b"x"
    assert known.get(row(0).key) is None
    assert len(known._young) + len(known._old) <= 5


def test_what_is_used_stays_known() -> None:
    known = repository.KnownRows(4)
    known.add([row(0)])

    for number in range(1, 20):
        assert known.get(row(0).key) == b"x"
        known.add([row(number)])


def row(number: int) -> repository.Row:
    return repository.Row("series", ("series", "1", str(number)), b"x", (), None, "P")


def close_every_connection(house: MappingHouse) -> None:
    with psycopg.connect(house.url, autocommit=True) as killer:
        killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def test_a_group_whose_process_froze_does_not_keep_the_audit_locked_for_long(
    house: MappingHouse,
) -> None:
    await house.record(originals())

    connection = await house.vault._repository._connected()
    cursor = await connection.execute("SHOW transaction_timeout")
    assert await cursor.fetchone() == ("20s",)
    await connection.rollback()


async def test_a_bound_on_transactions_that_the_operator_chose_stands(
    database_url: str, pair: KeyPair
) -> None:
    async with opened(f"{database_url}&options=-c%20transaction_timeout%3D7s", pair) as house:
        connection = await house.vault._repository._connected()
        cursor = await connection.execute("SHOW transaction_timeout")
        assert await cursor.fetchone() == ("7s",)
        await connection.rollback()


async def test_a_connection_that_says_nothing_is_not_left_open(
    house: MappingHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "GROUP_TIMEOUT_S", 0.3)
    monkeypatch.setattr(repository, "IS_CONFINED", "SELECT pg_sleep(20)")
    made: list[psycopg.AsyncConnection[tuple[object, ...]]] = []
    connect = Database.connect

    async def remembered(self: Database) -> psycopg.AsyncConnection[tuple[object, ...]]:
        made.append(await connect(self))
        return made[-1]

    monkeypatch.setattr(Database, "connect", remembered)

    with pytest.raises(DatabaseUnavailable):
        await house.record(originals())

    assert made
    assert all(connection.closed for connection in made)
