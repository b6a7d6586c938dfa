"""What marker segments of JPEG and JPEG-LS hold behind their content, and tables no scan uses."""

from collections.abc import Callable

import numpy as np
import pytest

from app.dicom.codestreams import metadata_edits
from app.errors import MalformedDicom, UndecidableElement
from tests.dicom.compressed import (
    CANARY,
    JPEG_BASELINE,
    JPEG_LS,
    ONE_COMPONENT,
    SCAN,
    encoded,
    even,
    frames_of,
    instance,
    jpeg_like,
    jpeg_of,
    segment,
    strip,
    with_frames,
)

QUANTISATION = b"\x00" + bytes(range(1, 65))
COUNTS = bytes((2, *[0] * 15))
HUFFMAN_DC, HUFFMAN_AC = b"\x00" + COUNTS + b"\x00\x01", b"\x10" + COUNTS + b"\x00\x01"
TEXT_64 = (CANARY * 5)[:64]
RESTART = segment(0xDD, b"\x00\x04")
DCT_FILES = ["SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_jpeg_lossy_gdcm.dcm", "examples_ybr_color.dcm"]
LOSSLESS_FILES = ["SC_rgb_jpeg_gdcm.dcm"]


def _grown(frame: bytes, marker: int) -> bytes:
    """Put text into the first segment of a kind, behind its content."""
    start = frame.index(bytes((0xFF, marker)))
    size = int.from_bytes(frame[start + 2 : start + 4], "big")
    body = frame[start + 4 : start + 2 + size]
    return frame[:start] + segment(marker, body + CANARY) + frame[start + 2 + size :]


def _with_spare_tables(frame: bytes) -> bytes:
    """Put tables that no scan selects behind SOI."""
    quantisation = segment(0xDB, b"\x03" + TEXT_64)
    huffman = segment(0xC4, b"\x13" + bytes((*[0] * 15, 28)) + CANARY * 2)
    return frame[:2] + quantisation + huffman + frame[2:]


def _with_other_tables_first(frame: bytes) -> bytes:
    """Put tables behind SOI that others take the place of before the first scan."""
    counts = bytes((*[0] * 15, 28))
    quantisation = segment(0xDB, b"\x00" + TEXT_64)
    huffman = segment(0xC4, b"\x00" + counts + CANARY * 2)
    return frame[:2] + quantisation + huffman + frame[2:]


@pytest.mark.parametrize("marker", [0xC4, 0xDA])
@pytest.mark.parametrize("name", [*DCT_FILES, *LOSSLESS_FILES])
def test_text_behind_the_content_of_a_segment_goes(name: str, marker: int) -> None:
    _assert_goes(name, lambda frame: _grown(frame, marker))


@pytest.mark.parametrize("name", DCT_FILES)
def test_text_behind_a_quantisation_table_goes(name: str) -> None:
    _assert_goes(name, lambda frame: _grown(frame, 0xDB))


@pytest.mark.parametrize("name", [*DCT_FILES, *LOSSLESS_FILES])
def test_tables_that_no_scan_selects_go(name: str) -> None:
    _assert_goes(name, _with_spare_tables)


def _assert_goes(name: str, plant: Callable[[bytes], bytes]) -> None:
    original = instance(name)
    syntax = original.file_meta.TransferSyntaxUID
    frames = frames_of(original)

    stripped = [strip(plant(frame), syntax) for frame in frames]

    assert not any(CANARY in frame for frame in stripped)
    assert stripped == [strip(frame, syntax) for frame in frames]
    assert np.array_equal(with_frames(original, stripped).pixel_array, original.pixel_array)


@pytest.mark.parametrize("name", DCT_FILES)
def test_text_behind_the_components_of_a_frame_header_goes(name: str) -> None:
    frame = frames_of(instance(name))[0]
    marker = 0xC0 if b"\xff\xc0" in frame else 0xC1

    assert strip(_grown(frame, marker), JPEG_BASELINE) == strip(frame, JPEG_BASELINE)


@pytest.mark.parametrize("name", DCT_FILES)
def test_tables_that_others_take_the_place_of_go(name: str) -> None:
    frame = frames_of(instance(name))[0]

    assert CANARY not in strip(_with_other_tables_first(frame), JPEG_BASELINE)


def test_the_rest_of_a_long_restart_interval_goes() -> None:
    planted = jpeg_like(segment(0xDD, b"\x00\x04" + bytes(44) + CANARY))

    assert strip(planted, JPEG_BASELINE) == even(jpeg_like(RESTART))


