"""What the headers of codestreams say: format, size, precision, components."""

import struct
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from app.errors import MalformedDicom, UndecidableElement
from app.pixels.model import Picture


class Format(StrEnum):
    """Formats of compressed images, by how they are decoded."""

    JPEG_DCT = "jpeg-dct"
    JPEG_LOSSLESS = "jpeg-lossless"
    JPEG_LS = "jpeg-ls"
    JPEG_2000 = "jpeg-2000"
    HTJ2K = "htj2k"
    JPEG_XL = "jpeg-xl"


@dataclass(frozen=True, slots=True)
class Component:
    """One component: its id, how often it is sampled beside others, its quantisation table."""

    number: int
    horizontal: int = 1
    vertical: int = 1
    quantisation: int = 0


@dataclass(frozen=True, slots=True)
class Header:
    """What a codestream says of itself; 0 and no components where that is not read.

    Attributes:
        marker: of the JPEG frame header.
        is_signed: of JPEG 2000.
        has_transform: whether three components are transformed, in JPEG 2000.
        transform: of Adobe's segment; None without one.
        predictor: of lossless JPEG.
        interleave: of JPEG-LS: by plane, line or pixel.
    """

    format: Format
    rows: int = 0
    columns: int = 0
    bits: int = 0
    components: tuple[Component, ...] = ()
    marker: int = 0
    is_signed: bool = False
    has_transform: bool = False
    transform: int | None = None
    has_jfif: bool = False
    predictor: int = 1
    interleave: int = 0

    def agree(self, picture: Picture) -> None:
        """Raise MalformedDicom where the header of the instance says something else."""
        if self.format is Format.JPEG_XL:
            return
        size = (self.rows, self.columns, len(self.components))
        if size != (picture.rows, picture.columns, picture.samples):
            raise MalformedDicom("A frame has another size than the header says")
        if self.bits > picture.bits_allocated:
            raise MalformedDicom("A frame has more bits than the header says")


_JPEG, _J2K = b"\xff\xd8", b"\xff\x4f\xff\x51"
_JXL: Final = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")
_SOF_LS, _SOS = 0xF7, 0xDA
_SOFS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {_SOF_LS}
_LOSSLESS: Final = 0xC3
_COD, _CAP, _SOT = 0xFF52, 0xFF50, 0xFF90


def header_of(data: bytes) -> Header:
    """Read a codestream's header.

    Raises:
        MalformedDicom: it is none, or ends too early.
        UndecidableElement: its kind is not decoded.
    """
    try:
        if data.startswith(_JPEG):
            return _jpeg(data)
        if data.startswith(_J2K):
            return _jpeg_2000(data)
    except (struct.error, IndexError):
        raise MalformedDicom("A compressed frame ends too early") from None
    if data.startswith(_JXL):
        return Header(Format.JPEG_XL)
    raise MalformedDicom("A compressed frame does not begin like its format")


def segments(data: bytes) -> list[tuple[int, int, int]]:
    """Return marker, start and end of each segment up to the first scan's header, included."""
    found, position = [], 2
    while True:
        marker = data[position + 1]
        end = position + 2 + struct.unpack_from(">H", data, position + 2)[0]
        if data[position] != 0xFF or end > len(data):
            raise MalformedDicom("A marker segment of a compressed frame has a wrong length")
        found.append((marker, position, end))
        if marker == _SOS:
            return found
        position = end


def _jpeg(data: bytes) -> Header:
    frames: list[Header] = []
    transform, has_jfif, predictor, interleave = None, False, 1, 0
    for marker, start, end in segments(data):
        if marker in _SOFS:
            frames.append(_frame_header(data, marker, start))
        elif marker == 0xEE and data[start + 4 : start + 9] == b"Adobe":
            transform = data[start + 15]
        elif marker == 0xE0 and data[start + 4 : start + 8] == b"JFIF":
            has_jfif = True
        elif marker == _SOS:
            predictor, interleave = data[end - 3], data[end - 2]
    if len(frames) != 1:
        raise MalformedDicom("A compressed frame does not have one frame header")
    return replace(
        frames[0],
        transform=transform,
        has_jfif=has_jfif,
        predictor=predictor,
        interleave=interleave,
    )


def _frame_header(data: bytes, marker: int, start: int) -> Header:
    bits, rows, columns, count = struct.unpack_from(">BHHB", data, start + 4)
    places = range(start + 10, start + 10 + 3 * count, 3)
    kinds = {_LOSSLESS: Format.JPEG_LOSSLESS, _SOF_LS: Format.JPEG_LS}
    kinds |= dict.fromkeys((0xC0, 0xC1, 0xC2), Format.JPEG_DCT)
    if marker not in kinds:
        raise UndecidableElement("A JPEG frame of this process cannot be decoded")
    return Header(
        format=kinds[marker],
        rows=rows,
        columns=columns,
        bits=bits,
        components=tuple(
            Component(data[at], data[at + 1] >> 4, data[at + 1] & 15, data[at + 2]) for at in places
        ),
        marker=marker,
    )


def _jpeg_2000(data: bytes) -> Header:
    """Read SIZ, COD and CAP. Source: ISO/IEC 15444-1, annex A; ISO/IEC 15444-15, annex A."""
    right, bottom, left, top = struct.unpack_from(">IIII", data, 8)
    (count,) = struct.unpack_from(">H", data, 40)
    depths = {data[42 + 3 * number : 45 + 3 * number] for number in range(count)}
    if len(depths) != 1 or (depth := depths.pop())[1:] != b"\1\1":
        raise UndecidableElement("A JPEG 2000 frame whose components differ is not decoded")
    position, has_transform, is_high_throughput = 2, False, False
    while (marker := struct.unpack_from(">H", data, position)[0]) != _SOT:
        if marker == _COD:
            has_transform = data[position + 8] == 1
        is_high_throughput = is_high_throughput or marker == _CAP
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    return Header(
        format=Format.HTJ2K if is_high_throughput else Format.JPEG_2000,
        rows=bottom - top,
        columns=right - left,
        bits=(depth[0] & 0x7F) + 1,
        components=tuple(map(Component, range(count))),
        is_signed=bool(depth[0] & 0x80),
        has_transform=has_transform,
    )
