"""What a batch, a chunk and an item can be, and what may follow what. Pure."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Final

from app.errors import IllegalTransition


class Priority(IntEnum):
    """How urgent a batch is; a greater number goes first."""

    ROUTINE = 0
    URGENT = 1
    STAT = 2


class OnError(StrEnum):
    """What becomes of a batch in which some objects do not succeed."""

    HOLD = "hold"  # nothing is published
    SKIP = "skip"  # what succeeded is published, the rest is listed


class BatchState(StrEnum):
    """Where a batch stands."""

    QUEUED = "queued"  # accepted; no worker has looked at it
    PROCESSING = "processing"  # files are being found and de-identified
    PUBLISHING = "publishing"  # every file is decided; objects and manifest go out
    SUCCEEDED = "succeeded"  # everything is published, the manifest is there
    PARTIAL = "partial"  # skip: what succeeded is published, the manifest lists it
    HELD = "held"  # hold: something did not succeed, nothing is published
    FAILED = "failed"  # the batch as a whole could not be done; its code says why
    CANCELLED = "cancelled"


ENDED: Final = frozenset(
    {
        BatchState.SUCCEEDED,
        BatchState.PARTIAL,
        BatchState.HELD,
        BatchState.FAILED,
        BatchState.CANCELLED,
    }
)
"""Nothing works on a batch in one of these."""

WORKING: Final = frozenset({BatchState.PROCESSING, BatchState.PUBLISHING})

RETRIABLE: Final = frozenset({BatchState.PARTIAL, BatchState.HELD, BatchState.FAILED})

_FOLLOWING: Final[Mapping[BatchState, frozenset[BatchState]]] = {
    BatchState.QUEUED: frozenset({BatchState.PROCESSING, BatchState.FAILED, BatchState.CANCELLED}),
    BatchState.PROCESSING: frozenset(
        {
            BatchState.PUBLISHING,
            BatchState.HELD,
            BatchState.FAILED,
            BatchState.CANCELLED,
        }
    ),
    BatchState.PUBLISHING: frozenset(
        {
            BatchState.PROCESSING,  # staged results were lost and are made again
            BatchState.SUCCEEDED,
            BatchState.PARTIAL,
            BatchState.FAILED,
            BatchState.CANCELLED,
        }
    ),
    BatchState.SUCCEEDED: frozenset(),
    BatchState.PARTIAL: frozenset({BatchState.PROCESSING}),
    BatchState.HELD: frozenset({BatchState.PROCESSING, BatchState.CANCELLED}),
    BatchState.FAILED: frozenset({BatchState.QUEUED, BatchState.PROCESSING, BatchState.CANCELLED}),
    BatchState.CANCELLED: frozenset(),
}


class ChunkState(StrEnum):
    """Where a chunk of files stands."""

    PENDING = "pending"  # waits for a worker
    PROCESSING = "processing"  # a worker de-identifies it into its staging area
    PROCESSED = "processed"  # its results are staged; it may be published when its batch may
    PUBLISHING = "publishing"  # a worker publishes it
    PUBLISHED = "published"  # its objects are at the destination, or it had none to publish


class ItemState(StrEnum):
    """What became of one file."""

    SUCCEEDED = "succeeded"
    DUPLICATE = "duplicate"  # the same object came before, byte for byte; published once
    IGNORED = "ignored"  # no DICOM object: reported, and no obstacle to anything
    REFUSED = "refused"  # policy, or not a valid object; nothing of it leaves
    FAILED = "failed"  # could not be read, or broke the worker
    IN_REVIEW = "in_review"  # held until a person has looked at its pixels; then done again


UNSUCCESSFUL: Final = frozenset({ItemState.REFUSED, ItemState.FAILED})
"""What holds a batch, and what a retry tries again."""


def check_transition(old: BatchState, new: BatchState) -> None:
    """Refuse what may not follow.

    Raises:
        IllegalTransition: a batch in the old state does not come into the new one.
    """
    if new not in _FOLLOWING[old]:
        raise IllegalTransition(f"A batch that is {old} cannot become {new}")
