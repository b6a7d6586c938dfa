"""The scan: lists a batch's source and cuts it into chunks, from wherever an earlier scan stopped.

Chunks go to the tables in growing groups: the first one at once, so that work begins, later ones
together. Nothing is kept of a chunk that is in the tables.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from app.batches.opening import OpenSources
from app.batches.processing import state_of
from app.batches.records import ScanClaim, SourceFile
from app.batches.states import OnError
from app.batches.work import BatchWork
from app.errors import LimitExceeded, StagingTooSmall
from app.storage.found import Found

LARGEST_GROUP: Final = 16
# A slow source gives what it has by then.
GROUP_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class ScanBounds:
    """How a source is cut, and how much of it is taken.

    Attributes:
        chunk_files: most files of a chunk.
        chunk_bytes: bytes at which a chunk is closed.
        max_files: most files of a batch.
        max_held_bytes: most bytes of a batch that is held back until it is whole; 0 for no bound.
    """

    chunk_files: int
    chunk_bytes: int
    max_files: int
    max_held_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Scanner:
    """What a worker process lists sources with."""

    work: BatchWork
    sources: OpenSources
    bounds: ScanBounds

    async def run(
        self, claim: ScanClaim, *, scanned_bytes: int, may_go_on: Callable[[], bool]
    ) -> bool:
        """List a source to its end; False when it was told to stop before, or lost the claim.

        Args:
            claim: where to begin.
            scanned_bytes: of what is listed already.
            may_go_on: asked before each group.

        Raises:
            Unavailable: the source or the tables do not answer; to be tried again from where the
                tables stand then.
            GatewayError: the batch as a whole cannot be done.
        """
        is_held = claim.on_error is OnError.HOLD and self.bounds.max_held_bytes
        size = 1
        async with self.sources.lent(
            claim.batch_id, claim.organization, claim.request.source
        ) as source:
            chunks = Chunks(source.list(claim.after), claim.next_seq, self.bounds)
            while may_go_on():
                group = await asyncio.to_thread(chunks.take, size)
                scanned_bytes += sum(file.size for chunk in group for file in chunk)
                if is_held and scanned_bytes > self.bounds.max_held_bytes:
                    raise StagingTooSmall
                if not group:
                    return await self.work.finish_scan(claim)
                following = await self.work.add_chunks(claim, group)
                if following is None:
                    return False
                claim, size = following, min(2 * size, LARGEST_GROUP)
        return False


class Chunks:
    """Cuts a listing into chunks.

    Args:
        found: the listing.
        next_seq: number of its first file.
    """

    def __init__(self, found: Iterator[Found], next_seq: int, bounds: ScanBounds) -> None:
        self._found = found
        self._next_seq = next_seq
        self._bounds = bounds

    def take(self, count: int) -> Sequence[Sequence[SourceFile]]:
        """Return the next chunks, fewer where time is up or the listing ends; none at its end.

        Raises:
            LimitExceeded: there are more files than a batch may have.
            StorageUnavailable: the source does not answer.
        """
        chunks: list[list[SourceFile]] = []
        until = time.monotonic() + GROUP_S
        while len(chunks) < count and (not chunks or time.monotonic() < until):
            chunk = self._next()
            if not chunk:
                break
            chunks.append(chunk)
        return chunks

    def _next(self) -> list[SourceFile]:
        chunk: list[SourceFile] = []
        size = 0
        for found in self._found:
            if self._next_seq >= self._bounds.max_files:
                raise LimitExceeded("The source holds more files than a batch may have")
            chunk.append(_file(self._next_seq, found))
            self._next_seq += 1
            size += found.size
            if len(chunk) >= self._bounds.chunk_files or size >= self._bounds.chunk_bytes:
                break
        return chunk


def _file(seq: int, found: Found) -> SourceFile:
    if found.error is None:
        return SourceFile(seq, found.name, found.size)
    return SourceFile(seq, found.name, 0, found.error.code, state_of(found.error))
