"""Metadata inside compressed frames: found, stripped, and the pixels stay the same."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_fragments, generate_frames
from pydicom.pixels import get_encoder
from pydicom.uid import UID

from app.dicom.codestreams import (
    Codestream,
    begins_image,
    codestream_of,
    frame_fragments,
    metadata_edits,
)
from app.dicom.edits import Edit, edited_size
from app.errors import GatewayError, LimitExceeded, MalformedDicom, UndecidableElement

CANARY = b"CANARY^ZEBEDEE"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
JPEG_XL = "1.2.840.10008.1.2.4.110"
RLE = "1.2.840.10008.1.2.5"
DEFLATED = "1.2.840.10008.1.2.8.1"

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


def strip(frame: bytes, syntax: str, segment_bytes: int | None = None) -> bytes:
    edits = metadata_edits(memoryview(frame), syntax, segment_bytes=segment_bytes)
    stripped = edited(frame, edits)
    assert len(stripped) == edited_size(len(frame), edits)
    return stripped


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


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


@pytest.mark.parametrize("syntax", [RLE, DEFLATED])
def test_bytes_behind_rle_segments_and_deflated_streams_go(syntax: str) -> None:
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    frame = encoded(pixels, syntax)
    planted = frame.rstrip(b"\x00") + b"\x00" * 2 + CANARY

    stripped = strip(planted, syntax, segment_bytes=64 * 64)

    assert CANARY not in stripped
    assert np.array_equal(decoded(stripped, pixels, syntax), pixels)
    assert metadata_edits(stripped, syntax, segment_bytes=64 * 64) == []


def test_the_gap_between_rle_segments_and_the_unused_header_are_blanked() -> None:
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    frame = encoded(pixels, RLE)
    second = struct.unpack_from("<I", frame, 8)[0]
    header = struct.pack("<III", 2, 64, second + 16) + CANARY.ljust(52, b"X")
    planted = header + frame[64:second] + CANARY + b"\x00\x00" + frame[second:]

    stripped = strip(planted, RLE, segment_bytes=64 * 64)

    assert CANARY not in stripped
    assert np.array_equal(decoded(stripped, pixels, RLE), pixels)


def test_rle_without_the_segment_size_is_checked_and_left() -> None:
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)

    assert metadata_edits(encoded(pixels, RLE), RLE) == []


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
    ],
)
def test_a_damaged_rle_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(MalformedDicom):
        metadata_edits(frame, RLE, segment_bytes=16)


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


def jpeg_like(*parts: bytes) -> bytes:
    scan = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00")
    return b"\xff\xd8" + b"".join(parts) + scan + b"\x12\xff\x00\x34\xff\xd0\x56" + b"\xff\xd9"


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


def codestream_like(*, psot: int | None = None, tile_parts: bytes = b"") -> bytes:
    data = b"\xff\x93" + bytes(10)
    length = 12 + len(tile_parts) + len(data) if psot is None else psot
    tile = b"\xff\x90\x00\x0a\x00\x00" + struct.pack(">I", length) + b"\x00\x01"
    return b"\xff\x4f" + segment(0x51, bytes(38)) + tile + tile_parts + data + b"\xff\xd9"


def test_an_open_last_tile_part_ends_at_the_end_marker() -> None:
    frame = codestream_like(psot=0, tile_parts=segment(0x64, b"\x00\x01" + CANARY))

    stripped = strip(frame + CANARY, JPEG_2000)

    assert CANARY not in stripped
    assert len(stripped) == len(frame)


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\x4f\xff\x51",
        codestream_like()[:-2],
        codestream_like()[:-8],
        codestream_like(psot=0)[:-2],
        codestream_like()[:-2] + b"\x00\x00",
        codestream_like(psot=9),
        codestream_like(psot=1 << 31),
        codestream_like().replace(b"\xff\x90\x00\x0a", b"\xff\x90\x00\x0c"),
        codestream_like(tile_parts=b"\xff\x30\x00\x02"),
        codestream_like().replace(b"\xff\x51", b"\xff\x51\xff\xff", 1),
    ],
)
def test_a_damaged_jpeg_2000_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(MalformedDicom):
        metadata_edits(frame, JPEG_2000)


def test_colours_that_come_from_a_palette_box_are_not_guessed() -> None:
    for header_box in (box(b"pclr", bytes(8)), box(b"cmap", bytes(4))):
        with pytest.raises(UndecidableElement):
            metadata_edits(wrap_in_jp2(codestream_like(), header_box), JPEG_2000)


def test_channels_in_their_natural_order_need_no_box() -> None:
    natural = box(b"cdef", struct.pack(">7H", 2, 0, 0, 1, 1, 0, 2))
    swapped = box(b"cdef", struct.pack(">7H", 2, 0, 0, 2, 1, 0, 1))

    assert strip(wrap_in_jp2(codestream_like(), natural), JPEG_2000) == codestream_like()
    with pytest.raises(UndecidableElement):
        metadata_edits(wrap_in_jp2(codestream_like(), swapped), JPEG_2000)


def test_a_jp2_frame_needs_exactly_one_codestream() -> None:
    whole = wrap_in_jp2(codestream_like())

    with pytest.raises(UndecidableElement):
        metadata_edits(whole + box(b"jp2c", codestream_like()), JPEG_2000)
    with pytest.raises(UndecidableElement):
        metadata_edits(whole[:32], JPEG_2000)
    with pytest.raises(MalformedDicom):
        metadata_edits(wrap_in_jp2(CANARY), JPEG_2000)
    with pytest.raises(MalformedDicom):
        metadata_edits(whole[:-1], JPEG_2000)


def test_a_long_box_is_understood() -> None:
    head = wrap_in_jp2(b"")[:-30]
    long_box = struct.pack(">I4sQ", 1, b"jp2c", 16 + len(codestream_like())) + codestream_like()

    assert strip(head + long_box, JPEG_2000) == codestream_like()


def jxl_container(*boxes: bytes) -> bytes:
    return box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \x00\x00\x00\x00jxl ") + b"".join(boxes)


def test_a_jpeg_xl_container_keeps_only_its_codestream() -> None:
    data = box(b"jxlc", b"\xff\x0a" + bytes(10))
    others = [box(kind, CANARY) for kind in (b"Exif", b"xml ", b"jbrd", b"jumb", b"brob", b"free")]

    stripped = strip(jxl_container(*others, data, *others) + b"ZEBRA", JPEG_XL)

    assert stripped == jxl_container(data)


def test_a_bare_jpeg_xl_codestream_stays() -> None:
    assert metadata_edits(b"\xff\x0a" + bytes(10), JPEG_XL) == []


def test_a_jpeg_xl_container_without_a_codestream_is_refused() -> None:
    with pytest.raises(MalformedDicom):
        metadata_edits(jxl_container(box(b"Exif", CANARY)), JPEG_XL)


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
    assert strip(codestream_like() + CANARY, JPEG_BASELINE) == codestream_like()


def test_damaged_or_endless_deflated_frames_are_refused() -> None:
    whole = encoded(np.arange(4096, dtype=np.uint16), DEFLATED)

    for frame in (b"", whole[:-40], b"\xff" * 32):
        with pytest.raises(MalformedDicom):
            metadata_edits(frame, DEFLATED)


def test_an_odd_frame_gets_its_pad_byte() -> None:
    frame = jpeg_like(segment(0xC4, bytes(16)))
    odd = frame if len(frame) % 2 else jpeg_like(segment(0xC4, bytes(17)))

    assert strip(odd, JPEG_BASELINE) == odd + b"\x00"
    assert metadata_edits(odd + b"\x00", JPEG_BASELINE) == []
    assert strip(odd + b"\xff", JPEG_BASELINE) == odd + b"\x00"


def test_markers_without_a_length_are_passed_over() -> None:
    frame = jpeg_like(b"\xff\x01" + segment(0xC4, bytes(17)))

    assert strip(frame + CANARY, JPEG_BASELINE) == frame + b"\x00" * (len(frame) % 2)


def test_a_deflated_frame_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.dicom.codestreams_packed._MAX_INFLATED", 1000)

    with pytest.raises(LimitExceeded):
        metadata_edits(encoded(np.zeros(4096, dtype=np.uint16), DEFLATED), DEFLATED)


def test_long_runs_of_ff_and_many_segments_take_linear_time() -> None:
    runs = jpeg_like(b"\xff" * 4_000_000 + segment(0xFE, CANARY))
    many = jpeg_like(segment(0xFE, CANARY) * 50_000)

    assert strip(runs, JPEG_BASELINE) == strip(jpeg_like(), JPEG_BASELINE)
    assert strip(many, JPEG_BASELINE) == strip(jpeg_like(), JPEG_BASELINE)


SEEDS = [
    (jpeg_like(PLANTED_SEGMENTS), JPEG_BASELINE),
    (codestream_like(tile_parts=segment(0x64, b"\x00\x01" + CANARY)), JPEG_2000),
    (wrap_in_jp2(codestream_like()), JPEG_2000),
    (jxl_container(box(b"jxlc", bytes(9))), JPEG_XL),
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
        stripped = strip(damaged, seed[1], segment_bytes=256)
    except GatewayError:
        return

    assert len(stripped) % 2 == 0
    assert metadata_edits(stripped, seed[1], segment_bytes=256) == []


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
    assert begins_image(jpeg_like()[:12])
    assert begins_image(codestream_like()[:12])
    assert begins_image(wrap_in_jp2(b"")[:12])
    assert not begins_image(b"\x00\x00\x00\x00")
