"""Segments of JPEG and JPEG-LS frames: what a decoder needs stays, in its minimal form."""

import pytest

from app.dicom.codestreams import metadata_edits
from app.errors import MalformedDicom
from tests.dicom.compressed import (
    CANARY,
    JPEG_BASELINE,
    ONE_COMPONENT,
    PLANTED_SEGMENTS,
    SCAN,
    even,
    jpeg_like,
    jpeg_of,
    segment,
    strip,
)


def test_segments_between_and_inside_scans_go() -> None:
    two = segment(0xC1, b"\x08\x00\x08\x00\x08\x02\x01\x11\x00\x02\x11\x00")
    other = segment(0xDA, b"\x01\x02\x00\x00\x3f\x00")
    clean = jpeg_of(two, SCAN + b"\x77\xff\x00\x78", other + b"\x12\xff\xd0\x56\x78")
    planted = clean.replace(b"\x78", b"\x78" + PLANTED_SEGMENTS)

    assert strip(planted, JPEG_BASELINE) == even(clean)


def test_decoders_segments_survive_in_their_minimal_form() -> None:
    jfif = segment(0xE0, b"JFIF\x00\x01\x02\x01\x00\x48\x00\x48\x01\x01" + CANARY)
    odd_jfif = segment(0xE0, b"JFIF\x00ZE\x01BEDE\x00\x00")
    adobe = segment(0xEE, b"Adobe" + CANARY[:6] + b"\x01" + CANARY)
    transform = segment(0xE8, b"mrfx\x02" + CANARY)

    stripped = strip(jpeg_like(jfif, odd_jfif, adobe, transform), JPEG_BASELINE)

    kept = (
        segment(0xE0, b"JFIF\x00\x01\x02\x01\x00\x48\x00\x48\x00\x00")
        + segment(0xE0, b"JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00")
        + segment(0xEE, b"Adobe\x00\x64\x00\x00\x00\x00\x01")
        + segment(0xE8, b"mrfx\x02")
    )
    assert stripped.startswith(b"\xff\xd8" + kept + ONE_COMPONENT)


def test_segments_that_only_look_like_a_decoders_go() -> None:
    planted = segment(0xE0, b"JFIF\x00\x01") + segment(0xEE, b"Adobe\x00") + segment(0xE8, b"mrfx")

    assert strip(jpeg_like(planted), JPEG_BASELINE) == strip(jpeg_like(), JPEG_BASELINE)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        b"GIF89a",
        jpeg_like()[:-2],
        jpeg_like(b"\xff\xe1\x00\x01"),
        jpeg_like(b"\xff\xe1\xff\xff"),
        jpeg_like(b"\xff\xd8"),
        jpeg_like(b"\xff\x02\x00\x02"),
        b"\xff\xd8\xff\xe1",
    ],
)
def test_a_damaged_jpeg_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(MalformedDicom):
        metadata_edits(frame, JPEG_BASELINE)


def test_long_runs_of_ff_and_many_segments_take_linear_time() -> None:
    runs = jpeg_like(b"\xff" * 4_000_000 + segment(0xFE, CANARY))
    many = jpeg_like(segment(0xFE, CANARY) * 50_000)

    assert strip(runs, JPEG_BASELINE) == strip(jpeg_like(), JPEG_BASELINE)
    assert strip(many, JPEG_BASELINE) == strip(jpeg_like(), JPEG_BASELINE)
