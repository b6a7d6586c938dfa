"""Database users with the least privileges for each role of a process.

Tables belong to whoever migrates. A process that only anonymises gets a user that can add rows
and compare look-up hashes, but read no sealed original, no sealed data key, no audit row and no
batch; of the quarantine it reads what was decided. A worker reads and writes batches as well, and
no more of the mapping than that.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

import psycopg
from psycopg import sql

from app.db.session import connect_arguments, database_errors, parse_url
from app.errors import InvalidRequest

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_MIN_PASSWORD_CHARACTERS: Final = 12


class DatabaseRole(StrEnum):
    """What a database user is for."""

    ANONYMIZE = "anonymize"
    BATCH = "batch"  # takes batches in and shows them; writes no mapping
    WORKER = "worker"  # works on batches; also one process that serves both of the above
    REIDENTIFY = "reidentify"
    REVIEW = "review"  # looks at what is held, and decides; reads nothing of the mapping
    AUDIT = "audit"  # verifies the audit; writes nothing at all
    AUDITOR = "auditor"  # shows the audit to people, which is recorded, and forwards it
    SCALE = "scale"  # counts what waits, for an autoscaler
    ADMIN = "admin"  # destroys originals and seals keys anew; reads no original


_EVERYBODY: Final = (
    "SELECT ON alembic_version",
    "SELECT ON organizations",
    "SELECT ON api_keys",
)
_APPEND_AUDIT: Final = (
    "INSERT ON audit_events",
    "SELECT, INSERT, UPDATE ON audit_heads",
    "SELECT, INSERT ON audit_checkpoints",
)
_APPEND_MAPPING: Final = (
    "INSERT ON data_keys",
    "INSERT ON study_identities",
    "INSERT, SELECT (organization, cloud_patient_id, lookup) ON subjects",
    "INSERT, SELECT (organization, cloud_study_id, lookup) ON studies",
    "INSERT, SELECT (organization, uid, lookup) ON series",
    "INSERT, SELECT (organization, uid, lookup) ON instances",
    "SELECT ON tombstones",
)
_HOLD: Final = (
    "INSERT, SELECT (id, organization, digest, profile, state, ruling) ON quarantine",
    "SELECT (id, organization, state, sealed) ON mask_rules",
)
_COUNT_OBJECTS: Final = "SELECT, INSERT, UPDATE ON organization_usage"
# Everybody else sees the rows of the organisations that a transaction names: app/db/acting.py.
_CROSS: Final = "SELECT ON every_organization"
# The queue's functions run with the rights of whoever calls them.
_ADD_TICKETS: Final = (
    "SELECT, INSERT ON procrastinate_jobs",
    "INSERT ON procrastinate_events",
    "USAGE ON SEQUENCE procrastinate_jobs_id_seq, procrastinate_events_id_seq",
)

GRANTS: Final[Mapping[DatabaseRole, Sequence[str]]] = {
    DatabaseRole.ANONYMIZE: (
        *_EVERYBODY,
        *_APPEND_AUDIT,
        *_APPEND_MAPPING,
        *_HOLD,
        _COUNT_OBJECTS,
    ),
    DatabaseRole.BATCH: (
        *_EVERYBODY,
        *_APPEND_AUDIT,
        *_ADD_TICKETS,
        "SELECT, INSERT, UPDATE, DELETE ON batches, batch_chunks",
        "SELECT, DELETE ON batch_items",
        "SELECT, UPDATE ON batch_problems",
        "SELECT ON batch_workers",
        "INSERT, SELECT (staging) ON batch_leftovers",
    ),
    DatabaseRole.WORKER: (
        *_EVERYBODY,
        *_APPEND_AUDIT,
        *_APPEND_MAPPING,
        *_HOLD,
        _COUNT_OBJECTS,
        _CROSS,
        *_ADD_TICKETS,
        "UPDATE, DELETE ON procrastinate_jobs",
        "SELECT (job_id), UPDATE ON procrastinate_periodic_defers",
        "SELECT, INSERT, UPDATE, DELETE ON procrastinate_workers",
        "SELECT, INSERT, UPDATE, DELETE ON batches, batch_chunks, batch_items, batch_problems",
        "SELECT, INSERT, UPDATE, DELETE ON batch_workers, batch_leftovers",
        "SELECT, INSERT, UPDATE ON batch_turns",
    ),
    DatabaseRole.REIDENTIFY: (
        *_EVERYBODY,
        *_APPEND_AUDIT,
        "SELECT ON data_keys",
        "SELECT ON subjects",
        "SELECT ON studies",
        "SELECT ON study_identities",
        "SELECT ON series",
        "SELECT ON instances",
        "SELECT ON batches, batch_items, batch_problems, batch_workers",
        "SELECT (organization, batch, state) ON batch_chunks",
        "SELECT ON reidentify_safeguards",
        "SELECT, INSERT, UPDATE ON reidentify_quotas",
        "SELECT, INSERT, UPDATE, DELETE ON reidentify_requests, reidentify_notices",
    ),
    DatabaseRole.REVIEW: (
        *_EVERYBODY,
        *_APPEND_AUDIT,
        "SELECT, UPDATE (state, sealed, ruling, decided_at, decider, decided_by) ON quarantine",
        "SELECT, INSERT, UPDATE (state, decided_at, decider, decided_by, revoked_at, revoked_by)"
        " ON mask_rules",
    ),
    DatabaseRole.AUDIT: (
        "SELECT ON alembic_version",
        "SELECT ON audit_events, audit_heads, audit_checkpoints",
        _CROSS,
    ),
    DatabaseRole.AUDITOR: (
        *_EVERYBODY,
        *_APPEND_AUDIT,
        "SELECT ON audit_events",
        "SELECT, INSERT, UPDATE ON audit_forwards",
        _CROSS,
    ),
    DatabaseRole.ADMIN: (
        *_EVERYBODY,
        *_APPEND_AUDIT,
        _CROSS,
        "UPDATE (retention_days, after_erasure) ON organizations",
        "SELECT, INSERT, UPDATE ON tombstones",
        "SELECT, INSERT, DELETE ON destroyed_data_keys",
        "SELECT, UPDATE, DELETE ON data_keys",
        "SELECT (organization, cloud_patient_id, data_key), DELETE ON subjects",
        "SELECT (organization, cloud_study_id, data_key), DELETE ON studies",
        "UPDATE (sealed, data_key) ON subjects, studies",
        "SELECT (organization, cloud_study_id, cloud_patient_id, data_key), DELETE"
        " ON study_identities",
        "SELECT (organization, uid, cloud_study_id, data_key), DELETE ON series",
        "SELECT (organization, uid, data_key, first_seen_at), DELETE ON instances",
        "SELECT (batch, seq, data_key), UPDATE (sealed_name, data_key) ON batch_items",
        "SELECT, UPDATE (sealed_request, sealed_cursor) ON batches",
        "SELECT, UPDATE (sealed_files) ON batch_chunks",
        "SELECT, UPDATE (sealed_request) ON batch_leftovers",
        "SELECT (organization, cloud_patient_id, key_version, state), DELETE ON quarantine",
    ),
    DatabaseRole.SCALE: (
        "SELECT (state, on_error, open_chunks, unpublished_chunks) ON batches",
        _CROSS,
    ),
}
"""What each user may do; whatever is not here is refused by Postgres."""


def ensure_user(url: str, role: DatabaseRole, *, name: str, password: str | None) -> bool:
    """Make a database user for a role, or give an existing one exactly these privileges.

    Args:
        url: the database, as the owner of its tables with the right to create users.
        role: what the user is for.
        name: lower case letters, digits and ``_``.
        password: it leaves this process only as a SCRAM verifier; None leaves it as it is.

    Returns:
        Whether the user is new.

    Raises:
        InvalidRequest: name or password are not fit.
        DatabaseUnavailable: Postgres does not answer or refuses.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequest("A database user's name is lower case letters, digits and _")
    if password is not None and len(password) < _MIN_PASSWORD_CHARACTERS:
        raise InvalidRequest(f"A password has at least {_MIN_PASSWORD_CHARACTERS} characters")
    with (
        database_errors(),
        psycopg.connect(**connect_arguments(parse_url(url))) as connection,
    ):
        is_new = _create(connection, name)
        if password is not None:
            _set_password(connection, name, password)
        for statement in _statements(role, name):
            connection.execute(statement)
    return is_new


def _create(connection: psycopg.Connection[tuple[object, ...]], name: str) -> bool:
    known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchone()
    if known is not None:
        return False
    create = "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS"
    connection.execute(sql.SQL(create).format(sql.Identifier(name)))
    return True


def _set_password(
    connection: psycopg.Connection[tuple[object, ...]], name: str, password: str
) -> None:
    verifier = connection.pgconn.encrypt_password(
        password.encode(), name.encode(), b"scram-sha-256"
    ).decode()
    alter = sql.SQL("ALTER ROLE {} PASSWORD {}")
    connection.execute(alter.format(sql.Identifier(name), sql.Literal(verifier)))


def _statements(role: DatabaseRole, name: str) -> list[sql.Composed]:
    user = sql.Identifier(name)
    revoke = [
        sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}").format(user),
        sql.SQL("REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {}").format(user),
        sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(user),
    ]
    grants = [sql.SQL("GRANT {} TO {}").format(_constant(grant), user) for grant in GRANTS[role]]
    return revoke + grants


def _constant(grant: str) -> sql.SQL:
    """Take a text of `GRANTS`, which nothing from outside enters, as SQL."""
    return sql.SQL(grant)
