"""The manifest of a batch: written in one pass, in constant memory, and signed.

The text is canonical JSON (RFC 8785), so that the signature survives whatever writes the same
content in another form. Reading is in ``manifest_reader``, checking against the objects in
``verifying``.
"""

import datetime as dt
import hashlib
import shutil
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Final, Self
from uuid import UUID

from app.batches.manifest_schema import INSTANCE, MANIFEST, SERIES, STUDY, VERSION, Shape, canonical
from app.batches.records import Batch, ManifestEntry, object_name
from app.batches.states import Priority
from app.vault.signing import ALGORITHM, Signer, base64url

MANIFEST_NAME: Final = "manifest.json"
_PREFIX: Final = b"deid-gateway manifest v1\n"
_SPOOL_BYTES: Final = 4 << 20
_COPY_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestHeader:
    """What a manifest says of its batch as a whole.

    Attributes:
        submitted_at: with a time zone.
        revision: 1 for the first manifest of the batch.
    """

    batch_id: UUID
    organization: str
    priority: Priority
    submitted_at: dt.datetime
    revision: int
    profile: str
    profile_version: str


def header_of(batch: Batch) -> ManifestHeader:
    """Head the next manifest of a batch: the one after those that it has published so far."""
    return ManifestHeader(
        batch_id=batch.batch_id,
        organization=batch.organization,
        priority=batch.priority,
        submitted_at=batch.submitted_at,
        revision=batch.revision + 1,
        profile=batch.profile,
        profile_version=batch.profile_version,
    )


def signed_message(digest: bytes) -> bytes:
    """Return what is signed.

    Args:
        digest: SHA-256 of the canonical manifest without its member ``signature``.
    """
    return _PREFIX + digest


class ManifestWriter:
    """Writes one manifest; it is a whole one after ``finish``, whatever the context's end.

    The memory does not grow with the batch. The same header and entries give the same bytes.

    Args:
        file: empty, open for writing, seekable.
        signer: of this gateway.
        spool: directory for the text of a study whose objects are still being counted, if it is
            large; it has no name there. The system's own directory where this is None.

    Raises:
        ValueError: the header does not fit the schema.
    """

    def __init__(
        self, file: IO[bytes], header: ManifestHeader, signer: Signer, *, spool: Path | None = None
    ) -> None:
        self._file = file
        self._signer = signer.pinned()
        self._spool = spool
        self._header = header
        self._hash = hashlib.sha256()
        self._last = ("", "", "")
        self._study: _Study | None = None
        self._totals = dict.fromkeys(("bytes", "instances", "series", "studies"), 0)
        self._write("{" + _members(MANIFEST, MANIFEST.before, self._content()))
        self._signature_at = file.tell()
        file.write(self._signature(bytes(64)))  # until its value is known
        self._write(',"studies":[')

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._study is not None:
            self._study.close()

    def add(self, entries: Iterable[ManifestEntry]) -> None:
        """Take the next objects.

        Args:
            entries: ascending by cloud study id, series UID and SOP Instance UID (code points,
                not a language's order), over all calls.

        Raises:
            ValueError: they are not, one comes twice, or one does not fit the schema.
        """
        for entry in entries:
            key = (entry.cloud_study_id, entry.series_uid, entry.sop_instance_uid)
            if key <= self._last:
                raise ValueError("objects of a manifest come in order and once")
            self._last = key
            if self._study is None or self._study.cloud_study_id != entry.cloud_study_id:
                self._end_study()
                self._study = _Study(entry, self._spool)
            self._study.add(entry)

    def attach(self, *, size: int, sha256: bytes) -> None:
        """Say what the FHIR resource of the last object's study is.

        Raises:
            ValueError: there is no object yet.
        """
        if self._study is None:
            raise ValueError("a FHIR resource comes after the objects of its study")
        self._study.imaging_study = {"sha256": sha256.hex(), "size": size}

    def finish(self) -> None:
        """Write the rest and the signature."""
        self._end_study()
        self._write("]," + _members(MANIFEST, MANIFEST.after, self._content()) + "}")
        value = self._signer.sign(signed_message(self._hash.digest()))
        self._file.seek(self._signature_at)
        self._file.write(self._signature(value))
        self._file.seek(0, 2)
        self._file.flush()

    def _end_study(self) -> None:
        study, self._study = self._study, None
        if study is None:
            return
        with closing(study):
            self._write("," if self._totals["studies"] else "")
            study.write_to(self)
        self._totals["studies"] += 1
        self._totals["series"] += study.series
        self._totals["instances"] += study.instances
        self._totals["bytes"] += study.size

    def write(self, data: bytes) -> int:
        """Append to the signed part of the file."""
        self._hash.update(data)
        return self._file.write(data)

    def _write(self, text: str) -> None:
        self.write(text.encode())

    def _signature(self, value: bytes) -> bytes:
        signature = {
            "algorithm": ALGORITHM,
            "key_id": self._signer.key_id,
            "value": base64url(value),
        }
        return ("," + _members(MANIFEST, ("signature",), {"signature": signature})).encode()

    def _content(self) -> dict[str, object]:
        header = self._header
        submitted_at = header.submitted_at.astimezone(dt.UTC).isoformat(timespec="milliseconds")
        return {
            "batch_id": str(header.batch_id),
            "organization": header.organization,
            "priority": header.priority.name,
            "profile": {"name": header.profile, "version": header.profile_version},
            "revision": header.revision,
            "submitted_at": submitted_at.replace("+00:00", "Z"),
            "total_images": self._totals["instances"],
            "total_studies": self._totals["studies"],
            "totals": self._totals,
            "version": VERSION,
        }


