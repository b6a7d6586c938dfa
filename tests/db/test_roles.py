from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from app.audit.events import AuditEvent
from app.audit.verifying import verify
from app.db.migrate import upgrade
from app.db.roles import DatabaseRole, ensure_user
from app.db.session import Database
from app.errors import DatabaseUnavailable, InvalidRequest
from tests.mapping_house import NORTH, KeyPair, make_keys, opened, originals
from tests.vault.test_approvals import EMERGENCY, Desk, Office, require_approval

pytestmark = pytest.mark.db
MAPPING = ("data_keys", "subjects", "studies", "study_identities", "series", "instances")
PASSWORD = "a long pass phrase"


@pytest.fixture
def pair(tmp_path: Path) -> KeyPair:
    return make_keys(tmp_path / "keys")


@pytest.fixture
def names(database_url: str) -> Iterator[dict[DatabaseRole, str]]:
    """One user per role of its own: users belong to the server, not to the database."""
    made = {role: f"test_{role}_{uuid4().hex[:8]}" for role in DatabaseRole}
    for role, name in made.items():
        ensure_user(database_url, role, name=name, password=PASSWORD)
    yield made
    with psycopg.connect(database_url, autocommit=True) as owner:
        for name in made.values():
            for statement in ("DROP OWNED BY {}", "DROP ROLE {}"):
                owner.execute(sql.SQL(statement).format(sql.Identifier(name)))


def url_of(database_url: str, name: str) -> str:
    parts = urlsplit(database_url)
    return urlunsplit(parts._replace(netloc=f"{name}:{PASSWORD.replace(' ', '%20')}@"))


def is_allowed(url: str, statement: str) -> bool:
    with psycopg.connect(url) as connection:
        try:
            connection.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            return False
        finally:
            connection.rollback()
    return True


async def test_the_anonymising_user_can_record(
    database_url: str, names: dict[DatabaseRole, str], pair: KeyPair
) -> None:
    async with opened(database_url, pair) as owner:
        key, token = await owner.api_keys.create(
            name="viewer", organization=NORTH, scopes=["anonymize"]
        )
    url = url_of(database_url, names[DatabaseRole.ANONYMIZE])

    async with opened(url, pair, can_open=False, is_new=False) as house:
        await house.api_keys.authenticate(token)
        await house.record(originals(1), api_key_id=key.id)
        await house.vault.audit(AuditEvent(action="anonymize", outcome="not-dicom"))
    async with opened(url, pair, can_open=False, is_new=False) as house:
        await house.record(originals(1))
        await house.record(originals(2))
        await upgrade(url)

    database = Database(database_url)
    assert (await verify(database, NORTH)).events == 4
    await database.close()


@pytest.mark.parametrize("column", ["sealed", "*"])
@pytest.mark.parametrize("table", MAPPING)
async def test_the_anonymising_user_reads_nothing_sealed(
    database_url: str, names: dict[DatabaseRole, str], table: str, column: str
) -> None:
    url = url_of(database_url, names[DatabaseRole.ANONYMIZE])

    assert not is_allowed(url, f"SELECT {column} FROM {table}")


async def test_the_anonymising_user_reads_no_audit_and_no_timeline(
    database_url: str, names: dict[DatabaseRole, str]
) -> None:
    url = url_of(database_url, names[DatabaseRole.ANONYMIZE])

    assert not is_allowed(url, "SELECT actor FROM audit_events")
    assert not is_allowed(url, "SELECT first_seen_at FROM studies")


async def test_the_reidentifying_user_finds_the_way_back(
    database_url: str, names: dict[DatabaseRole, str], pair: KeyPair
) -> None:
    async with opened(database_url, pair) as owner:
        made = await owner.record(originals())
    url = url_of(database_url, names[DatabaseRole.REIDENTIFY])

    async with opened(url, pair, is_new=False) as house:
        assert (await house.reidentify(made.cloud_study_id)).patient_id == "PAT-4711"


