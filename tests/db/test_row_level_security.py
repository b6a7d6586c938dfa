"""The second wall: raw SQL as the application's own users does not reach other organisations."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from app.access.organizations import Organizations
from app.db.acting import act_for, acting, acting_for
from app.db.models import metadata
from app.db.roles import GRANTS, DatabaseRole, ensure_user
from app.db.session import Database
from app.errors import PseudonymNotFound
from tests.mapping_house import NORTH, SOUTH, KeyPair, make_keys, opened, originals

pytestmark = pytest.mark.db
PASSWORD = "a long pass phrase"
MAPPING = ("data_keys", "subjects", "studies", "study_identities", "series", "instances")
BATCHES = ("batches", "batch_chunks", "batch_items", "batch_problems")
# By nature: an audit is verified as a whole, workers take whatever is next, a scaler counts it all,
# what is older than it may be is destroyed everywhere.
CROSSING = {"worker", "audit", "auditor", "scale", "admin"}
# Checkpoints tell how long each chain is; every process seals all of them. How far receivers have
# the audit is for the one process that forwards all of it.
OPEN_TABLES = {"audit_checkpoints", "audit_forwards"}
# What a table says whose rows are, where it is not the organisation's number.
WHOSE = {
    "api_keys": "organization",
    "audit_events": "chain",
    "batch_items": "(SELECT organization::text FROM batches WHERE id = batch)",
    "batch_problems": "(SELECT organization::text FROM batches WHERE id = batch)",
}
FILL = """
INSERT INTO api_keys (id, organization, name, secret_hash, scopes, profile, profiles, organizations)
    SELECT 'key' || number, id, 'viewer', sha256(id::bytea), '{}', 'basic', '{}', '{}'
    FROM organizations;
INSERT INTO organization_usage (organization, day, objects)
    SELECT number, '2026-01-31', 7 FROM organizations;
INSERT INTO batches (id, organization, state, priority, on_error, profile, profile_version,
    destination, sealed_request, actor, request_hash)
    SELECT gen_random_uuid(), number, 'queued', 1, 'hold', 'basic', '1', 'staging', '', 'x', ''
    FROM organizations;
INSERT INTO batch_chunks (batch, number, organization, files, bytes)
    SELECT id, 1, organization, 1, 1 FROM batches;
INSERT INTO batch_items (batch, seq, chunk, state, data_key, sealed_name)
    SELECT id, 1, 1, 'pending', 1, '' FROM batches;
INSERT INTO batch_problems (batch, code, count) SELECT id, 'truncated', 1 FROM batches;
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def filled(module_database_url: str, pair: KeyPair) -> str:
    """A database in which two organisations have the same study and one row of everything."""

    async def fill() -> None:
        async with opened(module_database_url, pair) as house:
            for organization in (NORTH, SOUTH):
                await house.record(originals(), organization=organization)

    with ThreadPoolExecutor(1) as thread:  # a loop may be running here already
        thread.submit(asyncio.run, fill()).result()
    with psycopg.connect(module_database_url) as owner:
        owner.execute(FILL)
    return module_database_url


@pytest.fixture(scope="module")
def users(filled: str) -> Iterator[dict[DatabaseRole, str]]:
    made = {role: f"wall_{role}_{uuid4().hex[:8]}" for role in DatabaseRole}
    parts = urlsplit(filled)
    for role, name in made.items():
        ensure_user(filled, role, name=name, password=PASSWORD)
    password = PASSWORD.replace(" ", "%20")
    yield {
        role: urlunsplit(parts._replace(netloc=f"{name}:{password}@"))
        for role, name in made.items()
    }
    with psycopg.connect(filled, autocommit=True) as owner:
        for name in made.values():
            for statement in ("DROP OWNED BY {}", "DROP ROLE {}"):
                owner.execute(sql.SQL(statement).format(sql.Identifier(name)))


