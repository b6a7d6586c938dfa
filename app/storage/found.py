"""What a study source is: files found one by one, and each lent for reading.

Names can name patients: they are in no ``repr``, log or error.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from app.dicom.source import Source
from app.errors import GatewayError


@dataclass(frozen=True, slots=True, repr=False)
class Found:
    """One file of a source, or a reason why there is none.

    Attributes:
        name: path below the source with ``/``, member of the archive, or key below the prefix.
            Bytes that are not UTF-8 stand as surrogate escapes. A name that ends in ``/`` is a
            directory that could not be read; one with ``//`` is not a file that is there.
        size: in bytes, as the listing saw it.
        error: why it is reported without being opened.
    """

    name: str
    size: int
    error: type[GatewayError] | None = None


class StudySource(Protocol):
    """Files of one batch, wherever they rest. Blocking; safe to use from several threads."""

    def list(self, after: str = "") -> Iterator[Found]:
        """Yield every file once, in an order that stays, behind the name ``after``.

        Raises:
            StorageUnavailable: the source does not answer now.
        """

    def lend(self, name: str) -> AbstractContextManager[Source]:
        """Open one file for the time of a ``with`` block.

        Raises:
            SymbolicLink: a link that leads out, to a directory, or nowhere.
            NotARegularFile: a directory, device, FIFO or socket.
            UnreadableFile: it is gone, damaged, or may not be read.
            MissingReferencedFile: a DICOMDIR names it, and it is still not there.
            SourceNotAllowed: its name is none that a source can have.
            StorageUnavailable: the source does not answer now.
        """

    def close(self) -> None:
        """Let go of what the source holds; files that are lent stay open."""
