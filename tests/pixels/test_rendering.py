"""Frames as people see them, and previews with marks."""

import io
import json
import os
from dataclasses import asdict, replace

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from app.errors import InvalidRequest, MalformedDicom
from app.pixels.codecs import decode
from app.pixels.model import Box, Palette
from app.pixels.rendering import display, filled, outlined, render, smaller
from app.pixels.wire import picture_to_json
from tests.pixels.framing import BOX, JPEG, NATIVE, mark, noise, picture


def _shown(values, photometric, **more):
    image = picture(NATIVE, values, photometric, **more)
    return display(decode(values.tobytes(), image), image)


def _rendered(frames, image, **task):
    source, png = os.memfd_create("source"), os.memfd_create("png")
    try:
        os.write(source, b"".join(frames))
        places, position = [], 0
        for frame in frames:
            places.append([(position, len(frame))])
            position += len(frame)
        asked = {"picture": picture_to_json(image), "frames": places, **task}
        answer = render(json.loads(json.dumps(asked)), [source, png])
        return answer, np.asarray(Image.open(io.BytesIO(os.pread(png, answer["size"], 0))))
    finally:
        os.close(source)
        os.close(png)


def test_grey_without_a_window_goes_from_the_darkest_to_the_brightest():
    values = np.array([[100, 200], [300, 500]], "<u2")

    assert _shown(values, "MONOCHROME2").tolist() == [[0, 64], [128, 255]]


def test_inverted_grey_is_bright_where_values_are_low():
    values = np.array([[0, 255]], "u1")

    assert _shown(values, "MONOCHROME1").tolist() == [[255, 0]]


def test_a_window_is_meant_for_rescaled_values():
    values = np.array([[0, 1024, 1124, 2000]], "<i2")

    shown = _shown(values, "MONOCHROME2", window=(100.0, 200.0), rescale=(1.0, -1024.0))

    assert shown.tolist() == [[0, 0, 128, 255]]


def test_a_falling_rescale_turns_brightness_round():
    values = np.array([[0, 50, 100]], "<i2")

    shown = _shown(values, "MONOCHROME2", window=(-50.0, 100.0), rescale=(-1.0, 0.0))

    assert shown.tolist() == [[255, 128, 0]]


def test_a_window_beside_all_values_is_not_used():
    values = np.array([[0, 255]], "u1")

    assert _shown(values, "MONOCHROME2", window=(5000.0, 10.0)).tolist() == [[0, 255]]


def test_an_image_of_one_value_is_shown():
    assert not _shown(np.full((4, 4), 7, "u1"), "MONOCHROME2").any()


def test_signed_values_and_overlay_bits_are_told_apart():
    values = np.array([[0x0800, 0x0000], [0x07FF, 0x8000]], "<u2")
    image = replace(picture(NATIVE, values, "MONOCHROME2", bits=12), signed=True)

    shown = display(decode(values.tobytes(), image), image)

    assert shown[0, 0] == 0
    assert shown[1, 0] == 255
    assert shown[0, 1] == shown[1, 1] == 128


def test_palettes_give_their_colours():
    table = [np.array(part, "<u2").tobytes() for part in ([0xFFFF, 0], [0, 0x8000], [0, 0xFF00])]
    values = np.array([[5, 6, 200]], "u1")

    shown = _shown(values, "PALETTE COLOR", palette=Palette(2, 5, 16, *table))

    assert shown.tolist() == [[[255, 0, 0], [0, 128, 255], [0, 128, 255]]]


def test_a_palette_of_single_bytes_gives_its_colours():
    table = [bytes(part) for part in ([1, 2], [3, 4], [5, 6])]

    shown = _shown(np.array([[0, 1]], "u1"), "PALETTE COLOR", palette=Palette(2, 0, 8, *table))

    assert shown.tolist() == [[[1, 3, 5], [2, 4, 6]]]


def test_a_palette_that_is_too_short_is_refused():
    with pytest.raises(MalformedDicom):
        _shown(np.zeros((2, 2), "u1"), "PALETTE COLOR", palette=Palette(9, 0, 16, b"", b"", b""))


