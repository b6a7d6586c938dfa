"""Frames for tests: made, masked as a child process does it, and decoded by other libraries."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from app.pixels.masking import mask
from app.pixels.model import Box, Mark, Picture, Rung
from app.pixels.wire import picture_to_json

NATIVE = "1.2.840.10008.1.2.1"
RLE = "1.2.840.10008.1.2.5"
JPEG = "1.2.840.10008.1.2.4."
BOX = Box(13, 9, 42, 21)
ROWS, COLUMNS = 45, 70


def picture(syntax: str, values: np.ndarray, photometric: str, **more: Any) -> Picture:
    """Return the header of an image with such values."""
    allocated = values.dtype.itemsize * 8
    bits = more.pop("bits", allocated)
    return Picture(
        "1.2.840.10008.5.1.4.1.1.7",
        syntax,
        rows=values.shape[0],
        columns=values.shape[1],
        samples=values.shape[2] if values.ndim == 3 else 1,
        bits_allocated=allocated,
        bits_stored=bits,
        high_bit=more.pop("high_bit", bits - 1),
        signed=values.dtype.kind == "i",
        photometric=photometric,
        **more,
    )


def noise(bits: int, samples: int = 1, *, signed: bool = False, seed: int = 0) -> np.ndarray:
    """Return an image that is smooth and noisy, with every bit in use."""
    rng = np.random.default_rng(seed)
    shape = (ROWS, COLUMNS) if samples == 1 else (ROWS, COLUMNS, samples)
    width = 8 if bits <= 8 else 16 if bits <= 16 else 32
    slope = np.add.outer(np.arange(ROWS), np.arange(COLUMNS)) * ((1 << bits) // 200 + 1)
    slope = (
        slope if samples == 1 else np.stack([np.roll(slope, 9 * n, 1) for n in range(samples)], 2)
    )
    values = (slope + rng.integers(0, max(1 << bits >> 4, 2), shape)) % (1 << bits)
    values[0, 0], values[-1, -1] = 0, (1 << bits) - 1
    if signed:
        return (values - (1 << (bits - 1))).astype(f"<i{width // 8}")
    return values.astype(f"<u{width // 8}")


def mark(box: Box = BOX, frames: tuple[int, int] | None = None) -> Mark:
    """Return a mark that a person drew."""
    return Mark(box, Rung.REVIEW, frames=frames)


@dataclass
class Done:
    """What a child answered, and the frames that it wrote."""

    answer: dict[str, Any]
    frames: list[bytes]


def masked(
    frames: Sequence[bytes],
    image: Picture,
    marks: Sequence[Mark],
    *,
    places: Sequence[Sequence[tuple[int, int]]] | None = None,
    **task: Any,
) -> Done:
    """Mask frames that lie one behind the other, through JSON and descriptors."""
    source, output = os.memfd_create("source"), os.memfd_create("output")
    try:
        os.write(source, b"".join(frames))
        ends = np.cumsum([len(frame) for frame in frames])
        whole = [[(int(end) - len(f), len(f))] for end, f in zip(ends, frames, strict=True)]
        asked = {
            "picture": picture_to_json(image),
            "frames": places or whole,
            "marks": [asdict(one) for one in marks],
            **task,
        }
        answer = mask(json.loads(json.dumps(asked)), [source, output])
        written = os.pread(output, os.fstat(output).st_size, 0)
    finally:
        os.close(source)
        os.close(output)
    assert sum(answer["lengths"]) == len(written)
    parts, position = [], 0
    for length in answer["lengths"]:
        parts.append(written[position : position + length])
        position += length
    return Done(json.loads(json.dumps(answer)), parts)


def mask_one(data: bytes, image: Picture, box: Box = BOX, **task: Any) -> bytes:
    """Mask one frame."""
    return masked([data], image, [mark(box)], **task).frames[0]


def dataset(frames: Sequence[bytes], image: Picture) -> pydicom.Dataset:
    """Return an instance of the frames as pydicom reads it."""
    made = pydicom.Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = image.transfer_syntax
    made.Rows, made.Columns = image.rows, image.columns
    made.SamplesPerPixel, made.PhotometricInterpretation = image.samples, image.photometric
    made.BitsAllocated, made.BitsStored = image.bits_allocated, image.bits_stored
    made.HighBit, made.PixelRepresentation = image.high_bit, int(image.signed)
    made.NumberOfFrames = len(frames)
    if image.samples > 1:
        made.PlanarConfiguration = image.planar
    if made.file_meta.TransferSyntaxUID.is_encapsulated:
        made.PixelData = encapsulate(list(frames))
    else:
        made.PixelData = b"".join(frames)
    made["PixelData"].VR = "OB" if image.bits_allocated <= 8 else "OW"
    return made


def seen(frames: Sequence[bytes], image: Picture, plugin: str = "") -> np.ndarray:
    """Decode with one of pydicom's plug-ins, which are other libraries than the gateway's."""
    decoder = get_decoder(image.transfer_syntax)
    made = dataset(frames, image)
    values, _ = decoder.as_array(made, raw=True, decoding_plugin=plugin)
    return values


def outside(values: np.ndarray, box: Box = BOX) -> np.ndarray:
    """Return the pixels outside of a box."""
    keep = np.ones(values.shape[:2], bool)
    keep[max(box.top, 0) : box.bottom, max(box.left, 0) : box.right] = False
    return values[keep]


def inside(values: np.ndarray, box: Box = BOX) -> np.ndarray:
    """Return the pixels of a box, (count, samples)."""
    part = values[box.top : box.bottom, box.left : box.right]
    return part.reshape(part.shape[0] * part.shape[1], -1)


def with_syntax(image: Picture, syntax: str) -> Picture:
    """Return the picture in another transfer syntax."""
    return replace(image, transfer_syntax=syntax)
