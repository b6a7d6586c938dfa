"""For which organisations a task reads and writes: said to Postgres in every transaction.

Policies on the tables (row-level security) show a database user the rows of the organisations
that its transaction names and no others. Who may act for which organisation is decided above.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine

_MARK: Final = "deid_is_confined"
# False for the owner of the tables, and where the tables are not there yet.
IS_CONFINED: Final = "SELECT coalesce(row_security_active(to_regclass('api_keys')), false)"
NAME: Final = """
SELECT set_config('app.organization', %(names)s, %(is_local)s),
    set_config('app.api_key', %(keys)s, %(is_local)s),
    set_config('app.organization_number', coalesce((
        SELECT string_agg(number::text, ',') FROM organizations
        WHERE id = ANY (string_to_array(%(names)s, ','))
    ), ''), %(is_local)s)
"""


@dataclass(frozen=True, slots=True)
class Acting:
    """What the transactions of a task name.

    Attributes:
        names: ids of organisations.
        keys: ids of API keys, which are looked up before their organisation is known.
    """

    names: str = ""
    keys: str = ""

    def parameters(self, *, is_local: bool) -> dict[str, object]:
        """Return what `NAME` needs."""
        return {"names": self.names, "keys": self.keys, "is_local": is_local}


@lru_cache(maxsize=1024)
def _named(organizations: frozenset[str]) -> Acting:
    return Acting(names=",".join(sorted(organizations)))


_acting: ContextVar[Acting | None] = ContextVar("acting", default=None)


def act_for(organizations: Iterable[str]) -> None:
    """Confine this task, and those that it starts, to organisations."""
    _acting.set(_named(frozenset(organizations)))


@contextmanager
def acting_for(*organizations: str, api_keys: Iterable[str] = ()) -> Iterator[None]:
    """Confine what is read and written meanwhile to organisations and API keys."""
    before = _acting.set(Acting(",".join(organizations), ",".join(api_keys)))
    try:
        yield
    finally:
        _acting.reset(before)


def acting() -> Acting | None:
    """Return what this task is confined to; None for a task of the gateway's own."""
    return _acting.get()


def confine(engine: Engine) -> None:
    """Let every transaction of an engine name the organisations of the task that began it."""

    @event.listens_for(engine, "begin")
    def name(connection: Connection) -> None:
        named = _acting.get()
        if named is None:
            return
        if _MARK not in connection.info:
            connection.info[_MARK] = connection.exec_driver_sql(IS_CONFINED).scalar_one()
        if connection.info[_MARK]:
            connection.exec_driver_sql(NAME, named.parameters(is_local=True))
