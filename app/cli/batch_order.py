"""What somebody asks of ``deid-gateway batch``, and what its two ways of doing it share."""

from dataclasses import dataclass
from enum import StrEnum


class SourceKind(StrEnum):
    """Where the files of a batch are."""

    DIRECTORY = "directory"
    ARCHIVE = "archive"
    URL = "url"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Order:
    """One batch, as it is asked for on the command line.

    Attributes:
        source: path or URL.
        kind: what that is.
        destination: URL, directory or name of a store; None for the staging area.
        organization: None for the settings' or the API key's own.
        profile: None for the usual one.
        priority: ``ROUTINE``, ``URGENT`` or ``STAT``.
        on_error: ``hold`` or ``skip``.
        watch: follow the batch to its end.
        fhir: write a FHIR ImagingStudy beside every study.
        callback: who is told when it has ended.
        idempotency_key: tells this batch from every other one.
    """

    source: str
    kind: SourceKind
    destination: str | None
    organization: str | None
    profile: str | None
    priority: str
    on_error: str
    watch: bool
    fhir: bool
    callback: str | None
    idempotency_key: str