class _Study:
    """One study while its objects are counted: their number stands before them in the text."""

    def __init__(self, first: ManifestEntry, spool: Path | None) -> None:
        self.cloud_study_id = first.cloud_study_id
        self.series = self.instances = self.size = 0
        self.imaging_study: dict[str, object] | None = None
        self._study_uid = first.study_uid
        self._series_uid = self._modality = ""
        self._text = SpooledTemporaryFile(_SPOOL_BYTES, dir=str(spool) if spool else None)  # noqa: SIM115 - closed when written

    def add(self, entry: ManifestEntry) -> None:
        if not self.series or entry.series_uid != self._series_uid:
            self._end_series()
            self.series += 1
            self._series_uid, self._modality = entry.series_uid, modality_code(entry.modality)
            opening = b'{"instances":[' if self.series == 1 else b',{"instances":['
            self._text.write(opening + _instance(entry))
        else:
            self._text.write(b"," + _instance(entry))
        self.instances += 1
        self.size += entry.size

    def write_to(self, output: ManifestWriter) -> None:
        """Write the study as a whole."""
        self._end_series()
        content = {
            "cloud_study_id": self.cloud_study_id,
            "image_count": self.instances,
            "imaging_study": self.imaging_study,
            "study_instance_uid": self._study_uid,
        }
        output.write(("{" + _members(STUDY, STUDY.before, content) + ',"series":[').encode())
        self._text.seek(0)
        shutil.copyfileobj(self._text, output, _COPY_BYTES)
        output.write(("]," + _members(STUDY, STUDY.after, content) + "}").encode())

    def close(self) -> None:
        """Give the memory or the nameless file back."""
        self._text.close()

    def _end_series(self) -> None:
        if self.series:
            content = {"modality": self._modality, "series_instance_uid": self._series_uid}
            self._text.write(("]," + _members(SERIES, SERIES.after, content) + "}").encode())


def _members(shape: Shape, keys: Iterable[str], content: Mapping[str, object]) -> str:
    return ",".join(f'"{key}":{_checked(shape, key, content[key])}' for key in keys)


def _checked(shape: Shape, key: str, value: object) -> str:
    text = canonical(value)
    if shape.patterns[key].fullmatch(text) is None:
        raise ValueError(f"{key} does not fit the schema of the manifest")
    return text


def modality_code(modality: str) -> str:
    """Leave out a modality that is no code: unlike all else, it can be the scanner's free text."""
    return modality if SERIES.patterns["modality"].fullmatch(f'"{modality}"') else ""


def _instance(entry: ManifestEntry) -> bytes:
    file = object_name(entry.cloud_study_id, entry.series_uid, entry.sop_instance_uid)
    text = (
        f'{{"file":"{file}","sha256":"{entry.sha256.hex()}","size":{entry.size},'
        f'"sop_class_uid":"{entry.sop_class_uid}","sop_instance_uid":"{entry.sop_instance_uid}"}}'
    )
    if INSTANCE.fullmatch(text) is None:
        raise ValueError("an object does not fit the schema of the manifest")
    return text.encode()
