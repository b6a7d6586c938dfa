"""Native pixels read with some of their bits cleared, a piece at a time."""

from app.dicom.source import Source


class ClearedSource:
    """Samples of another source without the bits that are not kept.

    Args:
        source: where they lie.
        start: of the first sample.
        size: of all samples in bytes.
        kept: one sample whose bits are those that stay, little endian.
    """

    __slots__ = ("_kept", "_source", "_start", "size")

    def __init__(self, source: Source, start: int, size: int, kept: bytes) -> None:
        self._source = source
        self._start = start
        self._kept = kept
        self.size = size

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes from ``offset``."""
        data = self._source.read(self._start + offset, size)
        width = len(self._kept)
        phase = offset % width
        kept = (self._kept * (size // width + 2))[phase : phase + size]
        value = int.from_bytes(data, "little") & int.from_bytes(kept, "little")
        return value.to_bytes(size, "little")

    def view(self, offset: int, size: int) -> bytes | memoryview:
        """Return the same bytes."""
        return self.read(offset, size)

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill ``target`` with the bytes from ``offset``."""
        target[:] = self.read(offset, len(target))
