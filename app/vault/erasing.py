"""Destroying originals: of one patient on request, of a whole organisation by age.

All that was sealed under a data key goes with the data key, in one transaction with the tombstone
and the audit row. Who may ask is decided elsewhere; how uploads are kept apart is in
`erasing_guard`.
"""

import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import psycopg

from app.db.acting import acting_for
from app.db.session import Database, database_errors
from app.errors import (
    Conflict,
    GatewayError,
    InvalidRequest,
    NotAuthenticated,
    OrganizationNotFound,
    PseudonymNotFound,
)
from app.vault import erasing_sql as sql
from app.vault.erasing_guard import LOCK_NAME
from app.vault.erasing_names import named
from app.vault.repository import Trail

if TYPE_CHECKING:
    from app.audit.events import AuditEvent

ERASE: Final = "erase-subject"
EXPIRE: Final = "erase-expired"
LOCK_TIMEOUT_S: Final = 60
STATEMENT_TIMEOUT_S: Final = 600
ATTEMPTS: Final = 3
MAX_PURPOSE_CHARACTERS: Final = 500
# Who fell victim to a deadlock has done nothing and may try again.
_RETRIED_STATES: Final = frozenset({"40001", "40P01"})

_Connection = psycopg.AsyncConnection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Erased:
    """What was destroyed: pseudonym and counts.

    Attributes:
        erased_at: when the tombstone was set.
        file_names: names of files at the source, of batches.
        held_objects: objects that were held for review; nobody can open their files any more.
    """

    cloud_patient_id: str
    erased_at: dt.datetime
    data_keys: int
    identities: int
    studies: int
    series: int
    instances: int
    file_names: int
    held_objects: int = 0

    def counts(self) -> dict[str, int]:
        """Return the counts by name."""
        return {
            "data_keys": self.data_keys,
            "identities": self.identities,
            "studies": self.studies,
            "series": self.series,
            "instances": self.instances,
            "file_names": self.file_names,
            "held_objects": self.held_objects,
        }


class Eraser:
    """Destroys originals.

    Args:
        database: as a user who may (the role admin, or the owner).
        trail: makes a fresh audit trail per transaction.
    """

    def __init__(self, database: Database, trail: Callable[[], Trail]) -> None:
        self._database = database
        self._trail = trail

    async def erase(self, *, organization: str, pseudonym: str, event: "AuditEvent") -> Erased:
        """Destroy a patient's originals and leave a tombstone; committed on return.

        Erasing somebody again destroys what came since. Every outcome is in the audit.

        Args:
            organization: whose patient.
            pseudonym: cloud patient id, or cloud study id of a study of one patient, or either as
                the pseudonymous Patient ID with the organisation before it.
            event: who asks and why; action and outcome are filled in here.

        Raises:
            InvalidRequest: no purpose is stated, or the pseudonym cannot be one.
            OrganizationNotFound: there is none by that id.
            PseudonymNotFound: the organisation never had it.
            Conflict: the study came under several patients; name one.
            NotAuthenticated: the event's API key was revoked.
            DatabaseUnavailable: Postgres does not answer; nothing is known to be destroyed.
        """
        purpose = (event.purpose or "").strip()[:MAX_PURPOSE_CHARACTERS]
        asked = replace(event, action=ERASE, organization=organization, purpose=purpose or None)
        try:
            if not purpose:
                raise InvalidRequest("a purpose must be stated")
            kind, name = named(pseudonym, organization)
            return await self._attempted(organization, kind, name, asked)
        except GatewayError as error:
            await self._record(replace(asked, outcome=error.code))
            raise

    async def _attempted(
        self, organization: str, kind: str, name: str, event: "AuditEvent"
    ) -> Erased:
        for left in reversed(range(ATTEMPTS)):
            try:
                return await self._erase_once(organization, kind, name, event)
            except psycopg.OperationalError as error:
                if not left or error.sqlstate not in _RETRIED_STATES:
                    with database_errors():
                        raise
            except psycopg.Error:
                with database_errors():
                    raise
        raise AssertionError  # the last attempt returns or raises

    async def _erase_once(
        self, organization: str, kind: str, name: str, event: "AuditEvent"
    ) -> Erased:
        async with self._transaction(organization) as connection:
            number = await _number(connection, organization)
            await _require_key(connection, event)  # before anything is looked up
            patient = await _patient(connection, number, kind, name)
            await _lock(connection, number, patient)
            await _require_key(connection, event)  # again: the lock may have taken a while
            erased = await _destroy(connection, number, patient, None)
            if not await _is_known(connection, number, patient, erased):
                raise PseudonymNotFound
            (erased_at,) = await _one(connection, sql.SET_ERASED, [number, patient])
            erased = replace(erased, erased_at=erased_at)
            await self._append(connection, _with_counts(event, erased))
        return erased

    async def expire(self, organization: str, event: "AuditEvent") -> AsyncIterator[Erased]:
        """Destroy what is older than the organisation keeps it; yield after every patient.

        What came later of the same patient stays. A patient's destruction is one transaction with
        its audit row; one that is ended in between is taken up by the next.

        Raises:
            OrganizationNotFound: there is none by that id.
            DatabaseUnavailable: Postgres does not answer; what was done stays done.
        """
        asked = replace(event, action=EXPIRE, organization=organization)
        with database_errors():
            async with self._transaction(organization) as connection:
                number = await _number(connection, organization)
                await connection.execute(sql.FORGET_DESTROYED)
                found = await connection.execute(sql.EXPIRED, [number])
                expired = [(patient, before) for patient, before in await found.fetchall()]
            for patient, before in expired:
                yield await self._expire_one(number, patient, before, asked)

    async def _expire_one(
        self, number: int, patient: str, before: dt.datetime, event: "AuditEvent"
    ) -> Erased:
        async with self._transaction(event.organization or "") as connection:
            await _lock(connection, number, patient)
            erased = await _destroy(connection, number, patient, before)
            (expired_at,) = await _one(connection, sql.SET_EXPIRED, [number, patient])
            erased = replace(erased, erased_at=expired_at)
            await self._append(connection, _with_counts(event, erased))
        return erased

    @asynccontextmanager
    async def _transaction(self, organization: str) -> AsyncIterator[_Connection]:
        """Open a transaction that names the organisation; committed at the end."""
        with acting_for(organization):
            connection = await self._database.connect()
        try:
            await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'")
            await connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT_S}s'")
            await connection.commit()
            yield connection
            await connection.commit()
        finally:  # whoever is cancelled while committing leaves no connection behind
            await connection.close()

    async def _append(self, connection: _Connection, event: "AuditEvent") -> None:
        trail = self._trail()
        await trail.append(connection, await trail.lock(connection, [event]), [event])

    async def _record(self, event: "AuditEvent") -> None:
        if event.outcome == OrganizationNotFound.code:
            event = replace(event, organization=None)
        with database_errors():
            async with self._transaction(event.organization or "") as connection:
                await self._append(connection, event)


