"""RLE and deflated frames: what stands beside the pixels goes."""

import struct

import numpy as np
import pytest

from app.dicom.codestreams import metadata_edits
from app.dicom.frame_sizes import FrameSize
from app.errors import LimitExceeded, MalformedDicom, UndecidableElement
from tests.dicom.compressed import CANARY, DEFLATED, RLE, decoded, encoded, strip

WORDS = FrameSize(64 * 64, 1, 16)


@pytest.mark.parametrize("syntax", [RLE, DEFLATED])
def test_bytes_behind_rle_segments_and_deflated_streams_go(syntax: str) -> None:
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    frame = encoded(pixels, syntax)
    planted = frame.rstrip(b"\x00") + b"\x00" * 2 + CANARY

    stripped = strip(planted, syntax, WORDS)

    assert CANARY not in stripped
    assert np.array_equal(decoded(stripped, pixels, syntax), pixels)
    assert metadata_edits(stripped, syntax, WORDS) == []


def test_the_gap_between_rle_segments_and_the_unused_header_are_blanked() -> None:
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    frame = encoded(pixels, RLE)
    second = struct.unpack_from("<I", frame, 8)[0]
    header = struct.pack("<III", 2, 64, second + 16) + CANARY.ljust(52, b"X")
    planted = header + frame[64:second] + CANARY + b"\x00\x00" + frame[second:]

    stripped = strip(planted, RLE, WORDS)

    assert CANARY not in stripped
    assert np.array_equal(decoded(stripped, pixels, RLE), pixels)


@pytest.mark.parametrize("syntax", [RLE, DEFLATED])
def test_packed_frames_of_unknown_size_are_undecidable(syntax: str) -> None:
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)

    with pytest.raises(UndecidableElement):
        metadata_edits(encoded(pixels, syntax), syntax)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        bytes(64),
        struct.pack("<16I", 16, *range(64, 79)),
        struct.pack("<16I", 1, 60, *bytes(14)) + b"\x00\x01",
        struct.pack("<16I", 2, 64, 64, *bytes(13)) + b"\x00\x01",
        struct.pack("<16I", 1, 64, *bytes(14)) + b"\x05\x01",
        struct.pack("<16I", 1, 64, *bytes(14)) + b"\x80\x80",
        struct.pack("<16I", 2, 64, 66, *bytes(13)) + b"\xf1\x01\xf1\x01",
    ],
)
def test_a_damaged_rle_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(MalformedDicom):
        metadata_edits(frame, RLE, FrameSize(16, 1, 8))


def test_damaged_or_endless_deflated_frames_are_refused() -> None:
    whole = encoded(np.arange(4096, dtype=np.uint16), DEFLATED)

    for frame in (b"", whole[:-40], b"\xff" * 32):
        with pytest.raises(MalformedDicom):
            metadata_edits(frame, DEFLATED, WORDS)


def test_a_deflated_frame_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.dicom.codestreams_packed._MAX_INFLATED", 1000)

    with pytest.raises(LimitExceeded):
        metadata_edits(encoded(np.zeros(4096, dtype=np.uint16), DEFLATED), DEFLATED, WORDS)
