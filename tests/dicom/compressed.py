"""Compressed frames: real ones, made-up ones, and what can be planted in them."""

import io
import struct
import zlib

import numpy as np
import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_encoder
from pydicom.uid import UID

from app.dicom.codestreams import metadata_edits
from app.dicom.edits import Edit, edited_size
from app.dicom.frame_sizes import FrameSize

CANARY = b"CANARY^ZEBEDEE"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
JPEG_XL = "1.2.840.10008.1.2.4.110"
RLE = "1.2.840.10008.1.2.5"
DEFLATED = "1.2.840.10008.1.2.8.1"


def instance(name: str) -> Dataset:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"{name} is not in this pydicom's wheel")
    return dcmread(path)


def frames_of(dataset: Dataset) -> list[bytes]:
    count = int(dataset.get("NumberOfFrames") or 1)
    return list(generate_frames(dataset.PixelData, number_of_frames=count))


def with_frames(dataset: Dataset, frames: list[bytes]) -> Dataset:
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    buffer.seek(0)
    copy = dcmread(buffer)
    copy.PixelData = encapsulate(frames)
    return copy


def edited(frame: bytes, edits: list[Edit]) -> bytes:
    starts = [0, *(edit.end for edit in edits)]
    stops = [*(edit.start for edit in edits), len(frame)]
    kept = [frame[start:stop] for start, stop in zip(starts, stops, strict=True)]
    return kept[0] + b"".join(e.replacement + k for e, k in zip(edits, kept[1:], strict=True))


def strip(frame: bytes, syntax: str, size: FrameSize | None = None) -> bytes:
    edits = metadata_edits(memoryview(frame), syntax, size)
    stripped = edited(frame, edits)
    assert len(stripped) == edited_size(len(frame), edits)
    return stripped


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def even(frame: bytes) -> bytes:
    return frame + bytes(len(frame) % 2)


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content


PLANTED_SEGMENTS = (
    segment(0xE1, b"Exif\x00\x00" + CANARY)
    + segment(0xE0, b"JFXX\x00\x10" + CANARY)
    + segment(0xE2, b"ICC_PROFILE\x00\x01\x01" + CANARY)
    + segment(0xE8, b"SPIFF\x00" + CANARY * 2)
    + segment(0xED, CANARY)
    + segment(0xFE, CANARY)
)


def plant_in_jpeg(frame: bytes) -> bytes:
    """Put segments behind SOI, segments and stray bytes before the scan, bytes behind EOI."""
    scan = frame.index(b"\xff\xda")
    return (
        frame[:2]
        + PLANTED_SEGMENTS
        + frame[2:scan]
        + CANARY
        + segment(0xEF, CANARY)
        + frame[scan:]
        + CANARY
    )


def plant_in_codestream(frame: bytes) -> bytes:
    """Put comments into the main header and the first tile-part's, bytes behind EOC."""
    start = frame.index(b"\xff\x4f\xff\x51")
    siz_end = start + 4 + struct.unpack_from(">H", frame, start + 4)[0]
    tile = frame.index(b"\xff\x90\x00\x0a", siz_end)
    length = struct.unpack_from(">I", frame, tile + 6)[0]
    comment = segment(0x64, b"\x00\x01" + CANARY)
    tile_header = bytearray(frame[tile : tile + 12])
    if length:
        struct.pack_into(">I", tile_header, 6, length + len(comment))
    return (
        frame[start:siz_end]
        + comment
        + frame[siz_end:tile]
        + bytes(tile_header)
        + comment
        + frame[tile + 12 :].rstrip(b"\x00")
        + CANARY
    )


def wrap_in_jp2(codestream: bytes, *header_boxes: bytes) -> bytes:
    header = box(b"ihdr", bytes(14)) + b"".join(header_boxes)
    return (
        box(b"jP  ", b"\r\n\x87\n")
        + box(b"ftyp", b"jp2 \x00\x00\x00\x00jp2 ")
        + box(b"xml ", CANARY)
        + box(b"jp2h", header)
        + box(b"jp2c", codestream)
        + box(b"uuid", CANARY)
    )


def plant_in_jp2(frame: bytes) -> bytes:
    return wrap_in_jp2(plant_in_codestream(frame))


def encoded(pixels: np.ndarray, syntax: str) -> bytes:
    if syntax == DEFLATED:
        deflate = zlib.compressobj(wbits=-15)
        return deflate.compress(pixels.tobytes()) + deflate.flush()
    return get_encoder(UID(syntax)).encode(
        pixels,
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        samples_per_pixel=1,
        number_of_frames=1,
        bits_allocated=16,
        bits_stored=16,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
    )


def decoded(frame: bytes, like: np.ndarray, syntax: str) -> np.ndarray:
    if syntax == DEFLATED:
        return np.frombuffer(zlib.decompress(frame, -15), like.dtype).reshape(like.shape)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.Rows, dataset.Columns = like.shape
    dataset.SamplesPerPixel = 1
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    return dataset.pixel_array


ONE_COMPONENT = segment(0xC0, b"\x08\x00\x08\x00\x08\x01\x01\x11\x00")
SCAN = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00")


def jpeg_of(*parts: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(parts) + b"\xff\xd9"


def jpeg_like(*parts: bytes) -> bytes:
    return jpeg_of(*parts, ONE_COMPONENT, SCAN, b"\x12\xff\x00\x34\xff\xd0\x56\x78")


SIZ = segment(0x51, struct.pack(">H8IH", 0, 8, 8, 0, 0, 8, 8, 0, 0, 1) + b"\x07\x01\x01")


def tile_part(
    *segments: bytes, data: bytes = bytes(10), numbers: tuple[int, int, int] = (0, 0, 1)
) -> bytes:
    tile, part, parts = numbers
    header = b"".join(segments)
    length = struct.pack(">I", 12 + len(header) + 2 + len(data))
    start = b"\xff\x90\x00\x0a" + struct.pack(">H", tile) + length + bytes((part, parts))
    return start + header + b"\xff\x93" + data


def codestream_of_parts(*parts: bytes) -> bytes:
    return b"\xff\x4f" + SIZ + b"".join(parts) + b"\xff\xd9"


def codestream_like(*, psot: int | None = None, tile_parts: bytes = b"") -> bytes:
    part = tile_part(tile_parts)
    if psot is not None:
        part = part[:6] + struct.pack(">I", psot) + part[10:]
    return codestream_of_parts(part)


def jxl_container(*boxes: bytes) -> bytes:
    return box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \x00\x00\x00\x00jxl ") + b"".join(boxes)
