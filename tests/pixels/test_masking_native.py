"""Marked pixels of native images become black, and all others stay as they are."""

from dataclasses import replace

import numpy as np
import pytest

from app.pixels.model import Box
from tests.pixels.encoding import even
from tests.pixels.framing import NATIVE, inside, mark, mask_one, masked, noise, outside, picture


@pytest.mark.parametrize("bits", [8, 12, 16, 32])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_native_grey_of_every_width(bits, signed, photometric):
    values = noise(bits, signed=signed)
    image = picture(NATIVE, values, photometric, bits=bits)

    after = np.frombuffer(mask_one(values.tobytes(), image), values.dtype).reshape(values.shape)

    lowest = -(1 << (bits - 1)) if signed else 0
    highest = lowest + (1 << bits) - 1
    black = highest if photometric == "MONOCHROME1" else lowest
    np.testing.assert_array_equal(outside(after), outside(values))
    assert set(inside(after).ravel().tolist()) == {black}


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("bits", [8, 16])
def test_native_colour_by_pixel_and_by_plane(photometric, planar, bits):
    values = noise(bits, 3)
    image = picture(NATIVE, values, photometric, planar=planar)
    order = np.moveaxis(values, 2, 0) if planar else values

    after = np.frombuffer(mask_one(order.tobytes(), image), values.dtype).reshape(order.shape)

    after = np.moveaxis(after, 0, 2) if planar else after
    middle = 1 << (bits - 1)
    black = [0, 0, 0] if photometric == "RGB" else [0, middle, middle]
    np.testing.assert_array_equal(outside(after), outside(values))
    assert np.unique(inside(after), axis=0).tolist() == [black]


def test_subsampled_native_colour_is_overwritten_by_pairs():
    pairs = np.random.default_rng(0).integers(0, 256, (45, 35, 4)).astype("u1")
    image = replace(picture(NATIVE, noise(8, 3), "YBR_FULL_422"), columns=70)
    box = Box(13, 9, 41, 21)

    after = np.frombuffer(mask_one(pairs.tobytes(), image, box), "u1").reshape(pairs.shape)

    halves = Box(6, 9, 21, 21)
    np.testing.assert_array_equal(outside(after, halves), outside(pairs, halves))
    assert np.unique(inside(after, halves), axis=0).tolist() == [[0, 0, 128, 128]]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_frames_of_single_bits_that_share_bytes(photometric):
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2, (3, 5, 9)).astype("u1")
    data = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    image = replace(
        picture(NATIVE, bits[0], photometric, frames=3), bits_allocated=1, bits_stored=1, high_bit=0
    )
    box = Box(2, 1, 7, 4)

    done = masked([data], image, [mark(box, frames=(1, 2))], places=[[(0, 6)], [(5, 7)], [(11, 6)]])

    after = np.unpackbits(np.frombuffer(b"".join(done.frames), "u1"), bitorder="little")[:135]
    after = after.reshape(bits.shape)
    np.testing.assert_array_equal(after[0], bits[0])
    for number in (1, 2):
        np.testing.assert_array_equal(outside(after[number], box), outside(bits[number], box))
        assert set(inside(after[number], box).ravel().tolist()) == {
            1 if photometric == "MONOCHROME1" else 0
        }


def test_encapsulated_native_frames_are_padded_one_by_one():
    values = noise(8)[:5, :9]
    image = picture(NATIVE + ".98", values, "MONOCHROME2", frames=2)
    box = Box(2, 1, 7, 4)

    done = masked([even(values.tobytes())] * 2, image, [mark(box)])

    for frame in done.frames:
        after = np.frombuffer(frame[:45], "u1").reshape(5, 9)
        assert len(frame) == 46
        np.testing.assert_array_equal(outside(after, box), outside(values, box))
        assert not inside(after, box).any()


def test_encapsulated_frames_of_single_bits_do_not_share_bytes():
    bits = np.random.default_rng(1).integers(0, 2, (5, 9)).astype("u1")
    data = even(np.packbits(bits.reshape(-1), bitorder="little").tobytes())
    image = replace(
        picture(NATIVE + ".98", bits, "MONOCHROME2", frames=2),
        bits_allocated=1,
        bits_stored=1,
        high_bit=0,
    )

    done = masked([data, data], image, [mark(Box(2, 1, 7, 4), frames=(1, 1))])

    assert done.frames[0] == data
    after = np.unpackbits(np.frombuffer(done.frames[1], "u1"), bitorder="little")[:45]
    assert not inside(after.reshape(5, 9), Box(2, 1, 7, 4)).any()
