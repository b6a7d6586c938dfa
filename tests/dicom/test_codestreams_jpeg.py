"""Segments of JPEG and JPEG-LS frames: what a decoder needs stays, in its minimal form."""

import pytest

from app.dicom.codestreams import metadata_edits
from app.errors import MalformedDicom
from tests.dicom.compressed import (
    CANARY,
    JPEG_BASELINE,
    PLANTED_SEGMENTS,
    jpeg_like,
    segment,
    strip,
)


def test_segments_between_and_inside_scans_go() -> None:
    clean = jpeg_like(segment(0xC4, b"\x00" * 17) + segment(0xDA, bytes(6)) + b"\x77\xff\x00\x78")
    planted = clean.replace(b"\x78", b"\x78" + PLANTED_SEGMENTS).replace(
        b"\xff\xd0\x56", segment(0xFE, CANARY) + segment(0xDA, bytes(6)) + b"\xff\xd0\x56"
    )

    stripped = strip(planted, JPEG_BASELINE)

    assert CANARY not in stripped
    assert stripped.replace(segment(0xDA, bytes(6)) + b"\xff\xd0", b"\xff\xd0").startswith(
        clean[:-3]
    )


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
    assert stripped.startswith(b"\xff\xd8" + kept + b"\xff\xda")


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


def test_markers_without_a_length_are_passed_over() -> None:
    frame = jpeg_like(b"\xff\x01" + segment(0xC4, bytes(17)))

    assert strip(frame + CANARY, JPEG_BASELINE) == frame + b"\x00" * (len(frame) % 2)


def test_long_runs_of_ff_and_many_segments_take_linear_time() -> None:
    runs = jpeg_like(b"\xff" * 4_000_000 + segment(0xFE, CANARY))
    many = jpeg_like(segment(0xFE, CANARY) * 50_000)

    assert strip(runs, JPEG_BASELINE) == strip(jpeg_like(), JPEG_BASELINE)
    assert strip(many, JPEG_BASELINE) == strip(jpeg_like(), JPEG_BASELINE)
