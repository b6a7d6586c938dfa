"""RLE frames to values and back. Source: PS3.5 2026d, annex G."""

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from app.errors import MalformedDicom, UndecidableElement
from app.pixels.model import Picture

_HEADER = struct.Struct("<16I")


def decode_rle(data: bytes, picture: Picture) -> NDArray[Any]:
    """Decode a frame: one segment for each byte of a sample, the highest byte first."""
    size = _bytes_per_sample(picture)
    if size == 0:
        return _single_bits(data, picture)
    plane = (picture.rows, picture.columns)
    values = np.empty((*plane, picture.samples), f"<u{size}")
    segments = _segments(data, picture.samples * size)
    single = values.view("u1").reshape(*plane, picture.samples, size)
    for number, segment in enumerate(segments):
        sample, byte = divmod(number, size)
        unpacked = _unpacked(segment, picture.rows * picture.columns)
        single[:, :, sample, size - 1 - byte] = unpacked.reshape(plane)
    return values if picture.samples > 1 else values[:, :, 0]


def encode_rle(values: NDArray[Any], picture: Picture) -> bytes:
    """Encode a frame row by row."""
    size = _bytes_per_sample(picture)
    if size == 0:
        bits = np.packbits(values, bitorder="little")
        return _joined([imagecodecs.packbits_encode(bits.tobytes())])
    whole = np.ascontiguousarray(values.reshape(picture.rows, picture.columns, picture.samples))
    single = whole.view("u1").reshape(picture.rows, picture.columns, picture.samples, size)
    return _joined(
        [
            imagecodecs.packbits_encode(
                np.ascontiguousarray(single[:, :, sample, size - 1 - byte]), axis=-1
            )
            for sample in range(picture.samples)
            for byte in range(size)
        ]
    )


def _bytes_per_sample(picture: Picture) -> int:
    """Return the bytes of a sample; 0 for one bit a pixel."""
    if picture.bits_allocated == 1 and picture.samples == 1:
        return 0
    if picture.bits_allocated not in {8, 16, 32, 64}:
        raise UndecidableElement("Pixels of this number of bits are not understood")
    return picture.bits_allocated // 8


def _single_bits(data: bytes, picture: Picture) -> NDArray[Any]:
    count = picture.rows * picture.columns
    (segment,) = _segments(data, 1)
    bits = np.unpackbits(_unpacked(segment, -(-count // 8)), bitorder="little")
    return bits[:count].reshape(picture.rows, picture.columns)


def _segments(data: bytes, count: int) -> list[bytes]:
    if len(data) < _HEADER.size:
        raise MalformedDicom("An RLE frame is too short")
    number, *offsets = _HEADER.unpack_from(data)
    bounds = [*offsets[:number], len(data)]
    if number != count or any(low >= high for low, high in pairwise(bounds)):
        raise MalformedDicom("An RLE frame has other segments than the header says")
    return [data[low:high] for low, high in pairwise(bounds)]


def _unpacked(segment: bytes, size: int) -> NDArray[np.uint8]:
    try:
        unpacked = imagecodecs.packbits_decode(segment)
    except RuntimeError:
        raise MalformedDicom("An RLE segment is damaged") from None
    if len(unpacked) < size:
        raise MalformedDicom("An RLE segment ends too early")
    return np.frombuffer(unpacked, np.uint8, size)


def _joined(segments: Sequence[bytes | bytearray]) -> bytes:
    padded = [bytes(segment) + b"\0" * (len(segment) % 2) for segment in segments]
    if len(padded) > 15:
        raise UndecidableElement("RLE has at most fifteen segments")
    offsets, position = [], _HEADER.size
    for segment in padded:
        offsets.append(position)
        position += len(segment)
    header = _HEADER.pack(len(padded), *offsets, *[0] * (15 - len(padded)))
    return b"".join([header, *padded])
