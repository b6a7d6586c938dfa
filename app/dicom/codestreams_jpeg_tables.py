"""Tables in segments of JPEG and JPEG-LS: where they end, and which of them a scan uses.

A table that others take the place of before the next scan, or that no scan selects, decides no
pixel: it goes, since anything may stand in it.

Source: ISO/IEC 10918-1, B.2.4; ISO/IEC 14495-1, C.2.4.1.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from app.dicom.edits import Edit
from app.errors import MalformedDicom

QUANTISATION: Final = 0xDB
HUFFMAN: Final = 0xC4
CONDITIONING: Final = 0xCC
RESTART: Final = 0xDD
PRESETS: Final = 0xF8
#: Destination of a Huffman table or of conditioning for AC coefficients, beside its number.
AC: Final = 0x10
#: Destination of JPEG-LS presets, by their kind.
THRESHOLDS, MAP, OVERSIZE = 0x100, 0x200, 0x400
_CONTINUED = 3
_MOST_CODES, _MOST_DC = 256, 16
_COUNTS = 16
_RESTART_BYTES, _THRESHOLDS_BYTES = 2, 11


@dataclass(slots=True)
class Table:
    """One table.

    Attributes:
        destination: which of its kind it is.
        content: as it stands in its segment.
        is_used: whether a scan selects it.
        continues: whether it adds to the one before instead of taking its place.
    """

    destination: int
    content: bytes
    is_used: bool = False
    continues: bool = False


class Tables:
    """The segments of one frame that hold tables."""

    def __init__(self) -> None:
        self._segments: list[tuple[int, int, int, list[Table]]] = []
        self._current: dict[tuple[int, int], list[Table]] = {}

    def add(self, marker: int, start: int, body: bytes) -> None:
        """Take in the segment that begins at ``start``.

        Raises:
            MalformedDicom: it does not begin with a table.
        """
        tables = list(_READERS[marker](body))
        if not tables:
            raise _wrong()
        self._segments.append((marker, start, start + 4 + len(body), tables))
        for table in tables:
            place = marker, table.destination
            if not table.continues:
                self._current[place] = []
            self._current.setdefault(place, []).append(table)

    def use(self, marker: int, destination: int = 0) -> None:
        """Say that a scan uses what is now in a destination, if something is."""
        for table in self._current.get((marker, destination), ()):
            if marker == HUFFMAN and not destination & AC and max(_symbols(table)) > _MOST_DC:
                raise _wrong()
            table.is_used = True

    def use_restart(self, *, is_ls: bool) -> None:
        """Say that a scan uses the restart interval; JPEG-LS has longer ones as well."""
        for table in self._current.get((RESTART, 0), ()):
            if not is_ls:
                table.content = table.content[:_RESTART_BYTES]
            elif len(table.content) > 2 * _RESTART_BYTES:
                raise _wrong()
            table.is_used = True

    def use_conditioning(self) -> None:
        """Say that a scan is coded arithmetically."""
        for marker, destination in self._current:
            if marker == CONDITIONING:
                self.use(marker, destination)

    def edits(self, frame: bytes | bytearray | memoryview) -> Iterator[Edit]:
        """Yield what leaves the used tables of each segment and nothing else."""
        for marker, start, stop, tables in self._segments:
            body = b"".join(table.content for table in tables if table.is_used)
            kept = bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body
            if not body:
                yield Edit(start, stop)
            elif bytes(frame[start:stop]) != kept:
                yield Edit(start, stop, kept)


def _wrong() -> MalformedDicom:
    return MalformedDicom("A table of a compressed frame is damaged")


def _quantisation(body: bytes) -> Iterator[Table]:
    """Yield 64 values of one or two bytes each, until something is no table."""
    position = 0
    while position < len(body) and body[position] & 0xEC == 0:
        stop = position + 1 + 64 * ((body[position] >> 4) + 1)
        if stop > len(body):
            return
        yield Table(body[position] & 3, body[position:stop])
        position = stop


def _huffman(body: bytes) -> Iterator[Table]:
    """Yield counts of codes and their symbols, until something is no table."""
    position = 0
    while position + 1 + _COUNTS < len(body) and body[position] & 0xEC == 0:
        count = sum(body[position + 1 : position + 1 + _COUNTS])
        stop = position + 1 + _COUNTS + count
        if not 0 < count <= _MOST_CODES or stop > len(body):
            return
        yield Table(body[position], body[position:stop])
        position = stop


def _symbols(table: Table) -> bytes:
    return table.content[1 + _COUNTS :]


def _conditioning(body: bytes) -> Iterator[Table]:
    """Yield the last entry for each table, until something is no entry."""
    entries: dict[int, bytes] = {}
    for at in range(0, len(body) - 1, 2):
        if body[at] & 0xEC:
            break
        entries[body[at]] = body[at : at + 2]
    for destination, entry in entries.items():
        yield Table(destination, entry)


def _restart(body: bytes) -> Iterator[Table]:
    if len(body) >= _RESTART_BYTES:
        yield Table(0, body)


def _presets(body: bytes) -> Iterator[Table]:
    """Yield the one preset of JPEG-LS that a segment holds."""
    kind = body[:1]
    if kind == b"\1" and len(body) >= _THRESHOLDS_BYTES:
        yield Table(THRESHOLDS, body[:_THRESHOLDS_BYTES])
    elif kind in {b"\2", b"\3"} and len(body) > 3 and body[2]:
        entries = (len(body) - 3) // body[2] * body[2]
        yield Table(MAP | body[1], body[: 3 + entries], continues=kind[0] == _CONTINUED)
    elif kind == b"\4" and len(body) >= 2 + 2 * body[1] > 2:
        yield Table(OVERSIZE, body[: 2 + 2 * body[1]])


_READERS: Final[dict[int, Callable[[bytes], Iterator[Table]]]] = {
    QUANTISATION: _quantisation,
    HUFFMAN: _huffman,
    CONDITIONING: _conditioning,
    RESTART: _restart,
    PRESETS: _presets,
}
#: Markers of segments that hold tables.
HOLDERS: Final = frozenset(_READERS)
