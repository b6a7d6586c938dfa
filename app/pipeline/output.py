"""A result read like any other object: random access over its pieces, nothing copied whole."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from app.dicom.frames import Range, Segment, size_of, view_of
from app.dicom.source import Source, write_all
from app.errors import Truncated


class ResultSource:
    """The bytes of one result.

    Args:
        source: what ranges refer to; what is lent brings its own.
        segments: the pieces in their order.
    """

    __slots__ = ("_segments", "_source", "_starts", "size")

    def __init__(self, source: Source, segments: Sequence[Segment]) -> None:
        self._source = source
        self._segments = segments
        self._starts = [0, *accumulate(map(size_of, segments))]
        self.size = self._starts.pop()

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes from ``offset``."""
        return b"".join(self._parts(offset, size))

    def view(self, offset: int, size: int) -> bytes | memoryview:
        """Return the same bytes."""
        return self.read(offset, size)

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill ``target`` with the bytes from ``offset``."""
        at = 0
        for part in self._parts(offset, len(target)):
            target[at : at + len(part)] = part
            at += len(part)

    def send(self, target: int, offset: int, size: int) -> None:
        """Append a part to the file descriptor ``target``."""
        for part in self._parts(offset, size):
            write_all(target, part)

    def passes(self, start: int, stop: int) -> bool:
        """Say whether a part of the source is in the result in one piece."""
        return start == stop or any(
            isinstance(segment, Range)
            and segment.offset <= start
            and stop <= segment.offset + segment.size
            for segment in self._segments
        )

    def _parts(self, offset: int, size: int) -> Iterator[bytes | memoryview]:
        if offset + size > self.size:
            raise Truncated
        number = bisect_right(self._starts, offset) - 1
        while size:
            segment, inside = self._segments[number], offset - self._starts[number]
            taken = min(size, size_of(segment) - inside)
            if taken:
                yield view_of(segment, self._source, inside, taken)
            number, offset, size = number + 1, offset + taken, size - taken
