"""Bring a database to the newest revision, safely when several processes start at once."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.db.session import CONNECT_TIMEOUT_S, database_errors, parse_url
from app.errors import Misconfigured

ADVISORY_LOCK: Final = 4_107_002


async def upgrade(url: str, revision: str = "head") -> None:
    """Apply what is missing, one process at a time; the others wait and find nothing to do.

    Raises:
        DatabaseUnavailable: the server does not answer or refuses.
        Misconfigured: the database is at a revision that this release does not know.
    """
    await _with_lock(url, revision, is_downgrade=False)


async def downgrade(url: str, revision: str) -> None:
    """Take back what came after a revision; ``base`` takes back everything."""
    await _with_lock(url, revision, is_downgrade=True)


def head_revision() -> str:
    """Return the newest revision that this release knows."""
    head = ScriptDirectory.from_config(configuration()).get_current_head()
    if head is None:
        raise Misconfigured("this installation carries no migrations")
    return head


def configuration(connection: Connection | None = None) -> Config:
    """Make alembic's configuration without its ini file, for any kind of installation."""
    config = Config()
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _scripts() -> Path:
    """Find the migrations: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    for directory in (package / "alembic", package.parent.parent / "alembic"):
        if (directory / "env.py").is_file():
            return directory
    raise Misconfigured("this installation carries no migrations")


async def _with_lock(url: str, revision: str, *, is_downgrade: bool) -> None:
    engine = create_async_engine(
        parse_url(url),
        poolclass=pool.NullPool,
        hide_parameters=True,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
    )
    with database_errors():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
            await connection.commit()
            # The lock belongs to the session: closing the connection gives it back.
            await connection.run_sync(_run, revision, is_downgrade)


def _run(connection: Connection, revision: str, is_downgrade: bool) -> None:
    config = configuration(connection)
    _refuse_unknown(config, _revision_of(connection))
    connection.commit()
    if is_downgrade:
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)
    connection.commit()


def _revision_of(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_unknown(config: Config, revision: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise Misconfigured(
            "the database was migrated by a newer release; this one does not know its tables"
        )
