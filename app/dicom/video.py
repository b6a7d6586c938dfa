"""Video streams: what in them is no picture, and how to blank it in place.

Elementary streams of MPEG-2, H.264 and H.265, by themselves and in a transport stream; H.264 and
H.265 in MP4 too. Nothing is decoded and no length changes: what goes becomes zeros or filler, so
that the pictures decode to the same. A stream of another kind, with sound, or that is not
understood is refused.

Source: ISO/IEC 13818-2, 6.2; ISO/IEC 14496-10 and 23008-2, 7.3.1 and annex B; PS3.5 2026d, 8.2.
"""

from collections.abc import Iterator

from app.dicom.edits import Edit
from app.dicom.video_mp4 import mp4_edits
from app.dicom.video_ts import PACKET, SYNC, TransportStream
from app.dicom.video_units import Reader, is_needed
from app.errors import LimitExceeded, MalformedDicom, UndecidableElement

_JPEG_ARC = "1.2.840.10008.1.2.4."
_MPEG_2 = frozenset(("100", "101"))
_H_264 = frozenset(("102", "103", "104", "105", "106"))
_H_265 = frozenset(("107", "108"))
_PIECE = 1 << 20
_MAX_EDITS = 2_000_000
_MARK = b"\0\0\1"
_FORBIDDEN = 0x80  # never set in a unit, always in the packets of a program stream


def video_edits(read: Reader, size: int, transfer_syntax: str) -> list[Edit]:
    """Find everything in a video stream that is not needed to decode its pictures.

    Args:
        read: the stream.
        size: of the stream in bytes.
        transfer_syntax: of the SOP Instance, a video one.

    Returns:
        Edits in order that change no length.

    Raises:
        MalformedDicom: the stream contradicts its format.
        UndecidableElement: it is of a kind that is not understood here, or has sound.
    """
    kind = transfer_syntax.removeprefix(_JPEG_ARC).removesuffix(".1")
    start = read(0, min(size, 12))
    if kind in _MPEG_2 and start.startswith(_MARK + b"\xb3"):
        return _bounded(_mpeg_2(read, size))
    if start[:1] == bytes((SYNC,)) and size >= PACKET:
        return _bounded(_transport_stream(read, size, kind))
    if kind in _H_264 | _H_265 and start[4:8] == b"ftyp":
        return _bounded(mp4_edits(read, size, is_h_265=kind in _H_265))
    if kind in _H_264 | _H_265 and start.startswith((_MARK, b"\0" + _MARK)):
        return _bounded(_units(read, size, is_h_265=kind in _H_265))
    raise UndecidableElement("Metadata inside this kind of video cannot be found")


def _transport_stream(read: Reader, size: int, kind: str) -> Iterator[Edit]:
    stream = TransportStream(read, size)
    if kind in _MPEG_2:
        inside = _mpeg_2(stream.read, stream.size)
    else:
        inside = _units(stream.read, stream.size, is_h_265=kind in _H_265)
    edits = stream.edits + [one for edit in inside for one in stream.outside(edit)]
    yield from sorted(edits, key=lambda edit: edit.start)


def _bounded(edits: Iterator[Edit]) -> list[Edit]:
    found: list[Edit] = []
    for edit in edits:
        found.append(edit)
        if len(found) > _MAX_EDITS:
            raise LimitExceeded("A video has more metadata than the bound allows")
    return found


def _marks(read: Reader, size: int) -> Iterator[int]:
    """Yield where each start code begins, reading a piece at a time."""
    position = 0
    while position < size:
        piece = read(position, min(_PIECE, size - position))
        at = piece.find(_MARK)
        while at >= 0:
            yield position + at
            at = piece.find(_MARK, at + len(_MARK))
        if position + len(piece) >= size:
            return
        position += len(piece) - (len(_MARK) - 1)


def _parts(read: Reader, size: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of what each start code begins, the start code included."""
    before = -1
    for mark in _marks(read, size):
        if before >= 0:
            yield before, mark
        elif read(0, mark).strip(b"\0"):
            raise MalformedDicom("A video stream does not begin with a start code")
        before = mark
    if before >= 0:
        yield before, size


def _units(read: Reader, size: int, *, is_h_265: bool) -> Iterator[Edit]:
    """Blank units that are not needed: zeros may stand before each start code."""
    for start, stop in _parts(read, size):
        if stop - start <= len(_MARK):
            raise MalformedDicom("A unit of a video stream is empty")
        unit = read(start + len(_MARK), 1)
        if unit[0] & _FORBIDDEN:
            raise UndecidableElement("A video stream holds more than pictures")
        if not is_needed(unit, is_h_265=is_h_265):
            yield Edit(start, stop, bytes(stop - start))


# Start codes of MPEG-2 video.
_SLICES = range(0x01, 0xB0)
_PICTURE, _USER_DATA, _SEQUENCE, _EXTENSION = 0x00, 0xB2, 0xB3, 0xB5
_SEQUENCE_END, _GROUP = 0xB7, 0xB8
_KEPT = frozenset((_PICTURE, _SEQUENCE, _SEQUENCE_END, *_SLICES))
# Extensions that change how pictures decode; the copyright extension does not.
_EXTENSIONS = frozenset((1, 2, 3, 5, 7, 8, 9, 10))


def _mpeg_2(read: Reader, size: int) -> Iterator[Edit]:
    for start, stop in _parts(read, size):
        head = read(start, min(stop - start, 8))
        code = head[3] if len(head) > len(_MARK) else -1
        if code == _USER_DATA or (code == _EXTENSION and not _is_extension(head)):
            yield Edit(start, stop, bytes(stop - start))
        elif code == _GROUP and len(head) == 8:
            yield Edit(start + 4, start + 8, _group_without_time(head[4:]))
        elif code not in _KEPT and code not in {_EXTENSION, _GROUP}:
            raise UndecidableElement("A video stream holds more than pictures")


def _is_extension(head: bytes) -> bool:
    return len(head) > 4 and head[4] >> 4 in _EXTENSIONS


def _group_without_time(group: bytes) -> bytes:
    """Return a group header that begins at zero: the time code may be that of the day."""
    return bytes((0, 0x08, 0, group[3] & 0x60))
