"""Compressed frames with canaries in the segments that decoders skip."""

import struct

from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filereader import dcmread

from tests.builders import Identity, Planter, ct, part10, us_jpeg

_SIZ_END = 2  # the marker's own bytes; its length counts from there


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">HH", marker, len(content) + 2) + content


def _made(name: str, change: object, planter: Planter) -> bytes:
    shipped = dcmread(str(get_testdata_file(name, download=False)))
    frame = next(generate_frames(shipped.PixelData, number_of_frames=1))
    dataset = ct(Identity())
    for keyword in _PIXEL_KEYWORDS:
        if keyword in shipped:
            dataset[keyword] = shipped[keyword]
    dataset.PixelData = encapsulate([change(frame, planter)])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    return part10(dataset, shipped.file_meta.TransferSyntaxUID)


_PIXEL_KEYWORDS = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames"),
)


def _with_segments(frame: bytes, planter: Planter) -> bytes:
    segments = b"".join(
        _segment(marker, planter.text(f"frame, {marker:04X}").encode())
        for marker in (0xFFE1, 0xFFE2, 0xFFED, 0xFFFE)
    )
    return frame[:2] + segments + frame[2:] + planter.text("frame, behind it").encode()


def _with_comment(frame: bytes, planter: Planter) -> bytes:
    """Put comments into the main header of a JPEG 2000 code stream, behind SIZ."""
    place = 4 + struct.unpack(">H", frame[4:6])[0]
    registration = struct.pack(">H", 1)  # Latin text
    comments = b"".join(
        _segment(0xFF64, registration + planter.text(f"frame, comment {n}").encode())
        for n in range(2)
    )
    return frame[:place] + comments + frame[place:]


def _with_surplus(frame: bytes, planter: Planter) -> bytes:
    return frame + planter.text("frame, behind the last run").encode()


def jpeg(planter: Planter) -> bytes:
    """JPEG with APP1, APP2, APP13 and COM, and text behind the end of image."""
    shipped = us_jpeg(Identity())
    dataset = Dataset()
    dataset.update(shipped)
    frames = list(generate_frames(shipped.PixelData, number_of_frames=3))
    dataset.PixelData = encapsulate([_with_segments(frames[1], planter), frames[1], frames[1]])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    return part10(dataset, "1.2.840.10008.1.2.4.50")


def jpeg_ls(planter: Planter) -> bytes:
    """JPEG-LS with the same segments."""
    return _made("MR_small_jpeg_ls_lossless.dcm", _with_segments, planter)


def jpeg_2000(planter: Planter) -> bytes:
    """JPEG 2000 with two comments in its main header."""
    return _made("JPEG2000.dcm", _with_comment, planter)


def rle(planter: Planter) -> bytes:
    """RLE with text behind the last segment."""
    return _made("MR_small_RLE.dcm", _with_surplus, planter)