def naming(connection: psycopg.Connection, *organizations: str) -> None:
    """Say it in raw SQL, as whoever holds the connection can."""
    numbers = {NORTH: "1", SOUTH: "2"}  # in the order in which they were made
    known = ",".join([numbers[one] for one in organizations if one in numbers])
    connection.execute(
        "SELECT set_config('app.organization', %s, true),"
        " set_config('app.organization_number', %s, true)",
        [",".join(organizations), known],
    )


def seen(url: str, table: str, *organizations: str) -> set[str] | None:
    """Whose rows a user sees while its transaction names organisations; None where it may not."""
    whose = WHOSE.get(table, "organization")
    with psycopg.connect(url) as connection:
        naming(connection, *organizations)
        try:
            found = connection.execute(f"SELECT DISTINCT ({whose})::text FROM {table}").fetchall()
        except psycopg.errors.InsufficientPrivilege:
            return None
    return {{"1": NORTH, "2": SOUTH}.get(value, value) for (value,) in found}


def readable(role: DatabaseRole) -> list[str]:
    tables = (*MAPPING, *BATCHES, "api_keys", "audit_events", "organization_usage")
    return [
        table
        for table in tables
        if any("SELECT" in grant and table in grant.partition(" ON ")[2] for grant in GRANTS[role])
        and (role is not DatabaseRole.SCALE)
    ]


EVERY_WALL = [(role, table) for role in DatabaseRole for table in readable(role)]


@pytest.mark.parametrize(("role", "table"), EVERY_WALL)
async def test_a_user_sees_the_organisation_that_it_names_and_no_other(
    users: dict[DatabaseRole, str], role: DatabaseRole, table: str
) -> None:
    assert seen(users[role], table, NORTH) == {NORTH}
    assert seen(users[role], table, NORTH, SOUTH) == {NORTH, SOUTH}
    assert seen(users[role], table, "NOBODY") == set()


@pytest.mark.parametrize(("role", "table"), EVERY_WALL)
async def test_a_user_that_names_nobody_sees_nothing_unless_it_crosses_by_nature(
    users: dict[DatabaseRole, str], role: DatabaseRole, table: str
) -> None:
    assert seen(users[role], table) == ({NORTH, SOUTH} if role in CROSSING else set())


async def test_the_walls_are_on_every_table_with_an_organisation(filled: str) -> None:
    with psycopg.connect(filled) as owner:
        walled = {
            name
            for (name,) in owner.execute(
                "SELECT relname FROM pg_class AS c WHERE relrowsecurity"
                " AND EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid)"
            )
        }

    with_one = {
        table.name
        for table in metadata.tables.values()
        if {"organization", "chain", "batch"} & set(table.columns.keys())
    }
    assert with_one - walled == OPEN_TABLES


STEALING = {
    "data_keys": "INSERT INTO data_keys (id, organization, key_version, cloud_patient_id, sealed)"
    " VALUES (5, 2, 1, 'P', '')",
    "subjects": "INSERT INTO subjects (organization, cloud_patient_id, lookup, sealed, data_key)"
    " VALUES (2, 'P', '', '', 1)",
    "studies": "INSERT INTO studies (organization, cloud_study_id, lookup, sealed, data_key)"
    " VALUES (2, 'S', '', '', 1)",
    "instances": "INSERT INTO instances (organization, uid, lookup, sealed, data_key)"
    " VALUES (2, gen_random_uuid(), '', '', 1)",
    "audit_events": "INSERT INTO audit_events (chain, seq, recorded_at, action, outcome, actor,"
    " hash) VALUES ('SOUTH', 99, now(), 'x', 'x', 'x', sha256(''))",
    "organization_usage": "INSERT INTO organization_usage (organization, day, objects)"
    " VALUES (2, '2026-02-01', 1)",
}


