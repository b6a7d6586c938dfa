"""What batches, chunks and items are made of on their way between the parts. Pure.

Names of files and directories at the source can name patients: they are never in a ``repr``,
and in the database they stand sealed.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from app.batches.states import BatchState, ItemState, OnError, Priority


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """What a batch is to do; stored sealed, because source and callback can name patients.

    Attributes:
        source: where the files are: ``{"kind": "directory", "root": …, "path": …}`` (path below
            root, ``.`` for the root itself), ``{"kind": "archive", "name": …}`` (a ZIP in the
            uploads of the staging area) or ``{"kind": "store", "name": …, "prefix": …}`` (a named
            object store), or ``{"kind": "url", "url": …}`` (the command line's own).
        destination: ``{"kind": "staging"}``, ``{"kind": "store", "name": …}`` or, from the command
            line, ``{"kind": "url", "url": …}``; ``"domain": …`` where its pseudonyms are its own.
        callback_url: who is told when the batch has ended.
        fhir: write a FHIR ImagingStudy beside every study.
    """

    source: Mapping[str, str]
    destination: Mapping[str, str]
    callback_url: str | None = None
    fhir: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class NewBatch:
    """A batch as it is handed in.

    Attributes:
        organization: id of the organisation.
        home: the staging area whose workers alone can do it (local destination, uploaded
            archive); None for any.
        idempotency_key: as the client sent it.
    """

    organization: str
    request: Request
    priority: Priority
    on_error: OnError
    profile: str
    profile_version: str
    actor: str
    api_key_id: str | None
    request_id: str | None
    home: UUID | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a batch waits for.

    Attributes:
        code: of an error that will be over.
        since: None where that is not known.
        until: when it is tried again; None where somebody looks all the time.
    """

    code: str
    since: dt.datetime | None = None
    until: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch as it stands; nothing in it can tell a patient.

    Attributes:
        batch_id: random UUID.
        version: grows with every change.
        total_files: files found so far, of whatever kind; final when ``is_scanned``.
        code: error code of a batch that failed as a whole.
        detail: public text to the code.
        revision: how often a manifest was published.
        problems: item codes and how often each came, of items that are not ``succeeded``.
        run_at: when it was last tried again; speed is counted from there.
        run_files: files decided before that; objects published in ``run_published``.
        waiting: what it waits for, where that is looked for.
        in_review_files: files that people have to decide about; not decided yet.
        is_reopening: it is tried again, and not all that is to be done again is open yet.
    """

    batch_id: UUID
    organization: str
    state: BatchState
    version: int
    priority: Priority
    on_error: OnError
    profile: str
    profile_version: str
    destination: str
    submitted_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    is_scanned: bool
    total_files: int
    total_bytes: int
    succeeded_files: int
    duplicate_files: int
    ignored_files: int
    refused_files: int
    failed_files: int
    published_files: int
    bytes_in: int
    bytes_out: int
    revision: int
    manifest_path: str | None
    staging_directory: str | None
    code: str | None
    detail: str | None
    problems: Mapping[str, int] = field(default_factory=dict)
    run_at: dt.datetime | None = None
    run_files: int | None = None
    run_bytes: int | None = None
    run_published: int | None = None
    waiting: Waiting | None = None
    in_review_files: int = 0
    is_reopening: bool = False

    @property
    def done_files(self) -> int:
        """Files of which it is known what became of them."""
        return (
            self.succeeded_files
            + self.duplicate_files
            + self.ignored_files
            + self.refused_files
            + self.failed_files
        )


@dataclass(frozen=True, slots=True, repr=False)
class SourceFile:
    """One file to be worked on.

    Attributes:
        seq: its number in the batch, from 0, in the order of the source.
        name: path below the source with ``/``, member of the archive, or key below the prefix;
            a file system's bytes that are not UTF-8 stand as surrogate escapes.
        size: in bytes, as the scan saw it.
        code: why it is not worked on at all, such as ``not-a-regular-file``; empty otherwise.
        state: what it then is.
    """

    seq: int
    name: str
    size: int
    code: str = ""
    state: ItemState = ItemState.REFUSED


@dataclass(frozen=True, slots=True, repr=False)
class ItemResult:
    """What became of one file.

    Attributes:
        file: the file.
        code: error code; empty for ``succeeded``.
        detail: the error's public text; never a value.
        element_path: the element to blame.
        warnings: codes (with element paths) for the receiver.
        cloud_patient_id: whose data key seals the file's name; empty where unknown.
        patient_id: Patient ID (0010,0020) of the result.
        size: of the result in bytes.
        sha256: of the result.
        modality: Modality (0008,0060) of the result.
        quarantine_id: under which a file in review is held; empty otherwise.
    """

    file: SourceFile
    state: ItemState
    code: str = ""
    detail: str = ""
    element_path: str = ""
    warnings: Sequence[str] = ()
    cloud_study_id: str = ""
    cloud_patient_id: str = ""
    patient_id: str = ""
    study_uid: str = ""
    series_uid: str = ""
    sop_instance_uid: str = ""
    sop_class_uid: str = ""
    modality: str = ""
    size: int = 0
    sha256: bytes = b""
    quarantine_id: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class ScanClaim:
    """The right to list a batch's source; void as soon as the epoch in the database is another.

    Attributes:
        next_seq: number of the next file to be listed.
        next_chunk: number of the next chunk.
        after: name of the last file listed before; empty at the beginning.
        is_reopening: pages of the batch are to be opened again before anything is listed.
    """

    batch_id: UUID
    organization: str
    epoch: int
    request: Request
    priority: Priority
    on_error: OnError
    next_seq: int
    next_chunk: int
    after: str
    is_reopening: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class ChunkClaim:
    """The right to de-identify a chunk; void as soon as the epoch in the database is another.

    Attributes:
        epoch: grows with every claim of this chunk.
        attempts: claims so far that were not given back, this one included.
        files: what is to be done.
    """

    batch_id: UUID
    organization: str
    number: int
    epoch: int
    attempts: int
    request: Request
    priority: Priority
    on_error: OnError
    profile: str
    profile_version: str
    actor: str
    request_id: str | None
    files: Sequence[SourceFile]


@dataclass(frozen=True, slots=True)
class StagedObject:
    """One object that lies in the staging area and is to be published."""

    seq: int
    cloud_study_id: str
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True, repr=False)
class PublishClaim:
    """The right to publish a chunk's objects.

    Attributes:
        epoch: of the publishing; grows with every claim.
        staged_epoch: of the processing that staged the objects: names their directory.
        is_first: no earlier claim can have published anything of it.
        attempts: claims so far, this one included.
    """

    batch_id: UUID
    organization: str
    number: int
    epoch: int
    staged_epoch: int
    is_first: bool
    attempts: int
    request: Request
    priority: Priority
    objects: Sequence[StagedObject]


@dataclass(frozen=True, slots=True, repr=False)
class FinishClaim:
    """The right to publish the manifest of a batch and to end it."""

    batch: Batch
    epoch: int
    request: Request


@dataclass(frozen=True, slots=True, repr=False)
class CleanClaim:
    """Something to be tidied up.

    Attributes:
        kind: ``staged`` (the batch's directories in this worker's staging area), ``upload`` (its
            archive there) or ``published`` (its objects at the destination).
    """

    leftover_id: int
    batch_id: UUID
    organization: str
    kind: str
    request: Request
    attempts: int


@dataclass(frozen=True, slots=True, repr=False)
class CallbackClaim:
    """A client to be told that its batch has ended."""

    batch: Batch
    url: str
    attempt: int


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One published object, in the order study, series, instance."""

    cloud_study_id: str
    study_uid: str
    series_uid: str
    modality: str
    sop_instance_uid: str
    sop_class_uid: str
    size: int
    sha256: bytes
    patient_id: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One file of a batch as the interface shows it; its name at the source is not in it."""

    seq: int
    state: ItemState
    code: str
    detail: str
    element_path: str
    warnings: tuple[str, ...]
    cloud_study_id: str
    series_uid: str
    sop_instance_uid: str
    file: str
    size: int
    sha256: str
    quarantine_id: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Original:
    """Which file at the source an item was; for the scopes batch and reidentify together."""

    seq: int
    state: ItemState
    code: str
    name: str
    cloud_study_id: str
    sop_instance_uid: str


def object_name(cloud_study_id: str, series_uid: str, sop_instance_uid: str) -> str:
    """Name a published object below its batch, by pseudonyms alone."""
    return f"{cloud_study_id}/{series_uid or 'no-series'}/{sop_instance_uid}.dcm"
