"""Text behind what units, headers and tables of a video hold."""

import struct

import pytest

from app.dicom.video import video_edits
from app.errors import MalformedDicom, UndecidableElement
from tests.dicom.test_video import (
    CANARY,
    CONFIGURATION,
    H_264,
    H_265,
    MPEG_2,
    PPS,
    SLICE,
    SLICE_265,
    SPS,
    VPS_265,
    annex_b,
    blanked,
    box,
    mp4,
    sample,
)

AUD, END = b"\x09\x10", b"\x0a"
AUD_265, END_265 = b"\x46\x01\x10", b"\x48\x01"


@pytest.mark.parametrize("end", [AUD, END, b"\x0b"])
def test_units_of_h_264_that_hold_nothing_hold_nothing(end: bytes) -> None:
    cleaned = blanked(annex_b(SPS, PPS, SLICE, end + CANARY, SLICE, end + CANARY), H_264)

    assert cleaned == annex_b(SPS, PPS, SLICE, end + bytes(11), SLICE, end + bytes(11))


@pytest.mark.parametrize("end", [AUD_265, END_265, b"\x4a\x01"])
def test_units_of_h_265_that_hold_nothing_hold_nothing(end: bytes) -> None:
    cleaned = blanked(annex_b(VPS_265, SLICE_265, end + CANARY), H_265)

    assert cleaned == annex_b(VPS_265, SLICE_265, end + bytes(11))


@pytest.mark.parametrize("gap", [3, 4, 9])
def test_a_unit_ends_with_three_zeros(gap: int) -> None:
    stream = annex_b(SPS, PPS, SLICE + bytes(gap) + CANARY, SLICE + bytes(gap) + CANARY)

    cleaned = blanked(stream, H_264)

    assert cleaned == annex_b(SPS, PPS, *[SLICE + bytes(gap + len(CANARY))] * 2)


def test_zeros_across_pieces_end_a_unit_as_well() -> None:
    for shift in range(6):
        long = SLICE + b"\x55" * ((1 << 20) - 20 + shift)

        assert CANARY not in blanked(annex_b(SPS, long + bytes(3) + CANARY, SLICE), H_264)


def test_zeros_behind_a_unit_are_no_reason_to_change_it() -> None:
    stream = annex_b(SPS, SLICE + bytes(7), SLICE + bytes(5))

    assert video_edits(lambda at, size: stream[at : at + size], len(stream), H_264) == []


SEQUENCE = b"\0\0\1\xb3\x04\x00\x40\x13\xff\xff\xe0\x20"
MATRIX = bytes(range(8, 72))
PICTURES = {
    "I": b"\0\0\1\0\x00\x0f\xff\xf8",
    "P": b"\0\0\1\0\x00\x17\xff\xfb\x80",
    "B": b"\0\0\1\0\x00\x1f\xff\xfb\xb8",
}
SLICE_2 = b"\0\0\1\x01\x13\xf8\x55\x66"


def mpeg_2(*parts: bytes) -> bytes:
    return b"".join(parts)


@pytest.mark.parametrize(
    "part",
    [
        b"\0\0\1\xb7",
        b"\0\0\1\xb8\x00\x08\x00\x60",
        SEQUENCE[:-1] + b"\x20",
        SEQUENCE[:-1] + b"\x21" + MATRIX,
        SEQUENCE[:-1] + b"\x22" + MATRIX[:-1] + b"\x48",
        SEQUENCE[:-1] + b"\x22" + MATRIX[:-1] + b"\x49" + MATRIX,
        b"\0\0\1\xb5\x14\x8a\x00\x01\x00\x00",
        b"\0\0\1\xb5\x25\x05\x05\x05\x20\x21\x20\x80",
        b"\0\0\1\xb5\x8f\xff\xf3\x41\x80",
        *PICTURES.values(),
        SLICE_2 + bytes(3),
    ],
)
def test_text_behind_a_part_of_mpeg_2_goes(part: bytes) -> None:
    stream = mpeg_2(SEQUENCE, part + CANARY, SLICE_2, part + CANARY)

    cleaned = blanked(stream, MPEG_2)

    assert CANARY not in cleaned
    assert CANARY[4:] not in cleaned
    whole = mpeg_2(SEQUENCE, part, SLICE_2, part)
    assert video_edits(lambda at, size: whole[at : at + size], len(whole), MPEG_2) == []


