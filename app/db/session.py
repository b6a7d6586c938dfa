"""Connections to Postgres: the engine, the raw connection, and where driver errors end.

Nothing above this package sees an error text of the driver: Postgres quotes values in it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, NoReturn

import psycopg
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.db.acting import NAME, acting, confine
from app.errors import DatabaseUnavailable, InvalidRequest, Misconfigured

CONNECT_TIMEOUT_S: Final = 5
STATEMENT_TIMEOUT_MS: Final = 10_000
LOCK_TIMEOUT_MS: Final = 5_000
# A process that froze in a transaction keeps what it locked from all others for so long. Raw
# connections read large results page by page, with work between; transactions of the pool are
# short, and over before the silence of a worker is noticed.
IDLE_TIMEOUT_MS: Final = 30_000
POOLED_IDLE_TIMEOUT_MS: Final = 8_000

_SESSION_OPTIONS: Final = (
    f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS} -c timezone=UTC"
)


class RawConnection(psycopg.AsyncConnection[tuple[object, ...]]):
    """A connection that is closed behind its block, even if its task is cancelled in the commit."""

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Commit or roll back, and close whatever comes of that."""
        try:
            await super().__aexit__(exc_type, exc_val, exc_tb)
        finally:
            await self.close()


class Database:
    """One Postgres database: a pool of SQLAlchemy connections, and raw ones on request.

    Args:
        url: ``postgresql://…`` as libpq knows it; a socket directory as ``?host=…``.
        pool_size: most connections of the pool; raw ones come on top.
    """

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self._url = parse_url(url)
        self.engine = create_engine(url, pool_size=pool_size)
        self._is_closed = False

    async def connect(self) -> RawConnection:
        """Open a raw connection outside of the pool; the caller closes it.

        It names the organisations of the task that opens it.

        Raises:
            psycopg.OperationalError: the server does not answer; never to be shown.
        """
        if self._is_closed:
            _refuse()
        connection = await RawConnection.connect(**connect_arguments(self._url))
        named = acting()
        if named is not None:
            try:
                await connection.execute(NAME, named.parameters(is_local=False))
                await connection.commit()
            except BaseException:  # a cancelled task too leaves no connection behind
                await connection.close()
                raise
        return connection

    async def is_ready(self) -> bool:
        """Ask the server for a sign of life."""
        try:
            with database_errors():
                async with self.engine.connect() as connection:
                    await connection.exec_driver_sql("SELECT 1")
        except DatabaseUnavailable:
            return False
        return True

    async def close(self) -> None:
        """Close the pool; who is late gets no connection, which nobody would close any more."""
        self._is_closed = True
        event.listen(self.engine.sync_engine, "do_connect", _refuse)
        await self.engine.dispose()


def _refuse(*_: object) -> NoReturn:
    raise psycopg.OperationalError("the database is closed")


def create_engine(url: str, *, pool_size: int = 8) -> AsyncEngine:
    """Make the async engine; nothing is connected yet.

    Raises:
        Misconfigured: the URL is not one of Postgres.
    """
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    parsed = parse_url(url)
    engine = create_async_engine(
        parsed,
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=CONNECT_TIMEOUT_S,
        pool_pre_ping=True,
        connect_args=connect_arguments(parsed, idle_timeout_ms=POOLED_IDLE_TIMEOUT_MS),
    )
    confine(engine.sync_engine)
    return engine


def parse_url(url: str) -> URL:
    """Read a libpq URL for SQLAlchemy with psycopg.

    Raises:
        Misconfigured: the URL is not one of Postgres.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise Misconfigured("the database URL cannot be read") from None
    if parsed.drivername not in {"postgres", "postgresql", "postgresql+psycopg"}:
        raise Misconfigured("the database URL must begin with postgresql://")
    return parsed.set(drivername="postgresql+psycopg")


def connect_arguments(url: URL, *, idle_timeout_ms: int = IDLE_TIMEOUT_MS) -> dict[str, Any]:
    """Return what psycopg connects with; SQLAlchemy's own text of a URL is not libpq's."""
    _, arguments = url.get_dialect()().create_connect_args(url)
    idle = f"-c idle_in_transaction_session_timeout={idle_timeout_ms}"
    options = f"{_SESSION_OPTIONS} {idle} {arguments.pop('options', '')}".strip()
    return {"connect_timeout": CONNECT_TIMEOUT_S, "options": options, **arguments}


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn every failure of driver and server into `DatabaseUnavailable`, without its text.

    Raises:
        InvalidRequest: a text cannot be encoded, such as an argument that was no UTF-8.
        DatabaseUnavailable: anything else.
    """
    try:
        yield
    except UnicodeEncodeError:
        raise InvalidRequest("A text holds a character that no text can hold") from None
    except (psycopg.Error, SQLAlchemyError, OSError) as error:
        raise unavailable(error) from None


def unavailable(error: BaseException) -> DatabaseUnavailable:
    """Name a failure by its SQLSTATE alone, which is a constant of Postgres."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None)
    detail = f"{DatabaseUnavailable.title} (SQLSTATE {state})" if state else None
    return DatabaseUnavailable(detail)