def test_tables_stay_that_a_scan_uses_before_they_are_replaced() -> None:
    other = segment(0xC4, HUFFMAN_DC[:-1] + b"\x02")
    two_components = segment(0xC1, b"\x08\x00\x08\x00\x08\x02\x01\x11\x00\x02\x11\x00")
    first = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"\x12"
    second = segment(0xDA, b"\x01\x02\x00\x00\x3f\x00") + b"\x34"
    tables = segment(0xDB, QUANTISATION) + segment(0xC4, HUFFMAN_DC + HUFFMAN_AC)
    frame = b"\xff\xd8" + tables + two_components + first + other + second + b"\xff\xd9"

    assert strip(frame, JPEG_BASELINE) == even(frame)


def test_one_segment_keeps_the_tables_that_are_used() -> None:
    spare = b"\x13" + bytes((*[0] * 15, 14)) + CANARY
    planted = jpeg_like(segment(0xC4, HUFFMAN_DC + spare + HUFFMAN_AC))

    assert strip(planted, JPEG_BASELINE) == strip(
        jpeg_like(segment(0xC4, HUFFMAN_DC + HUFFMAN_AC)), JPEG_BASELINE
    )


def test_arithmetic_conditioning_keeps_one_entry_for_each_table() -> None:
    header = segment(0xC9, b"\x08\x00\x08\x00\x08\x01\x01\x11\x00")
    entries = segment(0xCC, b"\x00Z\x00E\x00\x10\x10\x05" + CANARY)
    frame = b"\xff\xd8" + entries + header + SCAN + b"\x12\x34\xff\xd9"

    kept = segment(0xCC, b"\x00\x10\x10\x05")
    assert strip(frame, JPEG_BASELINE) == even(frame.replace(entries, kept))


def test_huffman_frames_need_no_arithmetic_conditioning() -> None:
    assert strip(jpeg_like(segment(0xCC, b"\x00\x10\x10\x05")), JPEG_BASELINE) == even(jpeg_like())


@pytest.mark.parametrize("marker", [0xDB, 0xC4, 0xDD, 0xCC])
def test_jpeg_ls_keeps_no_tables_of_jpeg(marker: int) -> None:
    contents = {0xDB: QUANTISATION, 0xC4: HUFFMAN_DC, 0xDD: b"\x00\x00", 0xCC: b"\x00\x10"}
    frame = encoded(np.arange(256, dtype=np.uint16).reshape(16, 16), JPEG_LS)
    planted = frame[:2] + segment(marker, contents[marker]) + frame[2:]

    kept = segment(marker, contents[marker]) if marker == 0xDD else b""
    assert strip(planted, JPEG_LS) == strip(frame[:2] + kept + frame[2:], JPEG_LS)


@pytest.mark.parametrize("name", ["JPEGLSNearLossless_16.dcm", "SC_rgb_jls_lossy_sample.dcm"])
@pytest.mark.parametrize("marker", [0xF7, 0xDA])
def test_text_behind_the_content_of_a_jpeg_ls_segment_goes(name: str, marker: int) -> None:
    _assert_goes(name, lambda frame: _grown(frame, marker))


def test_presets_of_jpeg_ls_are_cut_to_their_length_and_unused_maps_go() -> None:
    frame = encoded(np.arange(256, dtype=np.uint16).reshape(16, 16), JPEG_LS)
    presets = b"\x01\xff\xff\x00\x12\x00\x43\x01\x14\x00\x40"
    planted = b"".join(
        (
            frame[:2],
            segment(0xF8, b"\x01" + CANARY[:10]),
            segment(0xF8, presets + CANARY),
            segment(0xF8, b"\x02\x01\x01" + CANARY),
            segment(0xF8, b"\x03\x01\x01" + CANARY),
            frame[2:],
        )
    )

    assert strip(planted, JPEG_LS) == strip(frame[:2] + segment(0xF8, presets) + frame[2:], JPEG_LS)


def test_a_map_of_jpeg_ls_that_a_scan_selects_stays() -> None:
    frame = encoded(np.arange(256, dtype=np.uint16).reshape(16, 16), JPEG_LS)
    scan = frame.index(b"\xff\xda")
    maps = segment(0xF8, b"\x02\x01\x02" + bytes(8)) + segment(0xF8, b"\x03\x01\x02" + bytes(8))
    selecting = frame[: scan + 6] + b"\x01" + frame[scan + 7 :]
    mapped = selecting[:2] + maps + selecting[2:]

    assert strip(mapped, JPEG_LS) == even(mapped)


def test_a_restart_interval_of_jpeg_ls_has_at_most_four_bytes() -> None:
    frame = encoded(np.arange(256, dtype=np.uint16).reshape(16, 16), JPEG_LS)
    whole = frame[:2] + segment(0xDD, bytes(4)) + frame[2:]

    assert strip(whole, JPEG_LS) == even(whole)
    with pytest.raises(MalformedDicom):
        metadata_edits(frame[:2] + segment(0xDD, CANARY) + frame[2:], JPEG_LS)


