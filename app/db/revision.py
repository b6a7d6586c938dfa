"""Which revision the tables are at and which one this release needs; without the migrations.

The tool that migrates costs memory that a serving process would keep for nothing.
"""

from typing import Final

from sqlalchemy import pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.db.session import CONNECT_TIMEOUT_S, database_errors, parse_url

#: The newest revision in ``alembic/versions``; a test compares them.
NEEDED: Final = "0010"


async def current_revision(url: str) -> str | None:
    """Return the revision that a database is at; None for an empty one.

    Raises:
        DatabaseUnavailable: the server does not answer or refuses.
    """
    engine = create_async_engine(
        parse_url(url),
        poolclass=pool.NullPool,
        hide_parameters=True,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
    )
    with database_errors():
        async with engine.connect() as connection:
            table = await connection.execute(text("SELECT to_regclass('alembic_version')"))
            if table.scalar_one() is None:
                return None
            found = await connection.execute(text("SELECT version_num FROM alembic_version"))
            revision: str | None = found.scalar_one_or_none()
            return revision