@pytest.mark.parametrize("table", STEALING)
async def test_the_anonymising_user_writes_nothing_for_others(
    users: dict[DatabaseRole, str], table: str
) -> None:
    statement = STEALING[table]

    with psycopg.connect(users[DatabaseRole.ANONYMIZE]) as connection:
        naming(connection, NORTH)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            connection.execute(statement)


async def test_an_audit_head_of_others_is_not_moved(users: dict[DatabaseRole, str]) -> None:
    forward = "UPDATE audit_heads SET seq = seq + 1 WHERE chain = 'SOUTH'"

    with psycopg.connect(users[DatabaseRole.ANONYMIZE]) as connection:
        naming(connection, NORTH)
        assert connection.execute(forward).rowcount == 0
        naming(connection, SOUTH)
        assert connection.execute(forward).rowcount == 1
        connection.rollback()


@pytest.mark.parametrize("statement", ["UPDATE batches SET state = 'x'", "DELETE FROM batches"])
async def test_batches_of_others_are_neither_changed_nor_removed(
    users: dict[DatabaseRole, str], statement: str
) -> None:
    with psycopg.connect(users[DatabaseRole.BATCH]) as connection:
        naming(connection, NORTH)
        assert connection.execute(statement).rowcount == 1
        connection.rollback()
        naming(connection, NORTH)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            connection.execute("UPDATE batches SET organization = 2")


async def test_a_key_is_found_by_its_id_before_its_organisation_is_known(
    users: dict[DatabaseRole, str],
) -> None:
    database = Database(users[DatabaseRole.ANONYMIZE])
    with acting_for(api_keys=["key1"]):
        async with database.engine.connect() as connection:
            found = (await connection.exec_driver_sql("SELECT id FROM api_keys")).scalars().all()
    await database.close()

    assert found == ["key1"]


async def test_what_a_task_names_ends_with_its_transaction(
    users: dict[DatabaseRole, str],
) -> None:
    database = Database(users[DatabaseRole.REIDENTIFY], pool_size=1)

    async def studies() -> int:
        async with database.engine.connect() as connection:
            counted = await connection.exec_driver_sql("SELECT count(*) FROM studies")
            return counted.scalar_one()

    with acting_for(NORTH):
        named = await studies()
    unnamed = await studies()
    act_for([NORTH, SOUTH])
    both = await studies()
    async with await database.connect() as raw:
        by_hand = await (await raw.execute("SELECT count(*) FROM studies")).fetchone()
    await database.close()

    assert (named, unnamed, both, by_hand) == (1, 0, 2, (2,))


async def test_reidentification_as_its_own_user_stays_within_the_organisation(
    filled: str, users: dict[DatabaseRole, str], pair: KeyPair
) -> None:
    async with opened(filled, pair, is_new=False) as owner:
        mine = owner.replacements(originals()).cloud_study_id
        theirs = owner.replacements(originals(), SOUTH).cloud_study_id

    async with opened(users[DatabaseRole.REIDENTIFY], pair, is_new=False) as house:
        assert (await house.reidentify(mine)).patient_id == "PAT-4711"
        with pytest.raises(PseudonymNotFound):
            await house.reidentify(theirs)


async def test_one_group_may_hold_rows_of_several_organisations(
    filled: str, users: dict[DatabaseRole, str], pair: KeyPair
) -> None:
    async with opened(users[DatabaseRole.ANONYMIZE], pair, is_new=False) as house:
        await asyncio.gather(
            *[
                house.record(originals(number), organization=organization)
                for number in range(10, 20)
                for organization in (NORTH, SOUTH)
            ]
        )

    with psycopg.connect(filled) as owner:
        [(count,)] = owner.execute("SELECT count(*) FROM instances").fetchall()
    assert count == 22


async def test_the_owner_of_the_tables_is_not_confined(filled: str) -> None:
    database = Database(filled)

    found = await Organizations(database).list()

    await database.close()
    assert acting() is None
    assert {NORTH, SOUTH} <= {organization.id for organization in found}
