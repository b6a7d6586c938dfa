"""What segments of JPEG 2000 hold behind their content, and pointers that point to nothing."""

import struct

import numpy as np
import pytest

from app.dicom.codestreams import metadata_edits
from app.errors import MalformedDicom
from tests.dicom.compressed import (
    CANARY,
    JPEG_2000,
    SIZ,
    codestream_like,
    codestream_of_parts,
    even,
    frames_of,
    instance,
    segment,
    strip,
    tile_part,
    with_frames,
)

FILES = ["693_J2KI.dcm", "MR_small_jp2klossless.dcm", "examples_jpeg2k.dcm"]
LEVELS = 1
COD = segment(0x52, bytes((0, 0, 0, 1, 0, LEVELS, 0, 0, 0, 0)))
COD_WITH_PRECINCTS = segment(0x52, bytes((1, 0, 0, 1, 0, LEVELS, 0, 0, 0, 0, 0x11, 0x22)))
QCD = segment(0x5C, b"\x40" + bytes(range(1, 2 + 3 * LEVELS)))
TLM_MARK, PLT_MARK = 0x55, 0x58


def grown(part: bytes) -> bytes:
    return segment(part[1], part[4:] + CANARY)


def blanked(part: bytes) -> bytes:
    return segment(part[1], part[4:] + bytes(len(CANARY)))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("marker", [0x52, 0x5C])
def test_text_behind_the_content_of_a_segment_goes(name: str, marker: int) -> None:
    original = instance(name)
    syntax = original.file_meta.TransferSyntaxUID
    frame = frames_of(original)[0]
    start = frame.index(bytes((0xFF, marker)))
    stop = start + 2 + int.from_bytes(frame[start + 2 : start + 4], "big")
    planted = frame[:start] + grown(frame[start:stop]) + frame[stop:]

    stripped = strip(planted, syntax)

    assert CANARY not in stripped
    assert metadata_edits(stripped, syntax) == []


@pytest.mark.parametrize("name", FILES)
def test_pointers_and_registration_of_components_go(name: str) -> None:
    original = instance(name)
    syntax = original.file_meta.TransferSyntaxUID
    frame = frames_of(original)[0]
    first = frame.index(b"\xff\x90\x00\x0a")
    extra = b"".join(segment(marker, CANARY) for marker in (TLM_MARK, 0x56, 0x57, 0x59, 0x63, 0x64))
    planted = [frame[:first] + extra + frame[first:], *frames_of(original)[1:]]

    stripped = [strip(one, syntax) for one in planted]

    assert stripped == [strip(one, syntax) for one in frames_of(original)]
    assert np.array_equal(with_frames(original, stripped).pixel_array, original.pixel_array)


@pytest.mark.parametrize(
    "part",
    [
        SIZ,
        COD,
        COD_WITH_PRECINCTS,
        QCD,
        segment(0x50, b"\x00\x02\x00\x00\x00\x07"),
        segment(0x53, bytes((0, 0, LEVELS, 0, 0, 0, 0))),
        segment(0x53, bytes((0, 1, LEVELS, 0, 0, 0, 0, 0x11, 0x22))),
        segment(0x5C, b"\x41\x00\x01"),
        segment(0x5C, b"\x42" + bytes(range(1, 3 + 6 * LEVELS))),
        segment(0x5D, b"\x00\x40" + bytes(range(1, 2 + 3 * LEVELS))),
        segment(0x5E, b"\x00\x00\x03"),
    ],
)
def test_what_no_decoder_reads_in_a_segment_is_blanked(part: bytes) -> None:
    coding = b"" if part in {COD, COD_WITH_PRECINCTS} else COD
    whole = codestream_of_parts(coding, part, tile_part())
    if part is SIZ:
        whole = codestream_of_parts(COD, tile_part())
    planted = whole.replace(part, grown(part), 1)

    assert strip(planted, JPEG_2000) == even(whole.replace(part, blanked(part), 1))
    assert strip(whole, JPEG_2000) == even(whole)


def test_what_no_decoder_reads_in_a_tiles_segment_is_blanked() -> None:
    whole = codestream_of_parts(COD, tile_part(grown(QCD)))

    assert strip(whole, JPEG_2000) == even(whole.replace(CANARY, bytes(len(CANARY))))


def test_comments_of_a_tile_become_blank() -> None:
    frame = codestream_like(tile_parts=segment(0x64, CANARY) + segment(0x63, CANARY))
    blank = segment(0x64, bytes(len(CANARY)))

    assert strip(frame, JPEG_2000) == even(codestream_like(tile_parts=blank * 2))


