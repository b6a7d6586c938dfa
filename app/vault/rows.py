"""What the mapping's rows of one instance say: pseudonym, look-up hash, sealed originals.

Rows that are known to be committed are left out before anything is sealed. SQL is elsewhere.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from app.db.models.mapping import LOOKUP_BYTES
from app.errors import PseudonymCollision
from app.vault.mapping import Originals, Replacements
from app.vault.pseudonyms import ALPHABET, Pseudonyms
from app.vault.sealing import SealedDataKey, Sealer

NULL: Final = "NULL"

_CLOUD_STUDY_ID: Final = re.compile(rf"[{ALPHABET}]{{5}}-[{ALPHABET}]{{5}}-[{ALPHABET}]{{4}}")
_CLOUD_PATIENT_ID: Final = re.compile(rf"P[{ALPHABET}]{{12}}")
_UUID_UID: Final = re.compile(r"2\.25\.(0|[1-9][0-9]{0,38})")

RowKey = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One row to be written.

    Attributes:
        table: its table.
        key: table, organisation and pseudonym: what names the row.
        lookup: hash of the original; two rows of one key must agree in it.
        values: its columns. Numbers, UUIDs, hexadecimal and pseudonyms only, so that they can
            stand in an array literal as they are.
        data_key: what its originals are sealed with.
        cloud_patient_id: whose data key that is.
    """

    table: str
    key: RowKey
    lookup: bytes
    values: tuple[str, ...]
    data_key: SealedDataKey
    cloud_patient_id: str


@dataclass(frozen=True, slots=True, repr=False)
class Mapped:
    """One level of the mapping: an original, what stands for it, and what is kept of it.

    Attributes:
        table: where it is kept.
        name: the pseudonym as it stands in the row.
        lookup: hash of the original.
        texts: originals, to be sealed.
        extra: further columns.
    """

    table: str
    name: str
    lookup: bytes
    texts: tuple[str, ...]
    extra: tuple[str, ...] = ()

    def key(self, organization: str) -> RowKey:
        """Name the row; an identity is named by its hash as well."""
        if self.table == "study_identities":
            return (self.table, organization, self.name, self.lookup.hex())
        return (self.table, organization, self.name)


class RowBuilder:
    """Builds the rows of one organisation.

    Args:
        number: the organisation's number in the database.
        pseudonyms: the organisation's.
        sealer: seals the originals.
        known: the look-up hash that is known to be committed under a key, or None.
    """

    def __init__(
        self,
        number: int,
        pseudonyms: Pseudonyms,
        sealer: Sealer,
        known: Callable[[RowKey], bytes | None],
    ) -> None:
        self._number = str(number)
        self._pseudonyms = pseudonyms
        self._sealer = sealer
        self._known = known

    def rows(self, originals: Originals, replacements: Replacements) -> tuple[Row, ...]:
        """Build what is not known to be committed, parents first.

        Raises:
            PseudonymCollision: a committed row holds another original.
            ValueError: a replacement is none of this gateway's making.
        """
        if not _CLOUD_STUDY_ID.fullmatch(replacements.cloud_study_id):
            raise ValueError("the cloud study id is not in canonical form")
        if not _CLOUD_PATIENT_ID.fullmatch(replacements.cloud_patient_id):
            raise ValueError("the cloud patient id is not in canonical form")
        levels = [
            self._subject(originals, replacements),
            self._study(originals, replacements),
            self._identity(originals, replacements),
            *self._instance(originals, replacements),
        ]
        new = [level for level in levels if not self._is_committed(level)]
        return tuple([self._sealed(level, replacements.cloud_patient_id) for level in new])

    def _is_committed(self, level: Mapped) -> bool:
        committed = self._known(level.key(self._number))
        if committed is not None and committed != level.lookup:
            raise PseudonymCollision
        return committed is not None

    def _sealed(self, level: Mapped, cloud_patient_id: str) -> Row:
        data_key = self._sealer.data_key(self._pseudonyms.organization, cloud_patient_id)
        name = ":".join(level.key(self._number)[2:])
        sealed = data_key.seal(level.table, name, level.texts)
        stored = data_key.stored
        return Row(
            table=level.table,
            key=level.key(self._number),
            lookup=level.lookup,
            values=(
                self._number,
                level.name,
                level.lookup.hex(),
                sealed.hex(),
                str(stored.data_key_id),
                *level.extra,
            ),
            data_key=stored,
            cloud_patient_id=cloud_patient_id,
        )

    def _subject(self, originals: Originals, replacements: Replacements) -> Mapped:
        patient = (originals.patient_id, originals.issuer_of_patient_id)
        return Mapped(
            table="subjects",
            name=replacements.cloud_patient_id,
            lookup=self._lookup("subject", originals.subject or _framed(patient)),
            texts=patient,
        )

    def _study(self, originals: Originals, replacements: Replacements) -> Mapped:
        is_mapped = replacements.study_uid != originals.study_uid
        return Mapped(
            table="studies",
            name=replacements.cloud_study_id,
            lookup=self._lookup("study", originals.study_uid),
            texts=(originals.study_uid,),
            extra=(uuid_of(replacements.study_uid) if is_mapped else NULL,),
        )

    def _identity(self, originals: Originals, replacements: Replacements) -> Mapped:
        texts = (
            originals.patient_id,
            originals.issuer_of_patient_id,
            originals.study_uid,
            originals.accession_number,
        )
        whole = _framed((replacements.cloud_patient_id, *texts))
        return Mapped(
            table="study_identities",
            name=replacements.cloud_study_id,
            lookup=self._lookup("identity", whole),
            texts=texts,
            extra=(replacements.cloud_patient_id,),
        )

    def _instance(self, originals: Originals, replacements: Replacements) -> list[Mapped]:
        """Map series and SOP Instance; a UID that was kept needs no row."""
        series, levels = NULL, []
        if replacements.series_uid != originals.series_uid:
            series = uuid_of(replacements.series_uid)
            lookup = self._lookup("series", originals.series_uid)
            texts = (originals.series_uid,)
            levels.append(Mapped("series", series, lookup, texts, (replacements.cloud_study_id,)))
        if replacements.sop_instance_uid != originals.sop_instance_uid:
            name = uuid_of(replacements.sop_instance_uid)
            lookup = self._lookup("instance", originals.sop_instance_uid)
            levels.append(
                Mapped("instances", name, lookup, (originals.sop_instance_uid,), (series,))
            )
        return levels

    def _lookup(self, kind: str, value: str) -> bytes:
        return self._pseudonyms.lookup(kind, value)[:LOOKUP_BYTES]


def identity_name(cloud_study_id: str, lookup: bytes) -> str:
    """Return what an identity's originals were bound to when they were sealed."""
    return f"{cloud_study_id}:{lookup.hex()}"


def _framed(texts: Sequence[str]) -> str:
    """Join texts so that no two different sequences give the same text."""
    return "".join([f"{len(text)}:{text}" for text in texts])


def uuid_of(uid: str) -> str:
    """Write a UID ``2.25.n`` as the UUID that n is, in hexadecimal.

    Raises:
        ValueError: it is none of that form.
    """
    match = _UUID_UID.fullmatch(uid)
    number = int(match[1]) if match else 1 << 128
    if number >> 128:
        raise ValueError("a replacement UID is not a UUID under 2.25")
    return f"{number:032x}"