@pytest.mark.parametrize(
    ("colour", "expected"),
    [((0, 128, 128), (0, 0, 0)), ((76, 85, 255), (254, 0, 0)), ((255, 128, 128), (255,) * 3)],
)
def test_luminance_and_differences_become_colours(colour, expected):
    values = np.full((2, 2, 3), colour, "u1")

    assert np.abs(_shown(values, "YBR_FULL")[0, 0].astype(int) - expected).max() <= 1


def test_subsampled_colour_is_spread_over_its_pairs():
    pairs = np.array([[[10, 200, 128, 128]]], "u1")
    image = replace(picture(NATIVE, np.zeros((1, 2, 3), "u1"), "YBR_FULL_422"))

    shown = display(decode(pairs.tobytes(), image), image)

    assert shown.tolist() == [[[10] * 3, [200] * 3]]


def test_sixteen_bit_colour_is_shown_with_eight():
    values = np.full((2, 2, 3), 0xAB12, "<u2")

    assert (_shown(values, "RGB") == 0xAB).all()


def test_an_image_is_made_smaller_by_whole_steps():
    image, step = smaller(np.zeros((100, 301), np.uint8), 100)

    assert step == 4
    assert image.shape == (25, 76)


def test_previews_show_marks_of_their_frame_only():
    values = noise(8)
    image = picture(NATIVE, values, "MONOCHROME2", frames=2)
    marks = [asdict(mark(BOX, frames=(1, 1)))]

    _, first = _rendered([values.tobytes()] * 2, image, marks=marks, style="fill", frame=0)
    answer, second = _rendered([values.tobytes()] * 2, image, marks=marks, style="fill", frame=1)

    assert first[BOX.top : BOX.bottom, BOX.left : BOX.right].any()
    assert not second[BOX.top : BOX.bottom, BOX.left : BOX.right].any()
    assert answer == {"size": answer["size"], "rows": 45, "columns": 70, "step": 1}


def test_outlines_are_coloured_and_leave_what_is_inside():
    grey = np.full((40, 40), 90, np.uint8)

    drawn = outlined(grey, [Box(10, 10, 30, 30)])

    assert drawn.shape == (40, 40, 3)
    assert drawn[10, 15].tolist() == [255, 200, 0]
    assert drawn[20, 20].tolist() == [90, 90, 90]
    assert not (grey != 90).any()


def test_marks_in_a_smaller_image_cover_at_least_what_they_mean():
    grey = np.full((10, 10), 90, np.uint8)

    drawn = filled(grey, [Box(5, 5, 9, 9)], step=4)

    assert (drawn[1:3, 1:3] == 0).all()
    assert (drawn[0] == 90).all()


@pytest.mark.parametrize("box", [Box(-9, -9, 2, 2), Box(500, 500, 600, 600), Box(3, 3, 3, 9)])
def test_marks_at_and_beyond_the_edge_are_drawn_as_far_as_they_go(box):
    grey = np.full((10, 10), 90, np.uint8)

    assert outlined(grey, [box]).shape == (10, 10, 3)
    assert filled(grey, [box]).shape == (10, 10)


def test_compressed_colour_is_shown_as_it_is_meant():
    values = np.zeros((16, 16, 3), np.uint8)
    values[:, 8:] = (250, 10, 20)
    jpeg = bytes(imagecodecs.jpeg8_encode(values, level=95))
    jpeg += b"\0" * (len(jpeg) % 2)
    image = picture(JPEG + "50", values, "YBR_FULL_422")

    _, shown = _rendered([jpeg], image)

    assert np.abs(shown[5, 13].astype(int) - (250, 10, 20)).max() < 8


def test_a_frame_that_is_not_there_is_refused():
    values = noise(8)

    with pytest.raises(InvalidRequest):
        _rendered([values.tobytes()], picture(NATIVE, values, "MONOCHROME2"), frame=1)
