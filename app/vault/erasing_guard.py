"""Keeps uploads and erasures of one patient apart: a lock nobody waits for, and tombstones.

An upload holds a shared lock on its patients until its group is committed, an erasure an exclusive
one. What a process remembers of a patient carries the generation of his tombstone: after an
erasure it is out of date, and the rows are built anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from app.errors import DatabaseUnavailable, GatewayError, SubjectErased

if TYPE_CHECKING:
    import psycopg

    _Connection = psycopg.AsyncConnection[tuple[Any, ...]]
    _Cursor = psycopg.AsyncCursor[tuple[Any, ...]]

LOCK_NAME: Final = "erasure:"
"""Locks are named by this, the organisation's number, a colon and the cloud patient id."""

_LOCK: Final = """
SELECT place FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (name, place)
WHERE NOT pg_try_advisory_xact_lock_shared(hashtextextended(name, 0))
"""
# A statement of its own: it must see what was committed before the lock was had.
_TOMBSTONES: Final = """
SELECT wanted.place, t.generation, t.erased_at IS NOT NULL AND o.after_erasure = 'refuse'
FROM unnest(%s::int[], %s::text[]) WITH ORDINALITY
    AS wanted (organization, cloud_patient_id, place)
JOIN tombstones AS t USING (organization, cloud_patient_id)
JOIN organizations AS o ON o.number = t.organization
"""


class SubjectChanged(DatabaseUnavailable):
    """An erasure of this patient is under way, or came after the rows were built; build them anew.

    Args:
        generation: of the tombstone, where the rows were older than that; None while one is
            under way.
    """

    def __init__(self, generation: int | None = None) -> None:
        super().__init__("Originals of this patient are being erased; try again")
        self.generation = generation


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose originals an entry holds.

    Attributes:
        organization: number of the organisation.
        cloud_patient_id: his pseudonym.
        generation: of the tombstone that the entry's rows were built after; 0 for none.
    """

    organization: str
    cloud_patient_id: str
    generation: int = 0

    @property
    def name(self) -> tuple[str, str]:
        return (self.organization, self.cloud_patient_id)


class ErasureGuard:
    """Looks after the subjects of one group within its transaction."""

    def __init__(self, subjects: Sequence[Subject | None]) -> None:
        self._subjects = subjects
        self._names = sorted({subject.name for subject in subjects if subject is not None})
        self._locked: _Cursor | None = None
        self._found: _Cursor | None = None

    async def ask(self, connection: "_Connection") -> None:
        """Queue the statements, before anything is written."""
        if not self._names:
            return
        names = [f"{LOCK_NAME}{number}:{patient}" for number, patient in self._names]
        numbers = [int(number) for number, _ in self._names]
        patients = [patient for _, patient in self._names]
        self._locked = await connection.execute(_LOCK, [names])
        self._found = await connection.execute(_TOMBSTONES, [numbers, patients])

    async def refusals(self) -> dict[int, GatewayError]:
        """Return, by place in the group, who may not be written, and why."""
        if self._locked is None or self._found is None:
            return {}
        busy = {self._names[place - 1] for (place,) in await self._locked.fetchall()}
        tombstones = {
            self._names[place - 1]: (generation, is_refused)
            for place, generation, is_refused in await self._found.fetchall()
        }
        if not busy and not tombstones:
            return {}
        found = {
            place: _refusal(subject, busy, tombstones)
            for place, subject in enumerate(self._subjects)
            if subject is not None
        }
        return {place: error for place, error in found.items() if error is not None}


def _refusal(
    subject: Subject,
    busy: set[tuple[str, str]],
    tombstones: dict[tuple[str, str], tuple[int, bool]],
) -> GatewayError | None:
    if subject.name in busy:
        return SubjectChanged()
    generation, is_refused = tombstones.get(subject.name, (0, False))
    if is_refused:
        return SubjectErased()
    return None if generation == subject.generation else SubjectChanged(generation)
