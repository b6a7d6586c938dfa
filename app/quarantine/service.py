"""The sender's side of the quarantine: holding objects, and asking what became of them.

It seals with a public key and opens nothing. What a person decided holds for the very bytes: who
sends them again gets the decided result.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from app import telemetry
from app.audit.events import AuditEvent
from app.db.acting import acting_for
from app.dicom.source import Source
from app.errors import QuarantineFull, SubjectErased
from app.pixels.rules import Rule
from app.pixels.rulings import Case, Ruling
from app.quarantine import records, remembering
from app.quarantine.records import Known, State
from app.quarantine.remembering import RuleBox
from app.quarantine.sealing import HoldSealer, Place, SealedKey
from app.quarantine.shelf import Shelf
from app.vault.disclosure.transactions import Recorder
from app.vault.erasing_guard import ErasureGuard, Subject, SubjectChanged
from app.vault.workbox import WorkBox

if TYPE_CHECKING:
    import psycopg

    _Connection = psycopg.AsyncConnection[tuple[Any, ...]]

HOLD: Final = "quarantine-hold"
RULES_FRESH_S: Final = 5.0
# A quarantine that is full for days says so once a minute, however many objects it refuses.
FULL_TOLD_EVERY_S: Final = 60.0
_READ_BYTES: Final = 1 << 20
_PURPOSE: Final = "quarantine"


class Quarantine:
    """Holds objects of one process.

    Args:
        recorder: lends transactions and writes the audit.
        box: makes keyed digests, and opens rules that were remembered.
        sealer: seals to the review.
        shelf: where the sealed objects lie.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        recorder: Recorder,
        box: WorkBox,
        *,
        sealer: HoldSealer,
        shelf: Shelf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recorder = recorder
        self._box = box
        self._rule_box = RuleBox(box)
        self._sealer = sealer
        self._shelf = shelf
        self._clock = clock
        self._rules: dict[str, tuple[float, tuple[Rule, ...]]] = {}
        self._tell_full_from: dict[str, float] = {}

    def digest(self, organization: str, source: Source) -> bytes:
        """Return the keyed digest of an object, 32 bytes; without the key nobody can test a guess.

        Reads the source once, in pieces.
        """
        plain = hashlib.sha256()
        for offset in range(0, source.size, _READ_BYTES):
            plain.update(source.view(offset, min(_READ_BYTES, source.size - offset)))
        return self._box.hash(organization, _PURPOSE, plain.digest())

    async def decided(self, organization: str, profile: str, digest: bytes) -> Ruling | None:
        """Return what a person decided about these bytes under a profile; None for nothing yet.

        Raises:
            DatabaseUnavailable: Postgres does not answer.
        """
        known = await self._known(organization, profile, digest)
        return None if known is None else known.ruling

    async def hold(self, source: Source, case: Case) -> UUID:
        """Hold an object; it is on the disk, its row and the audit committed, on return.

        Bytes that are held already keep their id, and are not held a second time.

        Args:
            source: the object; read once, in pieces, in a thread.
            case: why, and for whom.

        Raises:
            QuarantineFull: there is no room for it just now.
            PixelsNeedReview: it is larger than the whole quarantine.
            SubjectErased: the patient was erased, and the organisation takes no new objects.
            StorageUnavailable, DatabaseUnavailable: nothing is held.
        """
        known = await self._known(case.organization, case.profile, case.digest)
        if known is not None:
            return known.object_id
        place = Place(case.organization, uuid4(), source.size)
        cipher, sealed = self._sealer.begin(place, case.picture)
        try:
            await asyncio.to_thread(
                self._shelf.put, place.object_id, cipher.sealed(source), place.sealed_size
            )
        except QuarantineFull as error:
            self._tell_full(case.organization)
            error.size = place.sealed_size
            raise
        try:
            is_first = await self._written(case, place, sealed)
        except SubjectErased:
            self._shelf.remove(place.object_id)
            raise
        if is_first:
            return place.object_id
        # Sent twice at the same time: one of them is held.
        self._shelf.remove(place.object_id)
        other = await self._known(case.organization, case.profile, case.digest)
        return place.object_id if other is None else other.object_id

    def has_room(self, size: int) -> bool:
        """Tell whether so many sealed bytes fit just now; reads a directory.

        Raises:
            StorageUnavailable: it cannot be read.
        """
        return self._shelf.has_room(size)

    def _tell_full(self, organization: str) -> None:
        now = self._clock()
        if now >= self._tell_full_from.get(organization, now):
            self._tell_full_from[organization] = now + FULL_TOLD_EVERY_S
            telemetry.log().error("quarantine-full", organization=organization)

    async def _written(self, case: Case, place: Place, sealed: SealedKey) -> bool:
        """Commit the row with its audit row; False where the same bytes have one already."""
        with acting_for(case.organization):
            async with self._recorder.transaction() as connection:
                number = await records.number_of(connection, case.organization)
                if case.cloud_patient_id is not None:
                    await _require_not_erased(connection, number, case.cloud_patient_id)
                is_first = await records.add(connection, number, case, place, sealed)
                if is_first:
                    await self._recorder.append(connection, [_held(case, place.object_id)])
                return is_first

    async def states(self, organization: str, ids: Collection[UUID]) -> dict[UUID, State]:
        """Return where held objects stand; those of nobody are left out.

        Raises:
            DatabaseUnavailable: Postgres does not answer.
        """
        with acting_for(organization):
            async with self._recorder.transaction() as connection:
                return await records.states(connection, organization, ids)

    async def remembered(self, organization: str) -> tuple[Rule, ...]:
        """Return the mask rules that reviewers of an organisation remembered and approved.

        A change is seen after some seconds.

        Raises:
            DatabaseUnavailable: Postgres does not answer.
            KeyUnavailable, InvalidRules: one cannot be read.
        """
        now = self._clock()
        fresh_until, rules = self._rules.get(organization, (now, ()))
        if fresh_until > now:
            return rules
        with acting_for(organization):
            async with self._recorder.transaction() as connection:
                rules = await remembering.approved(connection, organization, self._rule_box)
        self._rules[organization] = (self._clock() + RULES_FRESH_S, rules)
        return rules

    async def _known(self, organization: str, profile: str, digest: bytes) -> Known | None:
        with acting_for(organization):
            async with self._recorder.transaction() as connection:
                return await records.of_bytes(connection, organization, profile, digest)


async def _require_not_erased(connection: "_Connection", number: int, patient: str) -> None:
    """Refuse a patient who was erased, and keep erasures out until the transaction ends.

    Raises:
        SubjectErased: the patient was, and the organisation takes no new objects.
        DatabaseUnavailable: an erasure is under way.
    """
    guard = ErasureGuard([Subject(str(number), patient)])
    await guard.ask(connection)
    refusal = (await guard.refusals()).get(0)
    if refusal is None or (isinstance(refusal, SubjectChanged) and refusal.generation is not None):
        return  # taken again after an erasure
    raise refusal


def _held(case: Case, object_id: UUID) -> AuditEvent:
    """Return the audit row of an object that is held from now on."""
    codes = " ".join(dict.fromkeys(reason.code for reason in case.decision.reasons))
    event = AuditEvent(
        action=HOLD,
        organization=case.organization,
        actor=case.actor,
        api_key_id=case.api_key_id,
        profile=case.profile,
        profile_version=case.profile_version,
        cloud_study_id=case.cloud_study_id,
        request_id=case.request_id,
    )
    facts = {"source": str(case.source_kind), "risk": str(case.decision.risk), "reasons": codes}
    return replace(event, detail={"quarantine": str(object_id), **facts})