def test_restart_markers_outside_of_scans_go() -> None:
    markers = b"".join(bytes((0xFF, 0xD0 + number % 8)) for number in CANARY)

    assert strip(jpeg_like(b"\xff\x01" + markers), JPEG_BASELINE) == even(jpeg_like())


def test_one_number_of_lines_stays_in_its_length() -> None:
    whole = jpeg_like()
    lines = segment(0xDC, b"\x00\x08")
    planted = whole[:-2] + segment(0xDC, b"\x00\x08" + CANARY) + segment(0xDC, b"ZE") + b"\xff\xd9"

    assert strip(planted, JPEG_BASELINE) == even(whole[:-2] + lines + b"\xff\xd9")


@pytest.mark.parametrize(
    "part",
    [
        segment(0xDB, CANARY),
        segment(0xDB, b"\x00" + bytes(63)),
        segment(0xC4, CANARY * 3),
        segment(0xC4, HUFFMAN_DC[:-1]),
        segment(0xC4, HUFFMAN_DC[:-1] + b"Z"),
        segment(0xDD, b"\x00"),
        segment(0xCC, b"Z"),
        ONE_COMPONENT,
        ONE_COMPONENT[:3] + b"\x08" + ONE_COMPONENT[4:10],
        segment(0xC0, b"\x08\x00\x08\x00\x08\x00"),
        segment(0xF9, b"\x08\x00\x08\x00\x08\x01\x01\x11\x00"),
        segment(0xF8, b"\x01" + bytes(9)),
        segment(0xF8, b"\x02\x01"),
        segment(0xF8, b"\x04\x02\x00"),
        segment(0xF8, b"\x09" + CANARY),
        segment(0xF8, b""),
        SCAN + b"\x12",
    ],
)
def test_content_that_its_segment_cannot_have_is_refused(part: bytes) -> None:
    with pytest.raises(MalformedDicom):
        metadata_edits(jpeg_like(part), JPEG_BASELINE)


@pytest.mark.parametrize(
    "scan",
    [
        b"",
        b"\x01",
        b"\x00\x00\x3f\x00",
        b"\x01\x09\x00\x00\x3f\x00",
        b"\x02\x01\x00\x00\x3f\x00",
    ],
)
def test_a_scan_that_its_frame_cannot_have_is_refused(scan: bytes) -> None:
    with pytest.raises(MalformedDicom):
        metadata_edits(jpeg_of(ONE_COMPONENT, segment(0xDA, scan) + b"\x12"), JPEG_BASELINE)


def test_a_frame_without_header_is_refused() -> None:
    with pytest.raises(MalformedDicom):
        metadata_edits(jpeg_of(SCAN + b"\x12"), JPEG_BASELINE)


@pytest.mark.parametrize("marker", [0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, 0xDE, 0xDF])
def test_hierarchical_frames_are_not_understood(marker: int) -> None:
    part = segment(marker, b"\x08\x00\x08\x00\x08\x01\x01\x11\x00")

    with pytest.raises(UndecidableElement):
        metadata_edits(jpeg_of(part, SCAN + b"\x12"), JPEG_BASELINE)


PROGRESSIVE = segment(0xC2, b"\x08\x00\x08\x00\x08\x01\x01\x11\x00")


def progressive(*scans: bytes) -> bytes:
    tables = segment(0xDB, QUANTISATION) + segment(0xC4, HUFFMAN_DC + HUFFMAN_AC)
    parts = (segment(0xDA, b"\x01\x01\x00" + scan) + b"\x12" for scan in scans)
    return jpeg_of(tables, PROGRESSIVE, *parts)


def test_progressive_scans_that_add_to_each_other_stay() -> None:
    frame = progressive(b"\x00\x00\x01", b"\x01\x3f\x01", b"\x00\x00\x10", b"\x01\x3f\x10")

    assert strip(frame, JPEG_BASELINE) == even(frame)


def test_a_progressive_frame_needs_tables_of_its_scans_only() -> None:
    frame = progressive(b"\x00\x00\x00")

    assert strip(frame, JPEG_BASELINE) == strip(
        frame.replace(segment(0xC4, HUFFMAN_DC + HUFFMAN_AC), segment(0xC4, HUFFMAN_DC)),
        JPEG_BASELINE,
    )
    assert HUFFMAN_AC not in strip(frame, JPEG_BASELINE)


@pytest.mark.parametrize(
    "scans",
    [
        (b"\x00\x00\x00", b"\x00\x00\x00"),
        (b"\x00\x00\x10",),
        (b"\x00\x00\x02", b"\x00\x00\x10"),
        (b"\x00\x00\x01", b"\x05\x04\x00"),
        (b"\x00\x00\x01", b"\x01\x40\x00"),
    ],
)
def test_progressive_scans_that_tell_nothing_new_are_refused(scans: tuple[bytes, ...]) -> None:
    with pytest.raises(MalformedDicom):
        metadata_edits(progressive(*scans), JPEG_BASELINE)
