"""From pseudonyms to sealed rows, within one organisation: the SQL of the way back.

Every statement names the organisation: an id of another one takes the same way, and the same time,
as an id that was never issued.
"""

import datetime as dt
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from app.errors import DifferentPatients, DifferentStudies, PseudonymNotFound
from app.vault.disclosure.questions import Question
from app.vault.mapping import Reidentified
from app.vault.pseudonyms import Pseudonyms
from app.vault.rows import identity_name, uuid_of
from app.vault.sealing import Opener, SealedDataKey

if TYPE_CHECKING:
    import psycopg

    _Connection = psycopg.AsyncConnection[tuple[Any, ...]]

_ROW: Final = "r.sealed, r.first_seen_at, k.id, k.key_version, k.sealed, k.cloud_patient_id"
_IDENTITIES: Final = f"""
SELECT {_ROW}, r.lookup, r.cloud_patient_id
FROM study_identities AS r JOIN data_keys AS k ON k.id = r.data_key
WHERE r.organization = %s AND r.cloud_study_id = %s ORDER BY r.first_seen_at DESC, r.lookup
"""  # noqa: S608 - constants
_SUBJECT: Final = f"""
SELECT {_ROW} FROM subjects AS r JOIN data_keys AS k ON k.id = r.data_key
WHERE r.organization = %s AND r.cloud_patient_id = %s
"""  # noqa: S608 - constants
# A profile may have kept the UID: then the study is found by what is derived from it.
_STUDY: Final = """
SELECT cloud_study_id FROM studies
WHERE organization = %s AND (uid = %s::uuid OR (uid IS NULL AND cloud_study_id = %s))
"""
_SERIES: Final = f"""
SELECT {_ROW}, r.cloud_study_id FROM series AS r JOIN data_keys AS k ON k.id = r.data_key
WHERE r.organization = %s AND r.uid = %s
"""  # noqa: S608 - constants
_INSTANCE: Final = f"""
SELECT {_ROW}, s.cloud_study_id FROM instances AS r JOIN data_keys AS k ON k.id = r.data_key
LEFT JOIN series AS s ON s.organization = r.organization AND s.uid = r.series_uid
WHERE r.organization = %s AND r.uid = %s
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True, repr=False)
class SealedRow:
    """One row whose originals are sealed.

    Attributes:
        name: what the originals were bound to.
        cloud_patient_id: whose they are.
        more: the columns that only this table has.
    """

    table: str
    name: str
    sealed: bytes
    data_key: SealedDataKey
    first_seen_at: dt.datetime
    cloud_patient_id: str
    more: tuple[Any, ...] = ()

    def open(self, opener: Opener) -> tuple[str, ...]:
        """Open the originals.

        Raises:
            KeyUnavailable: no private key that opens them is held.
        """
        return opener.open(self.data_key, self.sealed, table=self.table, pseudonym=self.name)


@dataclass(frozen=True, slots=True, repr=False)
class Found:
    """What a question leads to; sealed still.

    Attributes:
        cloud_study_id: the one study that it names; None where it names a patient alone.
        identities: those of the study, the one received last first; or else the patient.
        series, instance: what was asked by their UIDs.
    """

    cloud_study_id: str | None
    identities: tuple[SealedRow, ...]
    series: SealedRow | None
    instance: SealedRow | None

    @property
    def cloud_patient_id(self) -> str:
        """Whose it is."""
        return self.identities[0].cloud_patient_id

    def open(self, opener: Opener) -> Reidentified:
        """Open everything.

        Raises:
            KeyUnavailable: no private key that opens it is held.
        """
        series = self.series.open(opener)[0] if self.series else None
        instance = self.instance.open(opener)[0] if self.instance else None
        first, *others = [
            replace(
                _opened(identity, self.cloud_study_id, opener),
                series_uid=series,
                sop_instance_uid=instance,
            )
            for identity in self.identities
        ]
        return replace(first, others=tuple(others))


class LookUp:
    """Follows the pseudonyms of one organisation, in one transaction."""

    def __init__(
        self, connection: "_Connection", organization: int, pseudonyms: Pseudonyms
    ) -> None:
        self._connection = connection
        self._number = organization
        self._pseudonyms = pseudonyms

    async def find(self, question: Question) -> Found:
        """Find the one patient, and the one study, that all pseudonyms of a question belong to.

        Raises:
            PseudonymNotFound: one of them was never issued to this organisation.
            DifferentPatients, DifferentStudies: they do not belong together.
        """
        series, instance = await self._series(question), await self._instance(question)
        studies = [*question.studies, await self._study(question)]
        studies += [row.more[0] for row in (series, instance) if row is not None]
        patients = [question.cloud_patient_id]
        if instance is not None and instance.more[0] is None:
            patients.append(instance.cloud_patient_id)
        named = list(dict.fromkeys([study for study in studies if study is not None]))
        identities = [await self._identities(study) for study in named]
        subjects = [await self._subject(patient) for patient in dict.fromkeys(patients) if patient]
        _require_one(identities, subjects)
        return Found(
            cloud_study_id=named[0] if named else None,
            identities=identities[0] if named else tuple(subjects),
            series=series,
            instance=instance,
        )

    async def _study(self, question: Question) -> str | None:
        uid = question.study_uid
        if uid is None:
            return None
        row = await self._row(_STUDY, _uuid(uid), self._pseudonyms.cloud_study_id(uid))
        if row is None:
            raise PseudonymNotFound
        return str(row[0])

    async def _series(self, question: Question) -> SealedRow | None:
        return await self._uid_row("series", _SERIES, question.series_uid)

    async def _instance(self, question: Question) -> SealedRow | None:
        return await self._uid_row("instances", _INSTANCE, question.sop_instance_uid)

    async def _uid_row(self, table: str, statement: str, uid: str | None) -> SealedRow | None:
        if uid is None:
            return None
        name = _uuid(uid)
        row = None if name is None else await self._row(statement, name)
        if name is None or row is None:
            raise PseudonymNotFound
        return self._sealed(table, name, row)

    async def _identities(self, cloud_study_id: str) -> tuple[SealedRow, ...]:
        found = await self._connection.execute(_IDENTITIES, [self._number, cloud_study_id])
        rows = tuple(
            [
                self._sealed(
                    "study_identities", identity_name(cloud_study_id, row[6]), row, patient=row[7]
                )
                for row in await found.fetchall()
            ]
        )
        if not rows:
            raise PseudonymNotFound
        return rows

    async def _subject(self, cloud_patient_id: str) -> SealedRow:
        row = await self._row(_SUBJECT, cloud_patient_id)
        if row is None:
            raise PseudonymNotFound
        return self._sealed("subjects", cloud_patient_id, row)

    async def _row(self, statement: str, *names: str | None) -> tuple[Any, ...] | None:
        return await (await self._connection.execute(statement, [self._number, *names])).fetchone()

    def _sealed(
        self, table: str, name: str, row: tuple[Any, ...], *, patient: str | None = None
    ) -> SealedRow:
        sealed, first_seen_at, key_id, key_version, sealed_key, key_patient, *more = row
        organization = self._pseudonyms.organization
        return SealedRow(
            table=table,
            name=name,
            sealed=sealed,
            data_key=SealedDataKey(key_id, organization, key_version, sealed_key),
            first_seen_at=first_seen_at,
            cloud_patient_id=patient or key_patient,
            more=tuple(more),
        )


def _require_one(studies: list[tuple[SealedRow, ...]], subjects: list[SealedRow]) -> None:
    """Check that studies and patients are one study of one patient, or one patient.

    A study that was received under two patients (a corrected Patient ID) belongs to either.
    """
    whose = [{identity.cloud_patient_id for identity in study} for study in studies]
    whose += [{subject.cloud_patient_id} for subject in subjects]
    if not set.intersection(*whose):
        raise DifferentPatients
    if len(studies) > 1:
        raise DifferentStudies


def _opened(row: SealedRow, cloud_study_id: str | None, opener: Opener) -> Reidentified:
    texts = row.open(opener)
    if cloud_study_id is None:
        return Reidentified(texts[0], texts[1], row.first_seen_at)
    return Reidentified(
        patient_id=texts[0],
        issuer_of_patient_id=texts[1],
        first_seen_at=row.first_seen_at,
        cloud_study_id=cloud_study_id,
        study_uid=texts[2],
        accession_number=texts[3],
    )


def _uuid(uid: str) -> str | None:
    """Return the UUID of a UID that this gateway may have made."""
    try:
        return uuid_of(uid)
    except ValueError:
        return None
