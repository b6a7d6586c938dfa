import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from app.db.migrate import configuration, downgrade, head_revision, upgrade
from app.db.models import metadata
from app.db.revision import NEEDED, current_revision
from app.db.session import Database
from app.errors import DatabaseUnavailable, Misconfigured

pytestmark = pytest.mark.db
ROOT = Path(__file__).parents[2]


def objects(url: str) -> set[str]:
    """Tables, indexes, functions and triggers that are not Postgres' own."""
    with psycopg.connect(url) as connection:
        return {
            f"{kind} {name}"
            for kind, name in connection.execute(
                "SELECT relkind::text, relname::text FROM pg_class"
                " WHERE relnamespace = 'public'::regnamespace"
                " UNION ALL SELECT 'function', proname FROM pg_proc"
                " WHERE pronamespace = 'public'::regnamespace"
                " UNION ALL SELECT 'trigger', tgname FROM pg_trigger WHERE NOT tgisinternal"
            )
        }


def is_of_the_models(name: str | None, _kind: str, _parents: object) -> bool:
    """Tables of the queue belong to its library."""
    return not (name or "").startswith("procrastinate_")


async def test_an_empty_database_comes_to_the_newest_revision(empty_database_url: str) -> None:
    assert await current_revision(empty_database_url) is None

    await upgrade(empty_database_url)

    assert await current_revision(empty_database_url) == head_revision()


async def test_migrating_again_changes_nothing(database_url: str) -> None:
    before = objects(database_url)

    await upgrade(database_url)

    assert objects(database_url) == before


async def test_every_step_down_and_up_again_ends_where_it_began(database_url: str) -> None:
    before = objects(database_url)

    await downgrade(database_url, "base")
    left = objects(database_url)
    await upgrade(database_url)

    assert left == {"r alembic_version", "i alembic_version_pkc"}
    assert objects(database_url) == before


async def test_the_migrations_make_the_tables_of_the_models(database_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        options = {"compare_server_default": True, "include_name": is_of_the_models}
        context = MigrationContext.configure(connection, opts=options)
        return compare_metadata(context, metadata)

    database = Database(database_url)
    async with database.engine.connect() as connection:
        found = await connection.run_sync(differences)
    await database.close()

    assert found == []


def test_there_is_one_line_of_revisions() -> None:
    script = ScriptDirectory.from_config(configuration())

    assert len(script.get_heads()) == 1
    assert script.get_bases() == ["0001"]


def test_every_migration_says_what_it_locks() -> None:
    texts = {path.name: path.read_text() for path in (ROOT / "alembic/versions").glob("*.py")}

    assert texts
    assert not [name for name, text in texts.items() if "\nLocks:" not in text]


def test_the_directory_of_migrations_does_not_shadow_the_library() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()


async def test_two_that_migrate_at_once_both_succeed(empty_database_url: str) -> None:
    await asyncio.gather(*[upgrade(empty_database_url) for _ in range(3)])

    assert await current_revision(empty_database_url) == head_revision()


def test_two_processes_of_an_installed_package_migrate_at_once(
    empty_database_url: str, tmp_path: Path
) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=ignored)
    shutil.copytree(ROOT / "alembic", tmp_path / "app" / "db" / "alembic", ignore=ignored)
    code = (
        "import asyncio, sys; from app.db import migrate\n"
        "asyncio.run(migrate.upgrade(sys.argv[1]))\n"
        "print(migrate._scripts())\n"
    )
    command = [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, '.')\n{code}"]
    processes = [
        subprocess.Popen(
            [*command, empty_database_url], cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]

    printed = [process.communicate(timeout=60)[0].strip() for process in processes]

    assert [process.returncode for process in processes] == [0, 0]
    assert [Path(line).parts[-3:] for line in printed] == [("app", "db", "alembic")] * 2
    assert asyncio.run(current_revision(empty_database_url)) == head_revision()


async def test_a_database_of_a_newer_release_is_left_alone(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(Misconfigured, match="newer release"):
        await upgrade(database_url)

    assert await current_revision(database_url) == "9999"


async def test_a_server_that_is_not_there_is_named_without_its_address(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        await upgrade(f"postgresql://someone:secret@/base?host={tmp_path}")

    assert not [text for text in ("secret", str(tmp_path), "someone") if text in str(caught.value)]


async def test_a_migration_that_fails_leaves_nothing_behind(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as owner:
        owner.execute("CREATE TABLE studies (in_the_way int)")
    before = objects(empty_database_url)

    with pytest.raises(DatabaseUnavailable, match="SQLSTATE 42P07"):
        await upgrade(empty_database_url)

    assert objects(empty_database_url) - before <= {
        "r alembic_version",
        "i alembic_version_pkc",
    }


def test_the_revision_that_this_release_needs_is_the_newest_one() -> None:
    assert head_revision() == NEEDED
