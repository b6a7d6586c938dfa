"""Sealing anew what batches keep for their workers, table by table; the rest is in the vault."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from app.db.session import Database, database_errors
from app.errors import KeyUnavailable
from app.vault.resealing import AT_ONCE, Step
from app.vault.workbox import WorkBox, head_of

_Connection = psycopg.AsyncConnection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class _Place:
    """A column that holds sealed work.

    Attributes:
        key: columns that name a row, with their types.
        purpose: what it was sealed for; filled in with the first two of batch, number.
    """

    table: str
    column: str
    batch: str
    key: tuple[tuple[str, str], ...]
    purpose: str


_PLACES: Final = (
    _Place("batches", "sealed_request", "id", (("id", "uuid"),), "{0} request"),
    _Place("batches", "sealed_cursor", "id", (("id", "uuid"),), "{0} cursor"),
    _Place(
        "batch_chunks", "sealed_files", "batch", (("batch", "uuid"), ("number", "int")),
        "{0} chunk {2}",
    ),
    _Place("batch_leftovers", "sealed_request", "batch", (("id", "bigint"),), "{0} request"),
)  # fmt: skip


def _count(place: _Place) -> str:
    return (
        f"SELECT count(*) FROM {place.table}"  # noqa: S608 - constants
        f" WHERE substring({place.column} FROM 1 FOR %s) <> %s"
    )


def _old(place: _Place) -> str:
    names = [name for name, _ in place.key]
    columns = ", ".join(f"w.{name}" for name in names)
    values = ", ".join(f"%s::{kind}" for _, kind in place.key)
    return (
        f"SELECT o.id, w.{place.batch}, w.{place.column}, {columns}"  # noqa: S608 - constants
        f" FROM {place.table} AS w JOIN organizations AS o ON o.number = w.organization"
        f" WHERE substring(w.{place.column} FROM 1 FOR %s) <> %s"
        f" AND (%s OR ({columns}) > ({values}))"
        f" ORDER BY {columns} LIMIT %s"
    )


def _update(place: _Place) -> str:
    matching = " AND ".join(f"{name} = %s::{kind}" for name, kind in place.key)
    return (
        f"UPDATE {place.table} SET {place.column} = %s"  # noqa: S608 - constants
        f" WHERE {matching} AND {place.column} = %s"
    )


async def old_work(database: Database, box: WorkBox) -> int:
    """Count what is sealed with another key than the one of now.

    Raises:
        DatabaseUnavailable: Postgres does not answer.
    """
    head = head_of(box.version)
    total = 0
    with database_errors():
        connection = await database.connect()
        async with connection:
            for place in _PLACES:
                found = await connection.execute(_count(place), [len(head), head])
                for (count,) in await found.fetchall():
                    total += int(str(count))
    return total


async def reseal_work(
    database: Database, box: WorkBox, at_once: int = AT_ONCE
) -> AsyncIterator[Step]:
    """Seal all work with the key of now; yield after every committed transaction.

    What a worker changes meanwhile is left to it: it seals with the key of now itself.

    Raises:
        DatabaseUnavailable: Postgres does not answer; what was done stays done.
    """
    with database_errors():
        connection = await database.connect()
        async with connection:
            for place in _PLACES:
                last: Sequence[object] | None = None
                while found := await _read(connection, place, head_of(box.version), last, at_once):
                    last = found[-1][3:]
                    yield await _reseal(connection, place, box, found)


async def _read(
    connection: _Connection,
    place: _Place,
    head: bytes,
    last: Sequence[object] | None,
    limit: int,
) -> list[tuple[Any, ...]]:
    after = [None] * len(place.key) if last is None else list(last)
    given = [len(head), head, last is None, *after, limit]
    found = await (await connection.execute(_old(place), given)).fetchall()
    await connection.commit()
    return found


async def _reseal(
    connection: _Connection, place: _Place, box: WorkBox, found: list[tuple[Any, ...]]
) -> Step:
    done = unopenable = 0
    for organization, batch, sealed, *key in found:
        purpose = place.purpose.format(batch, *key)
        try:
            new = box.resealed(organization, purpose, bytes(sealed))
        except KeyUnavailable:
            unopenable += 1
            continue
        changed = await connection.execute(_update(place), [new, *key, sealed])
        done += changed.rowcount
    await connection.commit()
    return Step(done, unopenable)
