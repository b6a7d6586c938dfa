"""Overwrites marked pixels, frame by frame, and leaves all others as they are.

The child's side of the kind ``mask``. One frame is in memory at a time. Every frame that is
encoded anew is decoded again and compared before it is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from app.dicom.codestreams import Codestream, codestream_of
from app.dicom.frames import ENCAPSULATED_NATIVE
from app.dicom.source import FileSource, write_all
from app.errors import MalformedDicom, UndecidableElement
from app.pixels.codecs import Frame, cleaned, decode, encode, even, native_bytes
from app.pixels.codecs_blocks import Unit, grown, mask_blocks, unit_of
from app.pixels.codecs_headers import Format, Header, header_of
from app.pixels.codecs_streams import is_transformed
from app.pixels.masking_values import black, fill, layout_of, ranges, tidied, used_entries
from app.pixels.model import Box, Mark, Picture
from app.pixels.rendering import covers, first_bit
from app.pixels.wire import picture_from_json

_RECOMPRESSED: Final = "1.2.840.10008.1.2.4.111"


@dataclass(slots=True, repr=False)
class _Work:
    """What is asked for, and what has come of it so far.

    Attributes:
        used: entries of the palette that a written frame meets; None without a palette.
        rest: bits of frames of single bits that do not fill a byte yet.
        unit: what JPEG blocks were grown to.
        photometric: what re-encoded frames mean now, where it is not what they meant.
    """

    picture: Picture
    marks: list[Mark]
    allows_loss: bool
    is_lossy_again: bool = False
    frames_changed: int = 0
    used: NDArray[np.bool_] | None = None
    rest: list[NDArray[np.uint8]] = field(default_factory=list)
    unit: Unit | None = None
    photometric: set[str] = field(default_factory=set)

    def boxes(self, number: int) -> list[Box]:
        """Return what is overwritten in a frame, inside of it."""
        columns, rows = self.picture.columns, self.picture.rows
        boxes = [mark.box.clipped(columns, rows) for mark in self.marks if covers(mark, number)]
        return [box for box in boxes if box.area]


def mask(task: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """Write every frame, masked, to the second descriptor: the child's side of ``mask``.

    Args:
        task: ``picture``, ``frames`` (pieces in the source), ``marks``, and ``lossy``: "allow"
            where a frame that cannot be masked otherwise may lose by being encoded again.
        fds: the source, and the output, which is written from its position on.

    Returns:
        ``lengths`` of the frames as written, even for encapsulated ones; single bits and odd
        native frames follow each other without padding. ``used_entries`` of the palette as
        ranges, ``grown_to`` for JPEG blocks, ``photometric`` where all frames mean something
        else now, ``changed_outside``: samples outside of the (grown) marks that differ.

    Raises:
        MalformedDicom: a frame is damaged, or is not what the header says.
        UndecidableElement: a frame cannot be masked without a loss, or at all.
    """
    picture = picture_from_json(task["picture"])
    work = _Work(
        picture,
        [Mark.from_json(mark) for mark in task.get("marks", ())],
        allows_loss=task.get("lossy") == "allow",
    )
    if picture.photometric == "PALETTE COLOR" and picture.palette is not None:
        work.used = np.zeros(picture.palette.entries, np.bool_)
    source = FileSource(fds[0])
    lengths = []
    for number, pieces in enumerate(task["frames"]):
        data = b"".join(source.read(offset, size) for offset, size in pieces)
        written = _written(data, number, work)
        write_all(fds[1], written)
        lengths.append(len(written))
    if work.rest:
        last = np.packbits(np.concatenate(work.rest), bitorder="little").tobytes()
        write_all(fds[1], last)
        lengths[-1] += len(last)
    return _answer(work, lengths)


def _answer(work: _Work, lengths: list[int]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "lengths": lengths,
        "is_lossy_again": work.is_lossy_again,
        "frames_changed": work.frames_changed,
        "used_entries": None if work.used is None else ranges(work.used),
        "grown_to": None if work.unit is None else [work.unit.width, work.unit.height],
        "changed_outside": 0,
    }
    if len(work.photometric) == 1 and work.frames_changed == len(lengths):
        answer["photometric"] = work.photometric.pop()
    return answer


def _written(data: bytes, number: int, work: _Work) -> bytes:
    kind, boxes = codestream_of(work.picture.transfer_syntax), work.boxes(number)
    if kind is Codestream.NATIVE:
        return _native(data, number, boxes, work)
    if kind in {Codestream.RLE, Codestream.DEFLATE}:
        return _encoded(data, boxes, work) or cleaned(data, work.picture)
    clean = cleaned(data, work.picture)
    header = header_of(clean)
    header.agree(work.picture)
    if header.format is Format.JPEG_DCT:
        return _dct(clean, header, boxes, work) if boxes else clean
    if work.picture.transfer_syntax == _RECOMPRESSED:
        return _recompressed(data, boxes, work) if boxes else clean
    has_more_bits = header.bits == 0 or header.bits > work.picture.bits_stored
    if not boxes and not has_more_bits and work.used is None:
        return clean
    return _encoded(clean, boxes, work) or clean


def _overwritten(frame: Frame, boxes: Sequence[Box], work: _Work) -> Frame:
    """Return a frame without marked pixels and unused bits; the same one if that is nothing."""
    layout = layout_of(frame, work.picture)
    tidy, is_extended = tidied(frame, layout)
    if boxes:
        levels = black(frame.photometric, work.picture)
        tidy = fill(tidy, boxes, levels, layout, extended=is_extended)
    used_entries(tidy, work.picture, work.used)
    work.frames_changed += tidy is not frame
    return tidy


def _native(data: bytes, number: int, boxes: Sequence[Box], work: _Work) -> bytes:
    bit = first_bit(work.picture, number)
    frame = _overwritten(decode(data, work.picture, bit=bit), boxes, work)
    is_encapsulated = work.picture.transfer_syntax == ENCAPSULATED_NATIVE
    if frame.bits > 1 or is_encapsulated:
        written = native_bytes(frame, work.picture)
        return even(written) if is_encapsulated else written
    bits = np.concatenate([*work.rest, frame.values.reshape(-1)])
    whole = bits.size // 8 * 8
    work.rest = [bits[whole:]] if whole < bits.size else []
    return np.packbits(bits[:whole], bitorder="little").tobytes()


def _encoded(data: bytes, boxes: Sequence[Box], work: _Work) -> bytes:
    """Return a frame encoded anew; empty where nothing of it changes."""
    frame = decode(data, work.picture)
    masked = _overwritten(frame, boxes, work)
    if masked is frame:
        return b""
    encoded = encode(masked, work.picture)
    again = decode(encoded, work.picture)
    if not np.array_equal(again.values, masked.values):
        raise UndecidableElement("A frame that was encoded again is not what it was")
    if frame.photometric == "RGB" and work.picture.photometric == "YBR_ICT":
        work.photometric.add("YBR_RCT")
    return encoded


# --- JPEG that loses ----------------------------------------------------------------------------


def _dct(data: bytes, header: Header, boxes: Sequence[Box], work: _Work) -> bytes:
    picture = work.picture
    if picture.photometric == "PALETTE COLOR":
        raise UndecidableElement("Values that stand for colours are not in a format that loses")
    is_ybr = is_transformed(header, picture)
    levels = black("YBR_FULL" if is_ybr else picture.photometric, _of(picture, header))
    unit = unit_of(header)
    try:
        masked = cleaned(mask_blocks(data, header, boxes, levels=levels), picture)
    except UndecidableElement:
        if not work.allows_loss:
            raise
        return _lossy(data, header, boxes, work)
    _compare(data, masked, [grown(box, unit) for box in boxes], unit, work)
    work.unit = unit
    work.frames_changed += 1
    return masked


def _of(picture: Picture, header: Header) -> Picture:
    """Return a picture whose values are as wide as the codestream's, and never signed."""
    return replace(picture, bits_stored=header.bits, signed=False)


