"""JPEG masked in its blocks: read again by two other libraries, coefficient by coefficient."""

import io
import struct
from dataclasses import replace

import imagecodecs
import jpeglib
import numpy as np
import pytest
from PIL import Image

from app.errors import MalformedDicom, UndecidableElement
from app.pixels.codecs import cleaned
from app.pixels.codecs_blocks import grown, unit_of
from app.pixels.codecs_headers import header_of
from app.pixels.codecs_huffman import Table
from app.pixels.model import Box, Palette
from tests.pixels.framing import (
    BOX,
    JPEG,
    inside,
    mark,
    mask_one,
    masked,
    noise,
    outside,
    picture,
)

BASELINE, EXTENDED, RECOMPRESSED = JPEG + "50", JPEG + "51", JPEG + "111"
MIDDLE = Box(13, 9, 42, 21)


def _even(data):
    return bytes(data) + b"\0" * (len(data) % 2)


def _jpeg(values, **options):
    """Encode with Pillow."""
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "JPEG", **({"quality": 85} | options))
    return _even(buffer.getvalue())


def _colour(**options):
    values = noise(8, 3)
    return _jpeg(values, **options), picture(BASELINE, values, "YBR_FULL_422")


def _grey(photometric="MONOCHROME2", **options):
    values = noise(8)
    return _jpeg(values, **options), picture(BASELINE, values, photometric)


def _coefficients(data, folder):
    """Read the coefficients with jpeglib."""
    path = folder / "frame.jpg"
    path.write_bytes(data)
    read = jpeglib.read_dct(str(path))
    read.load()
    parts = [read.Y] if read.Cb is None else [read.Y, read.Cb, read.Cr]
    return [np.array(part) for part in parts], np.array(read.qt), np.array(read.samp_factor)


def _shown(data):
    """Decode with Pillow."""
    return np.asarray(Image.open(io.BytesIO(data)))


def _rgb():
    values = noise(8, 3)
    return _jpeg(values, keep_rgb=True), picture(BASELINE, values, "RGB")


