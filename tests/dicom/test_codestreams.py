"""Metadata inside compressed frames: found, stripped, and the pixels stay the same."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import generate_fragments

from app.dicom.codestreams import (
    Codestream,
    codestream_of,
    frame_fragments,
    image_kind,
    metadata_edits,
)
from app.dicom.frame_sizes import FrameSize
from app.errors import GatewayError, MalformedDicom, UndecidableElement
from tests.dicom.compressed import (
    CANARY,
    DEFLATED,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_LS,
    JPEG_XL,
    PLANTED_SEGMENTS,
    RLE,
    box,
    codestream_like,
    decoded,
    encoded,
    even,
    frames_of,
    instance,
    jpeg_like,
    jxl_container,
    plant_in_codestream,
    plant_in_jp2,
    plant_in_jpeg,
    segment,
    strip,
    with_frames,
    wrap_in_jp2,
)

JPEG_FILES = [
    "SC_jpeg_no_color_transform.dcm",
    "SC_jpeg_no_color_transform_2.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_dcmtk_+eb+cy+n1.dcm",
    "SC_rgb_dcmtk_+eb+cy+s4.dcm",
    "SC_rgb_jpeg_app14_dcmd.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_jpeg_lossy_gdcm.dcm",
    "SC_rgb_small_odd_jpeg.dcm",
    "examples_ybr_color.dcm",
]
JPEG_LS_FILES = [
    "JPEGLSNearLossless_08.dcm",
    "JPEGLSNearLossless_16.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm",
]
JPEG_2000_FILES = [
    "693_J2KI.dcm",
    "GDCMJ2K_TextGBR.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "JPEG2000.dcm",
    "MR_small_jp2klossless.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "examples_jpeg2k.dcm",
]
# Twelve bits a sample in the extended process: none of the decoders here takes it.
TWELVE_BIT_FILES = ["JPEG-lossy.dcm", "JPGExtended.dcm"]
CASES = (
    [(name, plant_in_jpeg) for name in [*JPEG_FILES, *JPEG_LS_FILES]]
    + [(name, plant_in_codestream) for name in JPEG_2000_FILES]
    + [(name, plant_in_jp2) for name in JPEG_2000_FILES[:3]]
)


@pytest.mark.parametrize(("name", "plant"), CASES)
def test_stripping_removes_what_was_planted_and_keeps_every_pixel(
    name: str, plant: Callable[[bytes], bytes]
) -> None:
    original = instance(name)
    syntax = original.file_meta.TransferSyntaxUID
    planted = [plant(frame) for frame in frames_of(original)]

    stripped = [strip(frame, syntax) for frame in planted]

    assert all(CANARY in frame for frame in planted)
    assert not any(CANARY in frame for frame in stripped)
    assert not any(len(frame) % 2 for frame in stripped)
    decoded = with_frames(original, stripped).pixel_array
    assert np.array_equal(decoded, original.pixel_array)


@pytest.mark.parametrize(("name", "plant"), CASES)
def test_a_stripped_frame_needs_no_edits(name: str, plant: Callable[[bytes], bytes]) -> None:
    original = instance(name)
    syntax = original.file_meta.TransferSyntaxUID

    stripped = strip(plant(frames_of(original)[0]), syntax)

    assert metadata_edits(stripped, syntax) == []


@pytest.mark.parametrize("name", TWELVE_BIT_FILES)
def test_stripping_what_was_planted_gives_the_frame_back(name: str) -> None:
    original = instance(name)
    syntax = original.file_meta.TransferSyntaxUID
    frame = frames_of(original)[0]

    stripped = strip(plant_in_jpeg(frame), syntax)

    assert stripped == strip(frame, syntax)


@pytest.mark.parametrize("syntax", [JPEG_LS, JPEG_2000])
@pytest.mark.parametrize("seed", range(4))
def test_noise_full_of_ff_bytes_survives(syntax: str, seed: int) -> None:
    # FF in entropy-coded data is where a careless scanner takes pixels for a marker.
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 65536, (96, 80), dtype=np.uint16)
    lossless = {JPEG_2000: "1.2.840.10008.1.2.4.90"}.get(syntax, syntax)
    frame = encoded(pixels, lossless)
    plant = plant_in_codestream if syntax == JPEG_2000 else plant_in_jpeg

    stripped = strip(plant(frame), lossless)

    assert np.array_equal(decoded(stripped, pixels, lossless), pixels)


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.107", "1.2.840.10008.1.2.4.94", "1"]
)
def test_video_and_unknown_syntaxes_are_undecidable(syntax: str) -> None:
    with pytest.raises(UndecidableElement):
        metadata_edits(b"\x00\x00\x01\xb3", syntax)


def test_native_frames_have_no_metadata() -> None:
    assert metadata_edits(b"\xff\xd8", "1.2.840.10008.1.2.1") == []
    assert codestream_of("1.2.840.10008.1.2.1.98") is Codestream.NATIVE


def test_a_frame_under_a_neighbours_transfer_syntax_is_judged_by_its_content() -> None:
    assert strip(codestream_like() + CANARY, JPEG_BASELINE) == even(codestream_like())


def test_an_odd_frame_gets_its_pad_byte() -> None:
    codes = b"\x00\x02" + bytes(15)
    frame = jpeg_like(segment(0xC4, codes + b"\x00\x01"))
    odd = frame if len(frame) % 2 else jpeg_like(segment(0xC4, codes[:1] + b"\x03" + bytes(18)))

    assert strip(odd, JPEG_BASELINE) == odd + b"\x00"
    assert metadata_edits(odd + b"\x00", JPEG_BASELINE) == []
    assert strip(odd + b"\xff", JPEG_BASELINE) == odd + b"\x00"


SEEDS = [
    (jpeg_like(PLANTED_SEGMENTS), JPEG_BASELINE),
    (codestream_like(tile_parts=segment(0x64, b"\x00\x01" + CANARY)), JPEG_2000),
    (wrap_in_jp2(codestream_like()), JPEG_2000),
    (jxl_container(box(b"jxlc", b"\xff\x0a" + bytes(9))), JPEG_XL),
    (encoded(np.arange(256, dtype=np.uint16).reshape(16, 16), RLE), RLE),
    (encoded(np.arange(256, dtype=np.uint16), DEFLATED), DEFLATED),
]


@settings(max_examples=300, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    damage=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 40),
)
def test_damaged_frames_are_edited_or_refused_and_nothing_else(
    seed: tuple[bytes, str], damage: list[tuple[int, int]], cut: int
) -> None:
    frame = bytearray(seed[0])
    for position, value in damage:
        frame[position % len(frame)] = value
    damaged = bytes(frame[: len(frame) - cut])

    try:
        stripped = strip(damaged, seed[1], FrameSize(256, 1, 16))
    except GatewayError:
        return

    assert len(stripped) % 2 == 0
    assert metadata_edits(stripped, seed[1], FrameSize(256, 1, 16)) == []


def test_fragments_divide_into_frames() -> None:
    fragments = [(100, 10), (118, 10), (136, 10), (154, 10)]

    def begins(number: int) -> bool:
        return number in {0, 3}

    assert frame_fragments(fragments, [], 1, begins) == [range(4)]
    assert frame_fragments(fragments, [], 4, begins) == [range(n, n + 1) for n in range(4)]
    assert frame_fragments(fragments, [0, 36], 2, begins) == [range(2), range(2, 4)]
    assert frame_fragments(fragments, [], 2, begins) == [range(3), range(3, 4)]


@pytest.mark.parametrize(
    ("fragments", "offsets", "count"),
    [
        ([], [], 1),
        ([(0, 4), (12, 4)], [0, 9], 3),
        ([(0, 4), (12, 4), (24, 4)], [0, 13], 2),
        ([(0, 4), (12, 4), (24, 4)], [12, 24], 2),
        ([(0, 4), (12, 4), (24, 4)], [0, 0], 2),
        ([(0, 4), (12, 4), (24, 4)], [], 2),
    ],
)
def test_fragments_that_do_not_divide_are_refused(
    fragments: list[tuple[int, int]], offsets: list[int], count: int
) -> None:
    with pytest.raises(MalformedDicom):
        frame_fragments(fragments, offsets, count, lambda _: True)


def test_the_offset_table_of_a_real_multi_frame_file_is_followed() -> None:
    original = instance("examples_ybr_color.dcm")
    lengths = [len(part) for part in generate_fragments(original.PixelData)][1:]
    fragments = []
    position = 8
    for length in lengths:
        fragments.append((position, length))
        position += length + 8
    offsets = [start - 8 for start, _ in fragments]

    assert len(frame_fragments(fragments, offsets, len(lengths), lambda _: False)) == 30


def test_the_first_bytes_tell_an_image_format() -> None:
    assert image_kind(jpeg_like()[:12]) is Codestream.JPEG
    assert image_kind(codestream_like()[:12]) is Codestream.JPEG_2000
    assert image_kind(wrap_in_jp2(b"")[:12]) is Codestream.JPEG_2000
    assert image_kind(b"\xff\x0a") is image_kind(jxl_container()[:12]) is Codestream.JPEG_XL
    assert image_kind(b"\x00\x00\x00\x00") is Codestream.UNKNOWN