def _with_counts(event: "AuditEvent", erased: Erased) -> "AuditEvent":
    counted: dict[str, str | int] = {"cloud_patient_id": erased.cloud_patient_id, **erased.counts()}
    return replace(event, detail={**event.detail, **counted})


async def _number(connection: _Connection, organization: str) -> int:
    found = await (await connection.execute(sql.NUMBER, [organization])).fetchone()
    if found is None:
        raise OrganizationNotFound
    return int(found[0])


async def _patient(connection: _Connection, number: int, kind: str, name: str) -> str:
    if kind == "patient":
        return name
    found = await (await connection.execute(sql.PATIENTS_OF_STUDY, [number, name])).fetchall()
    if not found:
        raise PseudonymNotFound
    if len(found) > 1:
        raise Conflict("The study came under several patients; name one of them")
    return str(found[0][0])


async def _lock(connection: _Connection, number: int, patient: str) -> None:
    """Keep uploads of the patient out until the transaction ends."""
    await connection.execute(sql.LOCK, [f"{LOCK_NAME}{number}:{patient}"])


async def _require_key(connection: _Connection, event: "AuditEvent") -> None:
    if event.api_key_id is None:
        return
    if await (await connection.execute(sql.VALID_KEY, [event.api_key_id])).fetchone() is None:
        raise NotAuthenticated


async def _destroy(
    connection: _Connection, number: int, patient: str, before: dt.datetime | None
) -> Erased:
    """Destroy data keys with all that was sealed under them."""
    given: dict[str, Any] = {"organization": number, "patient": patient, "before": before}
    found = await (await connection.execute(sql.DATA_KEYS, given)).fetchall()
    given["keys"] = [key for key, _ in found]
    studies = await (await connection.execute(sql.STUDIES, given)).fetchall()
    given["studies"] = [study for (study,) in studies]
    moments = [moment for _, moment in found]
    given["since"], given["until"] = min(moments, default=None), max(moments, default=None)
    counts: dict[str, int] = {}
    for name, statement in sql.DESTROY.items() if found else ():
        counts[name] = (await connection.execute(statement, given)).rowcount
    if before is None:  # what is held ends by itself, sooner than by age
        counts["held_objects"] = (await connection.execute(sql.HELD, given)).rowcount
    return Erased(
        cloud_patient_id=patient,
        erased_at=before or dt.datetime.min.replace(tzinfo=dt.UTC),
        data_keys=len(found),
        identities=counts.get("identities", 0),
        studies=counts.get("studies", 0) + counts.get("emptied_studies", 0),
        series=counts.get("series", 0),
        instances=counts.get("instances", 0),
        file_names=counts.get("file_names", 0),
        held_objects=counts.get("held_objects", 0),
    )


async def _is_known(connection: _Connection, number: int, patient: str, erased: Erased) -> bool:
    if erased.data_keys or erased.held_objects:
        return True
    return bool((await _one(connection, sql.IS_KNOWN, [number, patient] * 2))[0])


async def _one(connection: _Connection, statement: str, given: list[object]) -> tuple[Any, ...]:
    found = await (await connection.execute(statement, given)).fetchone()
    if found is None:
        raise PseudonymNotFound
    return found
