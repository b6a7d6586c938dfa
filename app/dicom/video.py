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
from app.dicom.video_mpeg_2 import mpeg_2_edits
from app.dicom.video_ts import PACKET, SYNC, TransportStream
from app.dicom.video_units import (
    MARK,
    Reader,
    behind_the_end,
    is_needed,
    most_bytes,
    parts_of,
)
from app.errors import LimitExceeded, MalformedDicom, UndecidableElement

_JPEG_ARC = "1.2.840.10008.1.2.4."
_MPEG_2 = frozenset(("100", "101"))
_H_264 = frozenset(("102", "103", "104", "105", "106"))
_H_265 = frozenset(("107", "108"))
_MAX_EDITS = 2_000_000
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
    if kind in _MPEG_2 and start.startswith(MARK + b"\xb3"):
        return _bounded(mpeg_2_edits(read, size))
    if start[:1] == bytes((SYNC,)) and size >= PACKET:
        return _bounded(_transport_stream(read, size, kind))
    if kind in _H_264 | _H_265 and start[4:8] == b"ftyp":
        return _bounded(mp4_edits(read, size, is_h_265=kind in _H_265))
    if kind in _H_264 | _H_265 and start.startswith((MARK, b"\0" + MARK)):
        return _bounded(_units(read, size, is_h_265=kind in _H_265))
    raise UndecidableElement("Metadata inside this kind of video cannot be found")


def _transport_stream(read: Reader, size: int, kind: str) -> Iterator[Edit]:
    stream = TransportStream(read, size)
    if kind in _MPEG_2:
        inside = mpeg_2_edits(stream.read, stream.size)
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


def _units(read: Reader, size: int, *, is_h_265: bool) -> Iterator[Edit]:
    """Blank units that are not needed, and bytes behind others: zeros may stand between them."""
    for start, stop in parts_of(read, size):
        begin = start + len(MARK)
        if stop <= begin:
            raise MalformedDicom("A unit of a video stream is empty")
        unit = read(begin, 1)
        if unit[0] & _FORBIDDEN:
            raise UndecidableElement("A video stream holds more than pictures")
        if is_needed(unit, is_h_265=is_h_265):
            yield from behind_the_end(read, begin, stop, most_bytes(unit, is_h_265=is_h_265))
        else:
            yield Edit(start, stop, bytes(stop - start))
