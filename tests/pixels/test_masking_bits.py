"""Palettes, and bits beside the values of pixels: what nobody sees goes as well."""

from dataclasses import replace

import numpy as np
import pytest

from app.errors import UndecidableElement
from app.pixels.codecs import cleaned, decode
from app.pixels.model import Palette
from tests.pixels.encoding import encode_j2k, encode_lossless, encode_ls, encode_rle, even
from tests.pixels.framing import (
    JPEG,
    NATIVE,
    RLE,
    inside,
    mark,
    mask_one,
    masked,
    noise,
    outside,
    picture,
)


def _palette(first=10):
    red = np.array([255, 30, 2, 200] * 50, "<u2") * 257
    return Palette(200, first, 16, red.tobytes(), red.tobytes(), red.tobytes())


def test_a_palette_gives_its_darkest_entry_and_says_which_are_used():
    values = noise(8) % 50 + 12
    image = picture(NATIVE, values, "PALETTE COLOR", palette=_palette())

    done = masked([values.tobytes()], image, [mark()])

    after = np.frombuffer(done.frames[0], "u1").reshape(values.shape)
    np.testing.assert_array_equal(outside(after), outside(values))
    assert set(inside(after).ravel().tolist()) == {12}
    entries = {n for low, high in done.answer["used_entries"] for n in range(low, high + 1)}
    assert entries == {int(value) - 10 for value in np.unique(after)}


def test_values_below_a_palette_use_its_first_entry():
    values = np.zeros((45, 70), "u1")
    image = picture(NATIVE, values, "PALETTE COLOR", palette=_palette(first=100))

    done = masked([values.tobytes()], image, [])

    assert done.answer["used_entries"] == [[0, 0]]


def test_an_image_whose_palette_is_not_there_is_refused():
    values = noise(8)

    with pytest.raises(UndecidableElement):
        mask_one(values.tobytes(), picture(NATIVE, values, "PALETTE COLOR"))


@pytest.mark.parametrize("syntax", [NATIVE, RLE, JPEG + "57", JPEG + "80", JPEG + "90"])
def test_bits_above_the_highest_are_cleared_without_any_mark(syntax):
    values = noise(12)
    dirty = values | ((noise(4, seed=3) & 0xF).astype("<u2") << 12)
    image = picture(syntax, dirty, "MONOCHROME2", bits=12)
    wide = replace(image, bits_stored=16, high_bit=15)
    encoders = {
        RLE: encode_rle,
        JPEG + "57": encode_lossless,
        JPEG + "80": encode_ls,
        JPEG + "90": encode_j2k,
    }
    before = even(encoders[syntax](dirty, wide)) if syntax != NATIVE else dirty.tobytes()

    done = masked([before], image, [])

    np.testing.assert_array_equal(decode(done.frames[0], image).values, values)
    assert done.answer["frames_changed"] == 1


def test_bits_beside_values_in_the_upper_part_are_cleared():
    values = noise(12) << 4
    image = picture(NATIVE, values, "MONOCHROME2", bits=12, high_bit=15)

    after = np.frombuffer(mask_one((values | 7).tobytes(), image), "<u2").reshape(values.shape)

    np.testing.assert_array_equal(outside(after), outside(values))
    assert not inside(after).any()


@pytest.mark.parametrize("is_repeated", [True, False])
def test_signs_stay_as_they_were_written(is_repeated):
    values = noise(12, signed=True)
    codes = values.view("<u2") if is_repeated else values.view("<u2") & 0xFFF
    image = replace(picture(NATIVE, codes, "MONOCHROME2", bits=12), signed=True)

    done = masked([codes.tobytes()], image, [mark()])

    after = np.frombuffer(done.frames[0], "<u2").reshape(values.shape)
    np.testing.assert_array_equal(outside(after), outside(codes))
    assert set(inside(after).ravel().tolist()) == {0xF800 if is_repeated else 0x800}


def test_signs_that_carry_something_are_repeated_everywhere():
    values = noise(12, signed=True)
    codes = values.view("<u2").copy()
    codes[::2] &= 0xFFF
    image = replace(picture(NATIVE, codes, "MONOCHROME2", bits=12), signed=True)

    done = masked([codes.tobytes()], image, [])

    np.testing.assert_array_equal(
        np.frombuffer(done.frames[0], "<i2").reshape(values.shape), values
    )


def test_nothing_to_do_leaves_every_byte():
    values = noise(12)
    for syntax, encoder in ((RLE, encode_rle), (JPEG + "90", encode_j2k), (JPEG + "80", encode_ls)):
        image = picture(syntax, values, "MONOCHROME2", bits=12)
        before = cleaned(even(encoder(values, image)), image)
        assert masked([before], image, []).frames == [before]