@pytest.mark.parametrize(
    ("bodies", "stays"),
    [
        ([b"\x00\x0a"], True),
        ([b"\x00\x03\x07"], True),
        ([b"\x01\x07", b"\x00\x03"], True),
        ([b"\x00\x80\x0a"], True),
        ([b"\x00\x03"], False),
        ([b"\x00\x0b"], False),
        ([b"\x00\x0a\x80"], False),
        ([b"\x00" + b"\xff" * 20], False),
        ([CANARY], False),
    ],
)
def test_lengths_of_packets_stay_if_they_are_those_of_the_tile_part(
    bodies: list[bytes], stays: bool
) -> None:
    lengths = b"".join(segment(PLT_MARK, body) for body in bodies)
    blank = b"".join(segment(0x64, bytes(len(body))) for body in bodies)

    stripped = strip(codestream_like(tile_parts=lengths), JPEG_2000)

    assert stripped == even(codestream_like(tile_parts=lengths if stays else blank))


PART_BYTES = len(tile_part())


@pytest.mark.parametrize(
    ("body", "stays"),
    [
        (b"\x00\x00" + struct.pack(">H", PART_BYTES), True),
        (b"\x00\x40" + struct.pack(">I", PART_BYTES), True),
        (b"\x00\x10\x00" + struct.pack(">H", PART_BYTES), True),
        (b"\x00\x60\x00\x00" + struct.pack(">I", PART_BYTES), True),
        (b"\x00\x50\x01" + struct.pack(">I", PART_BYTES), False),
        (b"\x00\x00" + struct.pack(">HH", PART_BYTES, 0x5A5A), False),
        (b"\x00\x00\x00", False),
        (b"\x00\x30\x00\x00\x00", False),
        (b"\x00", False),
    ],
)
def test_lengths_of_tile_parts_stay_if_they_are_those_of_the_codestream(
    body: bytes, stays: bool
) -> None:
    pointers = segment(TLM_MARK, body)

    stripped = strip(codestream_of_parts(pointers, tile_part()), JPEG_2000)

    assert stripped == even(codestream_of_parts(pointers * stays, tile_part()))


def test_tile_parts_follow_each_other() -> None:
    parts = [tile_part(numbers=(0, number, 2)) for number in range(3)]  # one more than it counts
    frame = codestream_of_parts(*parts)

    assert strip(frame, JPEG_2000) == even(frame)


@pytest.mark.parametrize(
    "parts",
    [
        [tile_part(numbers=(1, 0, 1))],
        [tile_part(numbers=(0, 1, 2))],
        [tile_part(numbers=(0, 0, 1)), tile_part(numbers=(0, 0, 1))],
        [tile_part(numbers=(0, number, 1)) for number in range(3)],
        [segment(0x54, CANARY), tile_part()],
        [SIZ, tile_part()],
        [COD, COD, tile_part()],
        [QCD, QCD, tile_part()],
        [COD, tile_part(segment(0x5D, b"\x00\x40\x08"), segment(0x5D, b"\x00\x40\x08"))],
        [segment(0x52, bytes(9)), tile_part()],
        [segment(0x52, b"\x01" + bytes(9)), tile_part()],
        [segment(0x5E, bytes(2)), tile_part()],
        [segment(0x5C, b""), tile_part()],
        [tile_part(SIZ)],
    ],
)
def test_what_a_codestream_cannot_have_is_refused(parts: list[bytes]) -> None:
    with pytest.raises(MalformedDicom):
        metadata_edits(codestream_of_parts(*parts), JPEG_2000)


@pytest.mark.parametrize("body", [bytes(35), bytes(36), struct.pack(">H8IH", 0, 8, 8, *[0] * 7)])
def test_an_image_without_tiles_is_refused(body: bytes) -> None:
    frame = b"\xff\x4f" + segment(0x51, body) + tile_part() + b"\xff\xd9"

    with pytest.raises(MalformedDicom):
        metadata_edits(frame, JPEG_2000)


def test_what_is_no_whole_change_of_progression_is_blanked() -> None:
    change = segment(0x5F, bytes((0, 0, 0, 1, 2, 1, 0)))
    whole = codestream_of_parts(COD, segment(0x5F, change[4:] + CANARY[:6]), tile_part())

    assert strip(whole, JPEG_2000) == even(whole.replace(CANARY[:6], bytes(6)))


def test_components_of_many_have_longer_numbers() -> None:
    many = segment(0x51, SIZ[4:38] + struct.pack(">H", 300) + b"\x07\x01\x01" * 300)
    region = segment(0x5E, b"\x01\x00\x00\x03")
    frame = b"\xff\x4f" + many + COD + region + tile_part() + b"\xff\xd9"

    assert strip(frame.replace(region, grown(region)), JPEG_2000) == even(
        frame.replace(region, blanked(region))
    )
