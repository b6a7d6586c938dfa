"""The second wall: raw SQL as each database user, and both sides as users of their own."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from app.db.roles import GRANTS, DatabaseRole, ensure_user
from app.pixels.rulings import Act
from app.quarantine.records import Wanted
from app.quarantine.remembering import RuleState
from app.vault.keys_store import KeyFiles
from tests.quarantine.ward import NORTH, SOUTH, Ward, marks, opened, who

pytestmark = pytest.mark.db
PASSWORD = "a long pass phrase"
TABLES = ("quarantine", "mask_rules")
READING = [
    (role, table)
    for role in DatabaseRole
    for table in TABLES
    if any("SELECT" in grant and grant.endswith(f" ON {table}") for grant in GRANTS[role])
]
CROSSING = {DatabaseRole.WORKER, DatabaseRole.ADMIN}


@pytest.fixture
def users(ward: Ward) -> Iterator[dict[DatabaseRole, str]]:
    made = {role: f"held_{role}_{uuid4().hex[:8]}" for role in DatabaseRole}
    parts = urlsplit(ward.url)
    for role, name in made.items():
        ensure_user(ward.url, role, name=name, password=PASSWORD)
    password = PASSWORD.replace(" ", "%20")
    yield {
        role: urlunsplit(parts._replace(netloc=f"{name}:{password}@"))
        for role, name in made.items()
    }
    with psycopg.connect(ward.url, autocommit=True) as owner:
        for name in made.values():
            for statement in ("DROP OWNED BY {}", "DROP ROLE {}"):
                owner.execute(sql.SQL(statement).format(sql.Identifier(name)))


async def fill(ward: Ward) -> None:
    """Give both organisations one held object and one rule."""
    for organization in (NORTH, SOUTH):
        await ward.hold(b"held", organization)
        remembered = await ward.hold(b"other", organization)
        await ward.review.remember(who(organization=organization), remembered, marks())


def seen(url: str, table: str, *organizations: str) -> set[int]:
    with psycopg.connect(url) as connection:
        name(connection, *organizations)
        return {row[0] for row in connection.execute(f"SELECT organization FROM {table}")}


def name(connection: psycopg.Connection, *organizations: str) -> None:
    numbers = {NORTH: "1", SOUTH: "2"}
    connection.execute(
        "SELECT set_config('app.organization', %s, true),"
        " set_config('app.organization_number', %s, true)",
        [",".join(organizations), ",".join(numbers[one] for one in organizations)],
    )


async def test_each_user_sees_the_organisation_that_it_names_and_no_other(
    ward: Ward, users: dict[DatabaseRole, str]
) -> None:
    await fill(ward)

    for role, table in READING:
        assert seen(users[role], table, NORTH) == {1}, role
        assert seen(users[role], table, NORTH, SOUTH) == {1, 2}, role
        assert seen(users[role], table) == ({1, 2} if role in CROSSING else set()), role


async def test_all_others_see_neither_table(users: dict[DatabaseRole, str]) -> None:
    for role in DatabaseRole:
        for table in TABLES:
            if (role, table) not in READING:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    seen(users[role], table, NORTH)


BEYOND = [
    (DatabaseRole.ANONYMIZE, "SELECT sealed FROM quarantine"),
    (DatabaseRole.ANONYMIZE, "SELECT sent_by FROM quarantine"),
    (DatabaseRole.ANONYMIZE, "UPDATE quarantine SET state = 'released'"),
    (DatabaseRole.ANONYMIZE, "DELETE FROM quarantine"),
    (DatabaseRole.ANONYMIZE, "UPDATE mask_rules SET state = 'approved'"),
    (DatabaseRole.WORKER, "SELECT sealed FROM quarantine"),
    (DatabaseRole.WORKER, "INSERT INTO mask_rules (id) VALUES (gen_random_uuid())"),
    (DatabaseRole.REVIEW, "INSERT INTO quarantine (id) VALUES (gen_random_uuid())"),
    (DatabaseRole.REVIEW, "DELETE FROM quarantine"),
    (DatabaseRole.REVIEW, "UPDATE quarantine SET digest = ''"),
    (DatabaseRole.REVIEW, "UPDATE quarantine SET sender = 'somebody'"),
    (DatabaseRole.REVIEW, "UPDATE mask_rules SET sealed = ''"),
    (DatabaseRole.REVIEW, "SELECT sealed FROM studies"),
    (DatabaseRole.REVIEW, "SELECT sealed FROM data_keys"),
    (DatabaseRole.ADMIN, "SELECT sealed FROM quarantine"),
    (DatabaseRole.REIDENTIFY, "SELECT id FROM quarantine"),
]


async def test_a_user_does_no_more_than_its_role(users: dict[DatabaseRole, str]) -> None:
    for role, statement in BEYOND:
        with psycopg.connect(users[role]) as connection:
            name(connection, NORTH)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


async def test_nothing_is_written_or_decided_for_others(
    ward: Ward, users: dict[DatabaseRole, str]
) -> None:
    await fill(ward)
    steal = (
        "INSERT INTO quarantine (id, organization, key_version, size, source_kind, profile,"
        " profile_version, digest, sealed, shape, decision, sender, sent_by)"
        " VALUES (gen_random_uuid(), 2, 1, 1, 'stream', 'x', '1', 'x', '', '{}', '{}', 'x', 'x')"
    )

    with psycopg.connect(users[DatabaseRole.ANONYMIZE]) as connection:
        name(connection, NORTH)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            connection.execute(steal)
    with psycopg.connect(users[DatabaseRole.REVIEW]) as connection:
        name(connection, NORTH)
        changed = connection.execute(
            "UPDATE quarantine SET state = 'rejected', sealed = NULL, decided_at = now(),"
            " decider = 'x', decided_by = 'x' WHERE state = 'held'"
        )
        assert changed.rowcount == 1


async def test_both_sides_work_as_users_of_their_own(
    ward: Ward, users: dict[DatabaseRole, str], keys: KeyFiles, tmp_path: Path
) -> None:
    directory = tmp_path / "held"
    async with (
        opened(users[DatabaseRole.ANONYMIZE], keys, directory, is_new=False) as sender,
        opened(users[DatabaseRole.REVIEW], keys, directory, is_new=False) as reviewer,
        opened(users[DatabaseRole.WORKER], keys, directory, is_new=False) as worker,
    ):
        object_id = await sender.hold(b"DICM")
        assert await worker.hold(b"DICM") == object_id
        assert [one.object_id for one in await reviewer.review.listed(NORTH, Wanted())] == [
            object_id
        ]
        _, rule = await reviewer.review.remember(who(), object_id, marks())
        await reviewer.review.decide_rule(who("second"), rule.rule_id, RuleState.APPROVED)
        for side in (sender, worker):
            ruling = await side.ruling(b"DICM")
            assert ruling is not None
            assert ruling.action is Act.MASK
            assert len(await side.quarantine.remembered(NORTH)) == 1
            assert await side.quarantine.states(NORTH, [object_id])
        await sender.hold(b"old")
        ward.query(
            "UPDATE quarantine SET held_at = now() - interval '40 days'"
            " WHERE state = 'held' RETURNING id"
        )
        assert len(await reviewer.expiry.apply()) == 1
        assert ward.audit()[-1][0] == "quarantine-expire"
