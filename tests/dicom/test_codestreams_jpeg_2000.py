"""Codestreams of JPEG 2000 and the boxes around them and around JPEG XL."""

import struct

import pytest

from app.dicom.codestreams import metadata_edits
from app.errors import MalformedDicom, UndecidableElement
from tests.dicom.compressed import (
    CANARY,
    JPEG_2000,
    JPEG_XL,
    box,
    codestream_like,
    even,
    jxl_container,
    segment,
    strip,
    wrap_in_jp2,
)


def test_an_open_last_tile_part_ends_at_the_end_marker() -> None:
    frame = codestream_like(psot=0, tile_parts=segment(0x64, b"\x00\x01" + CANARY))

    stripped = strip(frame + CANARY, JPEG_2000)

    assert CANARY not in stripped
    assert len(stripped) == len(even(frame))


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

    assert strip(wrap_in_jp2(codestream_like(), natural), JPEG_2000) == even(codestream_like())
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

    assert strip(head + long_box, JPEG_2000) == even(codestream_like())


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