async def test_the_reidentifying_user_asks_approves_and_tells_but_sets_no_safeguard(
    database_url: str, names: dict[DatabaseRole, str], pair: KeyPair
) -> None:
    desk = Desk([(False, 0.0), (True, None)], [])
    async with opened(database_url, pair) as owner:
        study = (await owner.record(originals())).cloud_study_id
        await require_approval(owner)
    url = url_of(database_url, names[DatabaseRole.REIDENTIFY])

    async with opened(url, pair, is_new=False, receiver=desk) as house:
        office = Office(house, study)
        [answer] = await office.fetch(await office.approved())
        await house.reidentify(study, purpose=EMERGENCY)
        taken = await house.disclosure.notices.deliver()
        with pytest.raises(DatabaseUnavailable, match="42501"):
            await require_approval(house, needs_approval=False)

    assert (answer.found.patient_id, taken) == ("PAT-4711", 1)


async def test_the_reidentifying_user_cannot_record(
    database_url: str, names: dict[DatabaseRole, str], pair: KeyPair
) -> None:
    async with opened(database_url, pair):
        pass
    url = url_of(database_url, names[DatabaseRole.REIDENTIFY])

    async with opened(url, pair, is_new=False) as house:
        with pytest.raises(DatabaseUnavailable, match="42501"):
            await house.record(originals())


async def test_the_auditing_user_verifies_and_reads_no_mapping(
    database_url: str, names: dict[DatabaseRole, str], pair: KeyPair
) -> None:
    async with opened(database_url, pair) as owner:
        await owner.record(originals())
    url = url_of(database_url, names[DatabaseRole.AUDIT])

    database = Database(url)
    assert (await verify(database, NORTH)).events == 1
    await database.close()
    assert not [table for table in MAPPING if is_allowed(url, f"SELECT FROM {table}")]


@pytest.mark.parametrize("role", [role for role in DatabaseRole if role is not DatabaseRole.ADMIN])
@pytest.mark.parametrize(
    "statement",
    [
        *[f"DELETE FROM {table}" for table in MAPPING],
        *[f"UPDATE {table} SET sealed = ''" for table in MAPPING],
    ],
)
def test_no_user_but_the_one_that_erases_can_change_the_mapping(
    shared_users: dict[DatabaseRole, str], role: DatabaseRole, statement: str
) -> None:
    assert not is_allowed(shared_users[role], statement)


@pytest.mark.parametrize("role", list(DatabaseRole))
@pytest.mark.parametrize(
    "statement",
    [
        *[f"DELETE FROM {table}" for table in ("audit_events", "audit_heads")],
        *[f"TRUNCATE {table}" for table in (*MAPPING, "audit_events", "audit_heads")],
        "UPDATE audit_events SET outcome = ''",
        "UPDATE api_keys SET revoked_at = NULL",
        "INSERT INTO api_keys SELECT * FROM api_keys",
        "INSERT INTO organizations (id, name) VALUES ('EVIL', '')",
        "ALTER TABLE audit_events DISABLE TRIGGER ALL",
        "CREATE TABLE mine (x int)",
        "SET session_replication_role = replica",
    ],
)
def test_no_user_can_change_what_is_recorded(
    shared_users: dict[DatabaseRole, str], role: DatabaseRole, statement: str
) -> None:
    assert not is_allowed(shared_users[role], statement)


@pytest.fixture(scope="module")
def shared_users(module_database_url: str) -> Iterator[dict[DatabaseRole, str]]:
    made = {role: f"shared_{role}_{uuid4().hex[:8]}" for role in DatabaseRole}
    for role, name in made.items():
        ensure_user(module_database_url, role, name=name, password=PASSWORD)
    yield {role: url_of(module_database_url, name) for role, name in made.items()}
    with psycopg.connect(module_database_url, autocommit=True) as owner:
        for name in made.values():
            for statement in ("DROP OWNED BY {}", "DROP ROLE {}"):
                owner.execute(sql.SQL(statement).format(sql.Identifier(name)))


def test_a_user_that_changes_its_role_loses_the_former_rights(
    database_url: str, names: dict[DatabaseRole, str]
) -> None:
    name = names[DatabaseRole.REIDENTIFY]

    is_new = ensure_user(database_url, DatabaseRole.ANONYMIZE, name=name, password=None)

    assert is_new is False
    assert not is_allowed(url_of(database_url, name), "SELECT sealed FROM study_identities")