def _compare(before: bytes, after: bytes, boxes: Sequence[Box], unit: Unit, work: _Work) -> None:
    """Check that pixels outside of the boxes are what they were.

    Decoders smooth subsampled colour over the edge of a block, so beside a box it is not looked.

    Raises:
        UndecidableElement: they are not.
    """
    first, second = decode(before, work.picture), decode(after, work.picture)
    changed = first.values != second.values
    margin = 0 if (unit.width, unit.height) == (8, 8) else 2
    for box in boxes:
        changed[
            max(box.top - margin, 0) : box.bottom + margin,
            max(box.left - margin, 0) : box.right + margin,
        ] = False
    if changed.any():
        raise UndecidableElement("A frame whose blocks were overwritten is not what it was")


def _lossy(data: bytes, header: Header, boxes: Sequence[Box], work: _Work) -> bytes:
    """Decode, overwrite and encode with the highest quality; the frame loses again by that."""
    frame = decode(data, work.picture)
    levels = black(frame.photometric, _of(work.picture, header))
    values = np.array(frame.values)
    for box in boxes:
        values[box.top : box.bottom, box.left : box.right] = levels
    is_colour = values.ndim == 3
    space = "YCBCR" if is_transformed(header, work.picture) else "RGB"
    try:
        encoded = imagecodecs.jpeg8_encode(
            values,
            level=100,
            colorspace="RGB" if is_colour else None,
            outcolorspace=space if is_colour else None,
            subsampling="444" if is_colour else None,
            bitspersample=header.bits,
        )
    except (RuntimeError, ValueError):
        raise UndecidableElement("A frame cannot be encoded as it was") from None
    work.is_lossy_again = True
    work.frames_changed += 1
    if space == "YCBCR" and work.picture.photometric == "YBR_FULL_422":
        work.photometric.add("YBR_FULL")
    return cleaned(even(bytes(encoded)), work.picture)


def _recompressed(data: bytes, boxes: Sequence[Box], work: _Work) -> bytes:
    """Overwrite blocks of the JPEG that a JPEG XL frame was made from, and make it one again."""
    try:
        jpeg = bytes(imagecodecs.jpegxl_decode_jpeg(data, numthreads=1))
    except (RuntimeError, ValueError):
        raise UndecidableElement("A JPEG XL frame was not made from a JPEG") from None
    header = header_of(jpeg)
    header.agree(work.picture)
    if header.format is not Format.JPEG_DCT:
        raise MalformedDicom("A JPEG XL frame was made from a JPEG of another kind")
    masked = _dct(jpeg, header, boxes, replace(work, allows_loss=False))
    work.frames_changed += 1
    work.unit = unit_of(header)
    encoded = imagecodecs.jpegxl_encode_jpeg(masked, usecontainer=False, numthreads=1)
    return cleaned(even(bytes(encoded)), work.picture)
