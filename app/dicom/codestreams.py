"""Compressed frames: what of them is metadata, and how to strip it without re-encoding.

Pure functions over the bytes of one frame. The answer is a list of edits, so that unchanged pixel
bytes are never copied here; entropy-coded data stay as they are and decode to the same values.
Each format is read in its own ``codestreams_`` module. Which frames are read and where the result
goes is not decided here.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import pairwise

from app.dicom.codestreams_boxes import bare_jxl_edits, jp2_edits, jxl_edits
from app.dicom.codestreams_jpeg import JpegWalk
from app.dicom.codestreams_jpeg_2000 import JPEG_2000_START, jpeg_2000_edits
from app.dicom.codestreams_jpeg_xl import JPEG_XL_START
from app.dicom.codestreams_packed import deflate_edits, rle_edits
from app.dicom.edits import Edit, Frame
from app.dicom.frame_sizes import FrameSize
from app.errors import MalformedDicom, UndecidableElement

_JPEG_START = b"\xff\xd8"
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_JXL_SIGNATURE = b"\x00\x00\x00\x0cJXL \r\n\x87\n"


class Codestream(StrEnum):
    """Kinds of frames, by what has to be understood to find their metadata."""

    NATIVE = "native"
    JPEG = "jpeg"
    JPEG_2000 = "jpeg-2000"
    JPEG_XL = "jpeg-xl"
    RLE = "rle"
    DEFLATE = "deflate"
    VIDEO = "video"
    UNKNOWN = "unknown"


def _kinds() -> dict[str, Codestream]:
    jpeg = "1.2.840.10008.1.2.4."
    kinds = dict.fromkeys((f"{jpeg}{number}" for number in (*range(50, 67), 70)), Codestream.JPEG)
    kinds |= dict.fromkeys((f"{jpeg}{number}" for number in (80, 81)), Codestream.JPEG)
    numbers = (90, 91, 92, 93, 201, 202, 203)
    kinds |= dict.fromkeys((f"{jpeg}{number}" for number in numbers), Codestream.JPEG_2000)
    kinds |= dict.fromkeys((f"{jpeg}{number}" for number in (110, 111, 112)), Codestream.JPEG_XL)
    for number in range(100, 109):
        kinds[f"{jpeg}{number}"] = kinds[f"{jpeg}{number}.1"] = Codestream.VIDEO
    kinds["1.2.840.10008.1.2.5"] = Codestream.RLE
    kinds["1.2.840.10008.1.2.8.1"] = Codestream.DEFLATE
    native = ("", ".1", ".2", ".1.98", ".1.99")
    return kinds | dict.fromkeys((f"1.2.840.10008.1.2{arc}" for arc in native), Codestream.NATIVE)


_KINDS = _kinds()


def codestream_of(transfer_syntax_uid: str) -> Codestream:
    """Name the kind of frames that a transfer syntax holds. Source: PS3.5 2026d, A.4."""
    return _KINDS.get(transfer_syntax_uid, Codestream.UNKNOWN)


def metadata_edits(
    frame: Frame, transfer_syntax_uid: str, size: FrameSize | None = None
) -> list[Edit]:
    """Find everything in one frame that is not needed to decode its pixels.

    The edits are in order and do not overlap; the edited frame has an even length and decodes to
    the same pixel values. An empty list means that the frame can stay as it is. What the decoder
    needs (JFIF, Adobe's and the JPEG-LS colour transform) stays in its minimal form. The content
    decides between the image formats, since frames are met under a neighbour's transfer syntax.

    Args:
        frame: the whole frame, its fragments joined.
        transfer_syntax_uid: of the SOP Instance.
        size: of what RLE and deflate unpack to; other formats say it themselves.

    Raises:
        MalformedDicom: the frame contradicts its format, or ends too early.
        UndecidableElement: the format is not understood, or its metadata cannot be told apart
            from what the pixels need.
    """
    kind = codestream_of(transfer_syntax_uid)
    if kind is Codestream.NATIVE:
        return []
    if kind in {Codestream.RLE, Codestream.DEFLATE}:
        if size is None:
            raise UndecidableElement("The size of a packed frame is not known")
        return (rle_edits if kind is Codestream.RLE else deflate_edits)(frame, size)
    if kind in {Codestream.VIDEO, Codestream.UNKNOWN}:
        raise UndecidableElement("Metadata inside this kind of compressed frame cannot be found")
    return _image_edits(frame)


_MARKS = {
    _JPEG_START: Codestream.JPEG,
    JPEG_2000_START: Codestream.JPEG_2000,
    _JP2_SIGNATURE: Codestream.JPEG_2000,
    JPEG_XL_START: Codestream.JPEG_XL,
    _JXL_SIGNATURE: Codestream.JPEG_XL,
}


def image_kind(start: bytes) -> Codestream:
    """Name the image format of a frame with these first bytes, of which 12 are enough."""
    kinds = (kind for mark, kind in _MARKS.items() if start.startswith(mark))
    return next(kinds, Codestream.UNKNOWN)


def _image_edits(frame: Frame) -> list[Edit]:
    start = bytes(frame[:12])
    if start.startswith(_JPEG_START):
        return JpegWalk(frame).edits()
    if start.startswith(JPEG_2000_START):
        return jpeg_2000_edits(frame, 0, len(frame), [])
    if start == _JP2_SIGNATURE:
        return jp2_edits(frame)
    if start.startswith(JPEG_XL_START):
        return bare_jxl_edits(frame)
    if start == _JXL_SIGNATURE:
        return jxl_edits(frame)
    raise MalformedDicom("A compressed frame does not begin like its format")


def frame_fragments(
    fragments: Sequence[tuple[int, int]],
    offset_table: Sequence[int],
    frame_count: int,
    begins_frame: Callable[[int], bool],
) -> list[range]:
    """Say which fragments make up each frame. Source: PS3.5 2026d, A.4.

    Args:
        fragments: offset of the content and length of each fragment, without the offset table.
        offset_table: the Basic Offset Table's values; empty where there is none.
        frame_count: Number of Frames.
        begins_frame: whether a fragment, by index, starts with its format's first marker; asked
            only where there is neither one fragment a frame nor an offset table.

    Raises:
        MalformedDicom: the fragments cannot be divided into that many frames.
    """
    if frame_count == 1:
        starts = [0]
    elif len(fragments) == frame_count:
        starts = list(range(frame_count))
    elif offset_table:
        first = fragments[0][0] if fragments else 0
        index = {offset - first: number for number, (offset, _) in enumerate(fragments)}
        starts = [index.get(offset, -1) for offset in offset_table]
    else:
        starts = [number for number in range(len(fragments)) if begins_frame(number)]
    rising = all(low < high for low, high in pairwise(starts))
    if len(starts) != frame_count or starts[:1] != [0] or not fragments or not rising:
        raise MalformedDicom("The fragments do not divide into the frames")
    stops = [*starts[1:], len(fragments)]
    return [range(start, stop) for start, stop in zip(starts, stops, strict=True)]
