"""Nobody can change what is recorded: every role of the database, and the owner."""

from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from app.db.roles import DatabaseRole, ensure_user

pytestmark = pytest.mark.db
PASSWORD = "a long pass phrase"
OWNER = "owner"
RECORDED = ("audit_events", "audit_heads", "audit_checkpoints")
APPENDING = frozenset(DatabaseRole) - {DatabaseRole.AUDIT, DatabaseRole.SCALE}
CHANGES = (
    *[f"DELETE FROM {table}" for table in RECORDED],
    *[f"TRUNCATE {table}" for table in RECORDED],
    *[f"DROP TABLE {table}" for table in RECORDED],
    *[f"ALTER TABLE {table} DISABLE TRIGGER ALL" for table in RECORDED],
    *[f"UPDATE {table} SET hash = hash" for table in RECORDED],
    "UPDATE audit_events SET outcome = 'x' WHERE false",
    "UPDATE audit_heads SET seq = seq - 1",
    "UPDATE audit_heads SET seq = seq + 1, chain = 'OTHER'",
    "UPDATE audit_checkpoints SET seq = seq WHERE false",
    "INSERT INTO audit_events SELECT * FROM audit_events ON CONFLICT (chain, seq)"
    " DO UPDATE SET outcome = 'x'",
    "MERGE INTO audit_events AS old USING (VALUES (1)) AS new ON true WHEN MATCHED THEN DELETE",
    "DROP FUNCTION refuse_audit_change CASCADE",
    "CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql"
    " AS 'BEGIN RETURN NULL; END'",
    "SET session_replication_role = replica",
)
# The owner makes tables, so that he may take them away; that shows in checkpoints kept elsewhere.
BY_OWNER = [line for line in CHANGES if line.split()[0] in {"DELETE", "TRUNCATE", "UPDATE"}]
ROW = (
    "INSERT INTO audit_events (chain, seq, recorded_at, action, outcome, actor, hash)"
    " VALUES ('NORTH', 1, now(), 'a', 'success', '', decode(repeat('00', 32), 'hex'))"
)
HEAD = "INSERT INTO audit_heads VALUES (1, 'NORTH', decode(repeat('00', 32), 'hex'))"
SEALED = (
    "INSERT INTO audit_checkpoints VALUES (1, now(), 'NORTH', decode(repeat('00', 32), 'hex'),"
    " 'key', decode(repeat('00', 64), 'hex'))"
)


@pytest.fixture(scope="module")
def urls(module_database_url: str) -> Iterator[dict[str, str]]:
    """One user per role on a database with one row of everything."""
    made = {role: f"append_{role}_{uuid4().hex[:8]}" for role in DatabaseRole}
    parts = urlsplit(module_database_url)
    for role, name in made.items():
        ensure_user(module_database_url, role, name=name, password=PASSWORD)
    with psycopg.connect(module_database_url) as owner:
        for statement in (ROW, HEAD, SEALED):
            owner.execute(statement)
    netloc = f"{{}}:{PASSWORD.replace(' ', '%20')}@"
    yield {OWNER: module_database_url} | {
        role: urlunsplit(parts._replace(netloc=netloc.format(name))) for role, name in made.items()
    }
    with psycopg.connect(module_database_url, autocommit=True) as owner:
        for name in made.values():
            for statement in ("DROP OWNED BY {}", "DROP ROLE {}"):
                owner.execute(sql.SQL(statement).format(sql.Identifier(name)))


def allowed(url: str, statements: list[str] | tuple[str, ...]) -> list[str]:
    """Which of the statements are not refused to who acts for NORTH; nothing of them stays."""
    done = []
    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute("SELECT set_config('app.organization', 'NORTH', true)")
            try:
                connection.execute(statement)
            except psycopg.errors.InsufficientPrivilege:
                pass
            else:
                done.append(statement)
            connection.rollback()
    return done


@pytest.mark.parametrize("role", DatabaseRole)
def test_no_role_can_change_what_is_recorded(urls: dict[str, str], role: DatabaseRole) -> None:
    assert allowed(urls[role], CHANGES) == []


def test_the_owner_is_refused_by_the_triggers(urls: dict[str, str]) -> None:
    assert allowed(urls[OWNER], BY_OWNER) == []


@pytest.mark.parametrize("role", DatabaseRole)
def test_roles_that_record_may_append_and_no_others(
    urls: dict[str, str], role: DatabaseRole
) -> None:
    gateway = ROW.replace("'NORTH', 1", "'', 1"), HEAD.replace("NORTH", "")

    assert bool(allowed(urls[role], gateway)) is (role in APPENDING)


@pytest.mark.parametrize("role", sorted(set(DatabaseRole) - {DatabaseRole.AUDITOR}))
def test_nobody_but_the_auditor_moves_what_was_forwarded(
    urls: dict[str, str], role: DatabaseRole
) -> None:
    statements = (
        "INSERT INTO audit_forwards (receiver, chain, seq) VALUES ('x', 'NORTH', 9)",
        "UPDATE audit_forwards SET seq = 9",
        "DELETE FROM audit_forwards",
    )

    assert allowed(urls[role], statements) == []


@pytest.mark.parametrize(
    "role", sorted(set(DatabaseRole) - {DatabaseRole.AUDIT, DatabaseRole.AUDITOR})
)
def test_nobody_but_the_auditing_roles_reads_events(
    urls: dict[str, str], role: DatabaseRole
) -> None:
    assert allowed(urls[role], ["SELECT actor FROM audit_events"]) == []
