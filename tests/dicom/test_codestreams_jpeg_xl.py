"""Codestreams of JPEG XL, bare and in boxes: nothing stays behind their end where that is known."""

import struct
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from app.dicom.codestreams import metadata_edits
from app.dicom.codestreams_jpeg_xl import end_of_codestream
from app.errors import MalformedDicom, UndecidableElement
from tests.dicom.compressed import CANARY, JPEG_XL, box, even, jxl_container, strip

Image = NDArray[Any]
LOSSY = {"distance": 1.0}
LOSSLESS = {"lossless": True}


def image(rows: int, columns: int, samples: int, kind: str) -> Image:
    noise = np.random.default_rng(rows).integers(0, 200, (rows, columns, samples))
    down, across = np.mgrid[:rows, :columns]
    smooth = (down + across)[..., None] // 3 + noise // 40
    made: Image = smooth.astype(kind) if samples > 1 else smooth[..., 0].astype(kind)
    return made


def encoded(pixels: Image, **how: object) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(pixels, usecontainer=False, numthreads=1, **how))


@pytest.mark.parametrize("how", [LOSSLESS, LOSSLESS | {"effort": 1}, LOSSY, LOSSY | {"effort": 3}])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (8, 24), (100, 37), (257, 300), (520, 512)])
def test_what_stands_behind_a_codestream_goes(
    size: tuple[int, int], samples: int, how: dict[str, object]
) -> None:
    pixels = image(*size, samples, "u1")
    frame = encoded(pixels, **how)

    stripped = strip(frame + CANARY, JPEG_XL)

    assert frame.startswith(b"\xff\x0a")
    assert stripped == even(frame)
    assert metadata_edits(stripped, JPEG_XL) == []
    assert np.array_equal(imagecodecs.jpegxl_decode(stripped), imagecodecs.jpegxl_decode(frame))


@pytest.mark.parametrize("samples", [1, 3])
def test_what_stands_in_a_box_behind_the_codestream_goes(samples: int) -> None:
    pixels = image(40, 30, samples, "u2")
    frame = encoded(pixels, **LOSSLESS)  # of 16 bits: in boxes
    start = frame.index(b"jxlc") - 4
    bare = frame[start + 8 :]
    planted = frame[:start] + box(b"jxlc", bare + CANARY) + box(b"Exif", CANARY)

    stripped = strip(planted, JPEG_XL)

    assert CANARY not in stripped
    assert np.array_equal(imagecodecs.jpegxl_decode(stripped), pixels)
    assert metadata_edits(stripped, JPEG_XL) == []


@pytest.mark.parametrize("samples", [1, 3])
def test_what_stands_behind_the_last_part_of_a_recompressed_jpeg_goes(samples: int) -> None:
    whole = bytes(
        imagecodecs.jpegxl_encode_jpeg(imagecodecs.jpeg8_encode(image(300, 270, samples, "u1")))
    )
    start = whole.rindex(b"jxlp") - 4
    planted = whole[:start] + box(b"jxlp", whole[start + 8 :] + CANARY)

    stripped = strip(planted, JPEG_XL)

    assert CANARY not in stripped
    assert stripped == strip(whole, JPEG_XL)
    assert np.array_equal(imagecodecs.jpegxl_decode(stripped), imagecodecs.jpegxl_decode(whole))


SMALL = encoded(image(8, 8, 1, "u1"), **LOSSLESS)
TYPE = box(b"ftyp", b"jxl \x00\x00\x00\x00jxl ")


def test_boxes_around_a_codestream_hold_what_they_have_to() -> None:
    whole = jxl_container(box(b"jxll", b"\x0a"), box(b"jxlc", SMALL))
    planted = whole.replace(TYPE, box(b"ftyp", b"jxl \x00\x00\x00\x00jxl " + CANARY))
    planted = planted.replace(box(b"jxll", b"\x0a"), box(b"jxll", b"\x0a" + CANARY))

    assert strip(planted, JPEG_XL) == even(whole)


def test_parts_of_a_codestream_follow_each_other() -> None:
    def part(number: int, content: bytes) -> bytes:
        return box(b"jxlp", struct.pack(">I", number) + content)

    last = 1 << 31
    whole = jxl_container(part(0, SMALL[:9]), part(1 | last, SMALL[9:]))

    assert strip(whole, JPEG_XL) == even(whole)
    for parts in (
        [part(0, SMALL)],
        [part(0 | last, SMALL), part(1 | last, CANARY)],
        [part(1 | last, SMALL)],
        [part(0, SMALL + CANARY), part(1 | last, CANARY)],
        [part(last, SMALL), box(b"jxlc", SMALL)],
        [box(b"jxlc", SMALL), box(b"jxlc", SMALL)],
        [],
    ):
        with pytest.raises(MalformedDicom):
            metadata_edits(jxl_container(*parts), JPEG_XL)


def bits(*fields: tuple[int, int]) -> bytes:
    """Pack (value, size) one behind the other, the lowest bit first."""
    value = at = 0
    for field, size in fields:
        value |= field << at
        at += size
    return b"\xff\x0a" + value.to_bytes(-(-at // 8), "little")


SIZE = ((1, 1), (0, 5), (1, 3))  # 8 by 8
USUAL = ((1, 1), (1, 1), (0, 7))  # all as usual, no transform, and up to the next byte
PLAIN_FRAME = ((0, 1), (0, 2), (0, 1), (0, 2), (0, 2), (0o23, 6), (0, 2))


def framed(*more: tuple[int, int]) -> bytes:
    """Return an image of 8 by 8 with a header of its frame behind what is usual."""
    return bits(*SIZE, (1, 1), (1, 1), (0, 5), *PLAIN_FRAME, *more)


def test_a_frame_with_a_name_is_refused() -> None:
    named = framed((0, 1), (0, 2), (1, 1), (1, 2), (4, 4), (0x5A5A, 32))

    with pytest.raises(UndecidableElement):
        metadata_edits(named, JPEG_XL)


@pytest.mark.parametrize(
    "frame",
    [
        framed((1, 1), (0, 64)),
        framed((0, 1), (1, 2), (0, 64)),
        framed((0, 1), (0, 2), (0, 1), (0, 64)),
        framed((0, 1), (0, 2), (1, 1), (0, 2), (1, 1), (3, 2), (0, 64)),
        framed((0, 1), (0, 2), (1, 1), (0, 2), (1, 1), (0, 2), (1, 1), (0, 64)),
        bits(*SIZE, (0, 1), (1, 1), (0, 3), (0, 1), (1, 2), (0, 64)),
        bits(*SIZE, (0, 1), (0, 1), (0, 3), (0, 1), (1, 2), (0, 64)),
        bits(*SIZE, (0, 1), (0, 1), (0, 3), (0, 1), (0, 2), (0, 1), (0, 1), (1, 1), (0, 64)),
    ],
    ids=["crop", "blending", "not last", "extensions", "permuted", "preview", "extra", "profile"],
)
def test_an_image_that_is_not_read_stays(frame: bytes) -> None:
    planted = even(frame + CANARY)

    assert metadata_edits(planted, JPEG_XL) == []


def test_a_codestream_that_is_longer_than_its_frame_stays_as_it_is() -> None:
    assert end_of_codestream(SMALL, 0, len(SMALL) - 1) is None


@pytest.mark.parametrize(
    "frame", [b"\xff\x0a", b"\xff\x0a\x00", SMALL[:4], jxl_container(box(b"jxlc", CANARY))]
)
def test_a_damaged_codestream_is_refused(frame: bytes) -> None:
    with pytest.raises(MalformedDicom):
        metadata_edits(frame, JPEG_XL)
