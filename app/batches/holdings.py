"""What one worker process is and holds: its id, its sign of life, its claims."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from uuid import UUID

from app.batches.heartbeat import Heartbeat
from app.batches.records import ChunkClaim, FinishClaim, PublishClaim, ScanClaim
from app.batches.standing import Key, key_of
from app.batches.work import Claim


class Holdings:
    """The claims that a worker process works on.

    Args:
        heartbeat: of the worker.
    """

    def __init__(self, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat
        self._claims: dict[Key, Claim] = {}

    @property
    def worker(self) -> UUID:
        """The worker's id."""
        return self._heartbeat.worker

    @property
    def claims(self) -> Collection[Claim]:
        """All claims that are worked on."""
        return tuple(self._claims.values())

    def keys(self) -> Collection[Key]:
        """Name them."""
        return self._claims.keys()

    def holds(self, claim: ChunkClaim | PublishClaim) -> bool:
        """Whether a claim still holds, as far as is known."""
        return self._heartbeat.holds(claim)

    @contextmanager
    def watching(self, claim: Claim) -> Iterator[None]:
        """Count a claim among them for the time of a ``with`` block."""
        key = key_of(claim)
        self._claims[key] = claim
        if isinstance(claim, ChunkClaim | PublishClaim):
            self._heartbeat.take(claim)
        try:
            yield
        finally:
            del self._claims[key]
            if isinstance(claim, ChunkClaim | PublishClaim):
                self._heartbeat.drop(claim)


def batch_of(claim: ScanClaim | ChunkClaim | PublishClaim | FinishClaim) -> UUID:
    """Return the batch that a claim is on."""
    return key_of(claim)[0]
