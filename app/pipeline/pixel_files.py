"""Files without a name from which child processes read objects, and into which they write."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from app.dicom.source import FileSource, Source, write_all
from app.errors import StorageUnavailable
from app.pipeline.side_work import PixelParts

_PIECE_BYTES: Final = 1 << 20


class KeptFile(FileSource):
    """A file without a name that is closed when nobody needs it any more."""

    __slots__ = ()

    def __del__(self) -> None:
        os.close(self.fd)


@asynccontextmanager
async def lent(source: Source, parts: PixelParts) -> AsyncIterator[int]:
    """Lend a descriptor from which a child reads a source: its own, or that of a copy."""
    if isinstance(source, FileSource):
        yield source.fd
        return
    copy = await asyncio.to_thread(_copied, source, parts)
    yield copy.fd


def _copied(source: Source, parts: PixelParts) -> KeptFile:
    copy = KeptFile(parts.scratch(source.size), source.size)
    try:
        for start in range(0, source.size, _PIECE_BYTES):
            write_all(copy.fd, source.view(start, min(_PIECE_BYTES, source.size - start)))
    except OSError as error:
        raise StorageUnavailable(
            f"No room for the pixels of an object ({error.strerror})"
        ) from None
    return copy