@pytest.mark.parametrize("kind", PICTURES)
def test_information_inside_a_picture_header_goes(kind: str) -> None:
    head = bytearray(PICTURES[kind])
    bit = {"I": 61, "P": 65, "B": 69}[kind]
    head += bytes(bit // 8 + 1 - len(head))
    head[bit // 8] |= 0x80 >> bit % 8
    stream = mpeg_2(SEQUENCE, bytes(head) + b"\xaa" * 5, SLICE_2)

    assert blanked(stream, MPEG_2) == mpeg_2(
        SEQUENCE, PICTURES[kind].ljust(len(head) + 5, b"\0"), SLICE_2
    )


def test_information_inside_a_slice_header_is_refused() -> None:
    with pytest.raises(UndecidableElement):
        blanked(mpeg_2(SEQUENCE, b"\0\0\1\x01\x14\x02\x5a\x5a\x5a"), MPEG_2)


def table(kind: bytes, *numbers: int, surplus: bytes = b"") -> bytes:
    return box(kind, bytes(4), struct.pack(f">{len(numbers)}I", *numbers), surplus)


def test_brands_that_nobody_knows_become_a_usual_one() -> None:
    cleaned = blanked(mp4().replace(b"isom", b"JOHN", 1), H_264)

    assert b"JOHN" not in cleaned


@pytest.mark.parametrize(
    "extra",
    [
        table(b"stss", 1, 1, surplus=CANARY),
        table(b"ctts", 1, 2, 0, surplus=CANARY),
        table(b"sdtp", surplus=b"\x20\x20" + CANARY),
        table(b"cslg", 0, 0, 0, 0, 0, surplus=CANARY),
    ],
)
def test_text_behind_the_entries_of_a_table_goes(extra: bytes) -> None:
    cleaned = blanked(mp4(extra=extra), H_264)

    assert extra[8:-11] in cleaned
    assert CANARY not in cleaned


def test_text_behind_the_configuration_of_a_decoder_goes() -> None:
    grown = mp4(coded=(b"avc1", b"avcC", CONFIGURATION + CANARY))

    assert CANARY not in blanked(grown, H_264)


def test_the_configuration_of_a_high_profile_has_more_in_it() -> None:
    high = CONFIGURATION[:1] + b"\x64" + CONFIGURATION[2:] + b"\xfd\xf8\xf8\0"
    cleaned = blanked(mp4(coded=(b"avc1", b"avcC", high + CANARY)), H_264)

    assert high in cleaned
    assert CANARY not in cleaned


def test_text_behind_a_unit_of_a_sample_goes() -> None:
    units = (AUD + CANARY, SLICE + bytes(3) + CANARY)
    cleaned = blanked(mp4(samples=(sample(*units), sample(SLICE))), H_264)

    assert CANARY not in cleaned
    assert sample(AUD + bytes(11), SLICE + bytes(14)) in cleaned


def test_what_is_reserved_in_headers_and_entries_goes() -> None:
    whole = mp4()
    planted = whole
    for kind, at in ((b"mvhd", 26), (b"mvhd", 72), (b"tkhd", 24), (b"avc1", 16), (b"hdlr", 4)):
        start = planted.index(kind, 32) + (0 if kind == b"avc1" else 4) + at
        start -= 4 if kind == b"avc1" else 0
        planted = planted[:start] + b"JOHN" + planted[start + 4 :]

    assert planted.count(b"JOHN") == 5
    assert blanked(planted, H_264) == blanked(whole, H_264)


@pytest.mark.parametrize("kind", [b"mvhd", b"tkhd"])
def test_a_header_that_is_too_short_is_refused(kind: bytes) -> None:
    short = mp4().replace(b"free" + CANARY, b"free" + CANARY + box(kind, bytes(20)))

    with pytest.raises(MalformedDicom):
        blanked(short, H_264)
