"""The mapping's rows: written in groups with their audit rows.

How they are read back is in `disclosure.looking_up`. Originals come in sealed and go out sealed.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import psycopg
from sqlalchemy import select

from app.db.acting import IS_CONFINED, NAME, Acting
from app.db.models.access import organizations
from app.db.session import Database, database_errors, unavailable
from app.errors import (
    DatabaseUnavailable,
    GatewayError,
    NotAuthenticated,
    OrganizationNotFound,
    PseudonymCollision,
)
from app.vault.erasing_guard import ErasureGuard, Subject
from app.vault.rows import Row, RowKey

if TYPE_CHECKING:
    from app.audit.events import AuditEvent

    _Connection = psycopg.AsyncConnection[tuple[Any, ...]]
    _Cursor = psycopg.AsyncCursor[tuple[Any, ...]]

GROUP_TIMEOUT_S: Final = 15.0
# A process that is stopped in the middle of a group (suspended, frozen with its machine) would keep
# the audit locked for everybody: in a pipeline no other timeout of the server runs. PostgreSQL 17.
_BOUND_TRANSACTIONS: Final = """
SELECT set_config('transaction_timeout', '20000', false)
WHERE current_setting('transaction_timeout', true) = '0'
"""
MAX_KNOWN: Final = 100_000

# Tables in the order in which everybody writes them, parents first. Columns in the order of
# Row.values with the type of the array that carries them: the first two name a row, the third
# tells whether it is the same one ("hex" is bytes in hexadecimal).
_TABLES: Final[Mapping[str, Mapping[str, str]]] = {
    "data_keys": {
        "organization": "int",
        "id": "bigint",
        "sealed": "hex",
        "key_version": "smallint",
        "cloud_patient_id": "text",
    },
    "subjects": {
        "organization": "int",
        "cloud_patient_id": "text",
        "lookup": "hex",
        "sealed": "hex",
        "data_key": "bigint",
    },
    "studies": {
        "organization": "int",
        "cloud_study_id": "text",
        "lookup": "hex",
        "sealed": "hex",
        "data_key": "bigint",
        "uid": "uuid",
    },
    "study_identities": {
        "organization": "int",
        "cloud_study_id": "text",
        "lookup": "hex",
        "sealed": "hex",
        "data_key": "bigint",
        "cloud_patient_id": "text",
    },
    "series": {
        "organization": "int",
        "uid": "uuid",
        "lookup": "hex",
        "sealed": "hex",
        "data_key": "bigint",
        "cloud_study_id": "text",
    },
    "instances": {
        "organization": "int",
        "uid": "uuid",
        "lookup": "hex",
        "sealed": "hex",
        "data_key": "bigint",
        "series_uid": "uuid",
    },
}
_DATA_KEYS: Final = "data_keys"
# A look-up hash that is part of the name, and random numbers of 63 bits, contradict nobody.
_NEVER_CONTESTED: Final = frozenset({"data_keys", "study_identities"})
_VALID_KEYS: Final = "SELECT id FROM api_keys WHERE id = ANY(%s) AND revoked_at IS NULL"
_RETRIED_STATES: Final = frozenset({"40001", "40P01"})


def _arrays(table: str) -> str:
    types = ["text" if kind == "hex" else kind for kind in _TABLES[table].values()]
    columns = ", ".join(_TABLES[table])
    return f"unnest({', '.join([f'%s::{kind}[]' for kind in types])}) WITH ORDINALITY AS new " + (
        f"({columns}, place)"
    )


def _insert(table: str) -> bytes:
    columns = _TABLES[table]
    values = [f"decode({name}, 'hex')" if kind == "hex" else name for name, kind in columns.items()]
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)}"  # noqa: S608
        f" FROM {_arrays(table)} ORDER BY place ON CONFLICT DO NOTHING"
    ).encode()


def _contradicting(table: str) -> bytes:
    organization, pseudonym, check = list(_TABLES[table])[:3]
    return (
        f"SELECT new.place FROM {_arrays(table)} JOIN {table} AS old"  # noqa: S608
        f" ON old.{organization} = new.{organization} AND old.{pseudonym} = new.{pseudonym}"
        f" WHERE old.{check} <> decode(new.{check}, 'hex')"
    ).encode()


# Built from the constants above; values are always parameters.
_INSERT: Final = {table: _insert(table) for table in _TABLES}
_CONTRADICTING: Final = {
    table: _contradicting(table) for table in _TABLES if table not in _NEVER_CONTESTED
}


@dataclass(frozen=True, slots=True)
class Entry:
    """What one caller wants durable: an audit event and the mapping rows that belong to it."""

    event: "AuditEvent"
    rows: tuple[Row, ...] = ()
    needs_valid_key: bool = False
    subject: Subject | None = None


class Trail(Protocol):
    """The audit as the vault sees it; `app.audit.repository.AuditTrail` is it."""

    async def lock(self, connection: "_Connection", events: "Sequence[AuditEvent]") -> "_Cursor":
        """Queue the statements that lock the heads of the chains."""

    async def append(
        self, connection: "_Connection", locked: "_Cursor", events: "Sequence[AuditEvent]"
    ) -> None:
        """Queue the statements that append the events."""

    def forget(self) -> None:
        """Take nothing for granted after a rollback."""


class KnownRows:
    """A bounded memory of rows that are committed: pseudonym → look-up hash of its original."""

    def __init__(self, capacity: int = MAX_KNOWN) -> None:
        self._capacity = capacity // 2
        self._young: dict[RowKey, bytes] = {}
        self._old: dict[RowKey, bytes] = {}

    def get(self, key: RowKey) -> bytes | None:
        """Return the look-up hash that is committed under a key, if it is remembered."""
        known = self._young.get(key)
        if known is None and (known := self._old.get(key)) is not None:
            self._young[key] = known
        return known

    def add(self, rows: Iterable[Row]) -> None:
        """Remember rows that were committed."""
        if len(self._young) >= self._capacity:
            self._old, self._young = self._young, {}
        self._young.update({row.key: row.lookup for row in rows})

    def clear(self) -> None:
        """Forget everything."""
        self._young.clear()
        self._old.clear()


class MappingRepository:
    """Writes groups of entries, each group in one transaction of two round trips.

    It keeps one raw connection of its own, made again after a failure. Not to be used by two
    groups at once.
    """

    def __init__(self, database: Database, trail: Trail) -> None:
        self._database = database
        self._trail = trail
        self._connection: _Connection | None = None
        self._is_committing = False
        self._is_confined = False
        self._numbers: dict[str, int] = {}
        self._asked: dict[str, asyncio.Task[int]] = {}
        self._generations: dict[tuple[str, str], int] = {}
        self.known = KnownRows()

    async def organization_number(self, organization: str) -> int:
        """Return the number by which tables refer to an organisation.

        Raises:
            OrganizationNotFound: there is none by that id.
            DatabaseUnavailable: Postgres does not answer.
        """
        known = self._numbers.get(organization)
        if known is not None:
            return known
        asked = self._asked.get(organization)
        if asked is None:  # the many that come together ask once
            asked = asyncio.create_task(self._asked_number(organization))
            self._asked[organization] = asked
            asked.add_done_callback(lambda _: self._asked.pop(organization))
        return await asyncio.shield(asked)

    async def _asked_number(self, organization: str) -> int:
        wanted = select(organizations.c.number).where(organizations.c.id == organization)
        with database_errors():
            async with self._database.engine.connect() as connection:
                number: int | None = (await connection.execute(wanted)).scalar_one_or_none()
        if number is None:
            raise OrganizationNotFound
        self._numbers[organization] = number
        return number

    def subject(self, number: int, cloud_patient_id: str) -> Subject:
        """Name a patient together with what is known of him; before his rows are built."""
        name = (str(number), cloud_patient_id)
        return Subject(*name, self._generations.get(name, 0))

    def note_erasure(self, subject: Subject, generation: int) -> None:
        """Forget what is known, since some of it was erased after it was learnt."""
        self._generations[subject.name] = generation
        self.known.clear()

    async def write(self, entries: Sequence[Entry]) -> list[GatewayError | None]:
        """Make entries durable; one outcome per entry: None, or why it was left out.

        Entries that may not be written do not keep the others from it. When the outcome of a
        commit is not known every entry is answered with `DatabaseUnavailable`; writing it again
        does no harm to the mapping.
        """
        outcomes: dict[int, GatewayError | None] = {}
        await self._settle(entries, outcomes)
        return [outcomes[id(entry)] for entry in entries]

    async def close(self) -> None:
        """Close the raw connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                await connection.close()

    async def _settle(
        self, entries: Sequence[Entry], outcomes: dict[int, GatewayError | None]
    ) -> None:
        """Write entries, without those that are refused, until every one has its outcome."""
        left = list(entries)
        while left:
            try:
                async with asyncio.timeout(GROUP_TIMEOUT_S):
                    refused = await self._write_once(left)
            except (psycopg.DataError, psycopg.IntegrityError) as error:
                await self._start_over()
                if len(left) == 1:
                    outcomes[id(left[0])] = unavailable(error)
                else:
                    await self._settle(left[: len(left) // 2], outcomes)
                    await self._settle(left[len(left) // 2 :], outcomes)
                return
            except (psycopg.Error, OSError, DatabaseUnavailable) as error:
                await self._start_over()
                outcomes.update({id(entry): unavailable(error) for entry in left})
                return
            except BaseException:
                await self._start_over()
                raise
            if not refused:
                outcomes.update(dict.fromkeys(map(id, left)))
                return
            outcomes.update(refused)
            left = [entry for entry in left if id(entry) not in refused]

    async def _write_once(self, entries: Sequence[Entry]) -> dict[int, GatewayError]:
        """Commit the entries, or nothing and say which ones are refused."""
        tables, contradictions = self._choose(entries)
        if contradictions:
            return contradictions
        is_reused = self._connection is not None
        try:
            return await self._transact(entries, tables)
        except psycopg.OperationalError as error:
            # A connection that went stale while idle, or a deadlock: nothing was committed.
            if self._is_committing or not (is_reused and self._is_passing(error)):
                raise
        await self._start_over()
        return await self._transact(entries, tables)

    def _is_passing(self, error: psycopg.OperationalError) -> bool:
        is_lost = self._connection is None or self._connection.closed
        return is_lost or error.sqlstate in _RETRIED_STATES

    async def _transact(
        self, entries: Sequence[Entry], tables: "_Chosen"
    ) -> dict[int, GatewayError]:
        connection = await self._connected()
        events = [entry.event for entry in entries]
        guard = ErasureGuard([entry.subject for entry in entries])
        async with connection.pipeline():
            if self._is_confined:
                await connection.execute(NAME, _named(entries))
            await guard.ask(connection)
            written = [
                (table, rows, await connection.execute(_INSERT[table], _literals(rows)))
                for table, rows in tables.items()
            ]
            locked = await self._trail.lock(connection, events)
            valid_keys = await connection.execute(_VALID_KEYS, [_keys_of(entries)])
            refused = _revoked(entries, {key for (key,) in await valid_keys.fetchall()})
            refused |= {id(entries[n]): error for n, error in (await guard.refusals()).items()}
            contested = {
                table: rows for table, rows, cursor in written if cursor.rowcount < len(rows)
            }
            refused |= await self._contradictions(connection, entries, contested)
            if not refused:
                await self._trail.append(connection, locked, events)
                self._is_committing = True
                await connection.commit()
        self._is_committing = False
        if refused:
            await connection.rollback()
            self._trail.forget()
        else:
            for rows in tables.values():
                self.known.add(rows)
        return refused

    def _choose(self, entries: Sequence[Entry]) -> "tuple[_Chosen, dict[int, GatewayError]]":
        """Pick what is not known to be committed, each row once, in everybody's order."""
        chosen: dict[str, dict[RowKey, Row]] = {table: {} for table in _TABLES}
        refused: dict[int, GatewayError] = {}
        for entry in entries:
            for row in entry.rows:
                same = self.known.get(row.key)
                if same is None:
                    same = chosen[row.table].setdefault(row.key, row).lookup
                if same != row.lookup:
                    refused[id(entry)] = PseudonymCollision()
        for row in [row for rows in chosen.values() for row in rows.values()]:
            data_key = _data_key_row(row)
            if self.known.get(data_key.key) is None:
                chosen[_DATA_KEYS][data_key.key] = data_key
        ordered = {
            table: [rows[key] for key in sorted(rows)] for table, rows in chosen.items() if rows
        }
        return ordered, refused

    async def _contradictions(
        self, connection: "_Connection", entries: Sequence[Entry], contested: "_Chosen"
    ) -> dict[int, GatewayError]:
        """Find entries whose pseudonym stands for another original already."""
        taken: set[RowKey] = set()
        for table, rows in contested.items():
            if table in _CONTRADICTING:
                found = await connection.execute(_CONTRADICTING[table], _literals(rows))
                taken.update([rows[place - 1].key for (place,) in await found.fetchall()])
        return {
            id(entry): PseudonymCollision()
            for entry in entries
            if taken and any(row.key in taken for row in entry.rows)
        }

    async def _connected(self) -> "_Connection":
        if self._connection is None:
            connection = await self._database.connect()
            try:
                await connection.execute(_BOUND_TRANSACTIONS)
                confined = await (await connection.execute(IS_CONFINED)).fetchone()
                await connection.commit()
            except BaseException:  # a cancelled task too leaves no connection behind
                await connection.close()
                raise
            self._is_confined = confined == (True,)
            self._connection = connection
        return self._connection

    async def _start_over(self) -> None:
        """Drop the connection and all that was taken for granted over it."""
        self._is_committing = False
        self.known.clear()
        self._trail.forget()
        await self.close()


_Chosen = Mapping[str, Sequence[Row]]


def _data_key_row(row: Row) -> Row:
    stored = row.data_key
    data_key_id = str(stored.data_key_id)
    return Row(
        table=_DATA_KEYS,
        key=(_DATA_KEYS, data_key_id),
        lookup=b"",
        values=(
            row.values[0],
            data_key_id,
            stored.sealed.hex(),
            str(stored.key_version),
            row.cloud_patient_id,
        ),
        data_key=stored,
        cloud_patient_id=row.cloud_patient_id,
    )


def _literals(rows: Sequence[Row]) -> list[str]:
    """Write columns as array literals, which costs a tenth of adapting lists."""
    columns = zip(*[row.values for row in rows], strict=True)
    return ["{" + ",".join(column) + "}" for column in columns]


def _keys_of(entries: Sequence[Entry]) -> list[str]:
    keys = {entry.event.api_key_id for entry in entries if entry.needs_valid_key}
    return [key for key in keys if key is not None]


def _named(entries: Sequence[Entry]) -> dict[str, object]:
    """Name the organisations whose rows a group writes: no policy lets it touch others'."""
    names = sorted({entry.event.organization or "" for entry in entries})
    return Acting(",".join(names), ",".join(_keys_of(entries))).parameters(is_local=True)


def _revoked(entries: Sequence[Entry], valid: set[str]) -> dict[int, GatewayError]:
    return {
        id(entry): NotAuthenticated()
        for entry in entries
        if entry.needs_valid_key and entry.event.api_key_id not in valid
    }