def test_the_server_keeps_a_verifier_and_not_the_password(
    database_url: str, names: dict[DatabaseRole, str]
) -> None:
    with psycopg.connect(database_url) as owner:
        (kept,) = owner.execute(
            "SELECT rolpassword FROM pg_authid WHERE rolname = %s", [names[DatabaseRole.AUDIT]]
        ).fetchone()

    assert kept.startswith("SCRAM-SHA-256$")
    assert PASSWORD not in kept


@pytest.mark.parametrize(
    ("name", "password"), [("Bad Name", PASSWORD), ('x"; DROP', PASSWORD), ("fine", "short")]
)
def test_unfit_names_and_passwords_are_refused(database_url: str, name: str, password: str) -> None:
    with pytest.raises(InvalidRequest):
        ensure_user(database_url, DatabaseRole.AUDIT, name=name, password=password)


@pytest.mark.parametrize("role", [DatabaseRole.ANONYMIZE, DatabaseRole.WORKER])
@pytest.mark.parametrize("table", ["destroyed_data_keys", "tombstones", "organizations"])
def test_the_trigger_that_runs_as_the_owner_reads_no_table_of_whoever_fires_it(
    database_url: str, names: dict[DatabaseRole, str], role: DatabaseRole, table: str
) -> None:
    with psycopg.connect(database_url) as owner:
        owner.execute("INSERT INTO organizations (id, name) VALUES ('NORTH', '')")  # number 1
    insert = (
        "INSERT INTO data_keys (id, organization, cloud_patient_id, key_version, sealed)"
        " VALUES (1, 1, 'P1', 1, '')"
    )
    rise = (
        "CREATE FUNCTION pg_temp.rise() RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'I am %', current_user; END $$"
    )
    columns = (
        "0::bigint AS id, 1 AS number, 1 AS organization, 'P1' AS cloud_patient_id,"
        " now() AS erased_at, 'refuse' AS after_erasure"
    )
    with psycopg.connect(url_of(database_url, names[role])) as connection:
        connection.execute("SELECT set_config('app.organization_number', '1', true)")
        connection.execute(rise)
        connection.execute(f"CREATE TEMP VIEW {table} AS SELECT {columns} WHERE pg_temp.rise()")
        connection.execute(insert)
        connection.rollback()


@pytest.mark.parametrize("role", list(DatabaseRole))
def test_nobody_lets_the_trigger_that_runs_as_the_owner_destroy_a_data_key(
    shared_users: dict[DatabaseRole, str], role: DatabaseRole
) -> None:
    with psycopg.connect(shared_users[role]) as connection:
        connection.execute(
            "CREATE TEMP TABLE mine (id bigint, organization int, cloud_patient_id text)"
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(
                "CREATE TRIGGER evil AFTER INSERT ON mine"
                " FOR EACH ROW EXECUTE FUNCTION drop_erased_data_key()"
            )
        connection.rollback()


def test_a_table_of_ones_own_lets_nobody_cross_organisations(
    shared_users: dict[DatabaseRole, str],
) -> None:
    with psycopg.connect(shared_users[DatabaseRole.ANONYMIZE]) as connection:
        seen = connection.execute(
            "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE"
            " pg_get_expr(polqual, polrelid) LIKE '%every_organization%'"
        ).fetchall()
        connection.rollback()

    assert seen
    assert [text for (text,) in seen if "'public.every_organization'" not in text] == []


@pytest.mark.parametrize("role", [DatabaseRole.WORKER])
def test_workers_end_their_tickets_and_drop_those_of_the_dead(
    database_url: str, names: dict[DatabaseRole, str], role: DatabaseRole
) -> None:
    with psycopg.connect(url_of(database_url, names[role])) as connection:
        for _ in range(2):
            connection.execute(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, status)"
                " VALUES ('work', 'batches.process', 'doing')"
            )
        (ended,) = connection.execute("SELECT min(id) FROM procrastinate_jobs").fetchone()
        connection.execute(
            "SELECT procrastinate_finish_job_v1(%s, 'succeeded', true)",
            [ended],
        )
        dropped = connection.execute("DELETE FROM procrastinate_jobs WHERE worker_id IS NULL")
        assert dropped.rowcount == 1
        connection.rollback()