FORMS = {
    "rgb": _rgb,
    "grey": _grey,
    "grey-inverted": lambda: _grey("MONOCHROME1"),
    "grey-own-tables": lambda: _grey(optimize=True),
    "grey-coarse": lambda: _grey(quality=5),
    "grey-fine": lambda: _grey(quality=100),
    "grey-restarts": lambda: _grey(restart_marker_blocks=3),
    "colour-444": lambda: _colour(subsampling=0),
    "colour-422": lambda: _colour(subsampling=1),
    "colour-420": lambda: _colour(subsampling=2),
    "colour-own-tables": lambda: _colour(subsampling=2, optimize=True),
    "colour-restarts": lambda: _colour(subsampling=1, restart_marker_rows=1),
    "colour-fine": lambda: _colour(subsampling=0, quality=100),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("box", [MIDDLE, Box(0, 0, 70, 10), Box(60, 40, 70, 45), Box(5, 5, 6, 6)])
def test_coefficients_outside_of_the_grown_mark_stay(form, box, tmp_path):
    before, image = FORMS[form]()
    header = header_of(before)

    after = mask_one(before, image, box)

    old, tables, sampling = _coefficients(before, tmp_path)
    new, new_tables, new_sampling = _coefficients(after, tmp_path)
    np.testing.assert_array_equal(tables, new_tables)
    np.testing.assert_array_equal(sampling, new_sampling)
    unit, whole = unit_of(header), grown(box, unit_of(header))
    for component, first, second in zip(header.components, old, new, strict=True):
        width = unit.width // (component.horizontal if len(old) > 1 else 1)
        height = unit.height // (component.vertical if len(old) > 1 else 1)
        keep = np.ones(first.shape[:2], bool)
        hidden = (
            slice(whole.top // height, -(-whole.bottom // height)),
            slice(whole.left // width, -(-whole.right // width)),
        )
        keep[hidden] = False
        np.testing.assert_array_equal(first[keep], second[keep])
        assert not second[hidden].reshape(-1, 64)[:, 1:].any()


@pytest.mark.parametrize("form", FORMS)
def test_pixels_under_the_mark_are_black_and_those_beside_it_stay(form):
    before, image = FORMS[form]()

    after = mask_one(before, image)

    unit = unit_of(header_of(before))
    whole = grown(BOX, unit)
    beside = Box(
        whole.left - unit.width,
        whole.top - unit.height,
        whole.right + unit.width,
        whole.bottom + unit.height,
    )
    old, new = _shown(before), _shown(after)
    np.testing.assert_array_equal(outside(old, beside), outside(new, beside))
    level = 255 if image.photometric == "MONOCHROME1" else 0
    centre = Box(BOX.left + 3, BOX.top + 3, BOX.right - 3, BOX.bottom - 3)
    assert (inside(new, centre) == level).all()


def test_metadata_goes_and_colour_marks_stay():
    before, image = _colour(subsampling=0, comment=b"Quillon", dpi=(90, 90))

    after = mask_one(before, image)

    assert b"Quillon" not in after
    assert header_of(after) == header_of(before)


def test_the_header_and_codes_are_those_of_the_frame():
    before, image = _grey()
    before = cleaned(before, image)

    after = mask_one(before, image)

    scan = before.index(b"\xff\xda")
    assert after[:scan] == before[:scan]


def test_a_frame_whose_parts_come_in_scans_of_their_own():
    values = noise(8, 3)
    before = _split(_jpeg(values, subsampling=0))
    image = picture(BASELINE, values, "YBR_FULL_422")

    after = mask_one(before, image)

    whole = grown(BOX, unit_of(header_of(before)))
    np.testing.assert_array_equal(outside(_shown(after), whole), outside(_shown(before), whole))
    assert not inside(_shown(after)).any()


def _split(data):
    """Write a colour frame of one scan as three scans of the same coefficients."""
    parts = [np.frombuffer(_channel(data, index), np.uint8).tobytes() for index in range(3)]
    head = data[: data.index(b"\xff\xda")]
    return _even(head + b"".join(parts) + b"\xff\xd9")


def _channel(data, index):
    """Return one component's scan, coded by Pillow as a grey image with the same tables."""
    plane = np.asarray(Image.open(io.BytesIO(data)).convert("YCbCr"))[:, :, index]
    tables = Image.open(io.BytesIO(data)).quantization
    buffer = io.BytesIO()
    Image.fromarray(plane).save(buffer, "JPEG", qtables=[tables[min(index, 1)]])
    scan = buffer.getvalue()
    start = scan.index(b"\xff\xda")
    # The tables that Pillow writes for grey are the first ones of those that it writes for colour.
    return struct.pack(">HHBBBBBB", 0xFFDA, 8, 1, index + 1, 0x00, 0, 63, 0) + scan[start + 10 : -2]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_twelve_bits_are_masked_in_their_blocks(photometric):
    values = noise(12)
    image = picture(EXTENDED, values, photometric, bits=12)
    before = _even(imagecodecs.jpeg8_encode(values, level=90, bitspersample=12))

    done = masked([before], image, [mark()])

    after = imagecodecs.jpeg8_decode(done.frames[0])
    old = imagecodecs.jpeg8_decode(before)
    whole = grown(BOX, unit_of(header_of(before)))
    np.testing.assert_array_equal(outside(after, whole), outside(old, whole))
    assert (inside(after) == (4095 if photometric == "MONOCHROME1" else 0)).all()
    assert done.answer["grown_to"] == [8, 8]
    assert not done.answer["is_lossy_again"]


def test_every_frame_has_its_own_codes():
    first, image = _grey(optimize=True)
    second = _jpeg(noise(8, seed=7), optimize=True, quality=60)

    done = masked([first, second], replace(image, frames=2), [mark()])

    for before, after in zip((first, second), done.frames, strict=True):
        assert not inside(_shown(after)).any()
        whole = grown(BOX, unit_of(header_of(before)))
        np.testing.assert_array_equal(outside(_shown(before), whole), outside(_shown(after), whole))


def test_a_progressive_frame_is_refused_unless_a_loss_is_allowed():
    values = noise(8, 3)
    before = _jpeg(values, progressive=True, quality=95, subsampling=0)
    image = picture(BASELINE, values, "YBR_FULL_422")

    with pytest.raises(UndecidableElement):
        mask_one(before, image)
    done = masked([before], image, [mark()], lossy="allow")

    assert done.answer["photometric"] == "YBR_FULL"
    assert done.answer["is_lossy_again"]
    assert header_of(done.frames[0]).marker == 0xC0
    difference = _shown(done.frames[0]).astype(int) - _shown(before)
    far = Box(BOX.left - 8, BOX.top - 8, BOX.right + 8, BOX.bottom + 8)
    assert np.abs(outside(difference, far)).max() <= 6
    assert inside(_shown(done.frames[0])).max() <= 12


def test_a_palette_in_a_format_that_loses_is_refused():
    values = noise(8)
    palette = Palette(256, 0, 8, bytes(range(256)), bytes(256), bytes(256))

    with pytest.raises(UndecidableElement):
        mask_one(_jpeg(values), picture(BASELINE, values, "PALETTE COLOR", palette=palette))


def test_a_progressive_frame_without_a_mark_stays():
    values = noise(8)
    before = cleaned(_jpeg(values, progressive=True), picture(BASELINE, values, "MONOCHROME2"))

    done = masked([before], picture(BASELINE, values, "MONOCHROME2"), [])

    assert done.frames == [before]


def test_a_jpeg_inside_of_jpeg_xl_is_masked_in_its_blocks():
    values = noise(8, 3)
    jpeg = _jpeg(values, subsampling=0)
    before = _even(imagecodecs.jpegxl_encode_jpeg(jpeg))
    image = picture(RECOMPRESSED, values, "YBR_FULL")

    done = masked([before], image, [mark()])

    old = imagecodecs.jpegxl_decode(before)
    new = imagecodecs.jpegxl_decode(done.frames[0])
    beside = Box(BOX.left - 16, BOX.top - 16, BOX.right + 16, BOX.bottom + 16)
    assert np.abs(outside(new.astype(int) - old, beside)).max() <= 1
    assert inside(new).max() <= 2
    assert done.answer["grown_to"] == [8, 8]


def test_a_jpeg_xl_frame_that_never_was_a_jpeg_is_refused_there():
    values = noise(8)
    image = picture(RECOMPRESSED, values, "MONOCHROME2")

    with pytest.raises(UndecidableElement):
        mask_one(_even(imagecodecs.jpegxl_encode(values, lossless=True)), image)


# --- Huffman tables -----------------------------------------------------------------------------


def test_a_lengthened_table_keeps_its_codes():
    table = Table((0, 2, 1, *[0] * 13), bytes((3, 7, 9)))

    longer = table.extended([7, 1, 2, 4])

    assert {symbol: longer.codes()[symbol] for symbol in (3, 7, 9)} == table.codes()
    assert set(longer.symbols) == {3, 7, 9, 1, 2, 4}
    for code, length in longer.codes().values():
        assert code != (1 << length) - 1


def test_a_table_that_is_full_cannot_be_lengthened():
    # Sixteen lengths with one code each leave only the one of all ones.
    table = Table((1,) * 16, bytes(range(16)))

    with pytest.raises(UndecidableElement):
        table.extended([200])


def test_a_table_with_more_codes_than_there_can_be_is_refused():
    with pytest.raises(MalformedDicom):
        Table((3, *[0] * 15), bytes((1, 2, 3))).codes()


def test_tables_of_a_flat_frame_get_the_codes_that_black_needs():
    values = np.full((45, 70), 200, np.uint8)
    before = _jpeg(values, optimize=True)
    image = picture(BASELINE, values, "MONOCHROME2")

    after = mask_one(before, image)

    whole = grown(BOX, unit_of(header_of(before)))
    assert (outside(_shown(after), whole) == outside(_shown(before), whole)).all()
    assert not inside(_shown(after)).any()


# --- Hostile ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_damaged_frames_are_refused_or_masked(form):
    before, image = FORMS[form]()
    rng = np.random.default_rng(3)

    for _ in range(12):
        broken = bytearray(before)
        for place in rng.integers(0, len(before), 3):
            broken[place] ^= 1 << rng.integers(0, 8)
        try:
            after = mask_one(bytes(broken), image)
        except (MalformedDicom, UndecidableElement):
            continue
        assert header_of(after).rows == image.rows


def test_every_cut_frame_is_refused():
    before, image = _grey()

    for size in range(0, len(before) - 40, 61):
        with pytest.raises((MalformedDicom, UndecidableElement)):
            mask_one(before[:size], image)


def test_a_frame_with_a_pretended_size_is_refused_before_it_is_decoded():
    before, image = _grey()
    place = before.index(b"\xff\xc0") + 5
    huge = before[:place] + b"\xff\xff\xff\xff" + before[place + 4 :]

    with pytest.raises(MalformedDicom):
        mask_one(huge, image)
