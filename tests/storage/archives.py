"""ZIP archives of every kind, honest and hostile, and how to falsify one."""

import os
import struct
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from app.storage.archives import ArchiveBounds, ArchiveSource, Contents
from app.storage.lending import Handle

CENTRAL = struct.Struct("<4s6H3L5H2L")
#: Offsets of fields in an entry of the table of contents.
FLAGS, METHOD, CRC, PACKED, SIZE, ATTRIBUTES, START = 8, 10, 16, 20, 24, 38, 42


class Unseekable(BytesIO):
    """A stream: zipfile writes data descriptors behind the members."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise OSError

    def seek(self, *_: int) -> int:
        raise OSError


def archive(
    members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED, *, stream: bool = False
) -> bytes:
    """Make an honest archive."""
    buffer = Unseekable() if stream else BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def entry(data: bytes, number: int = 0) -> int:
    """Return where an entry of the table of contents begins."""
    position = -1
    for _ in range(number + 1):
        position = data.index(b"PK\x01\x02", position + 1)
    return position


def falsified(data: bytes, offset: int, value: int, *, form: str = "<L", number: int = 0) -> bytes:
    """Change one field of an entry of the table of contents."""
    changed = bytearray(data)
    struct.pack_into(form, changed, entry(data, number) + offset, value)
    return bytes(changed)


def source_of(path: Path, data: bytes, bounds: ArchiveBounds | None = None) -> ArchiveSource:
    """Write an archive and open it, with the spool beside it."""
    path.write_bytes(data)
    spool = path.parent / "spool"
    spool.mkdir(exist_ok=True)
    bounds = bounds or ArchiveBounds()
    with path.open("rb") as file:
        handle = Handle(os.dup(file.fileno()))
    return ArchiveSource(handle, Contents(handle.fd, bounds), spool=spool, bounds=bounds)
