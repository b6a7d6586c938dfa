"""What is masked with a line that was found: no model is asked, lines are given."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

pytest.importorskip("rapidocr")
from app.pixels.codecs import Frame
from app.pixels.matching_model import DOUBTFUL, Match
from app.pixels.model import Box
from app.pixels.reading_changes import Last
from app.pixels.reading_engine import Image as Pixels
from app.pixels.reading_engine import Line
from app.pixels.reading_growth import Found, grown, is_cut, is_sliver, whole, with_margin

NAME = Match("patient-name", 0.9)


def written(text: str, *, size: int = 16, ground: int = 0, ink: int = 255) -> tuple[Pixels, Box]:
    """Return an image with a line of text at (40, 40), and the box around it."""
    font = ImageFont.load_default(size)
    image = Image.new("L", (500, 120), ground)
    ImageDraw.Draw(image).text((40, 40), text, fill=ink, font=font)
    left, top, right, bottom = ImageDraw.Draw(image).textbbox((40, 40), text, font=font)
    box = Box(round(left), round(top) - 1, round(right), round(bottom) + 1)
    return np.repeat(np.asarray(image)[:, :, None], 3, axis=2), box


def part(box: Box, begin: float, end: float) -> Box:
    width = box.right - box.left
    left, right = box.left + round(begin * width), box.left + round(end * width)
    return Box(left, box.top, right, box.bottom)


def line(box: Box, text: str = "Gain") -> Line:
    corners = [
        (box.left, box.top),
        (box.right, box.top),
        (box.right, box.bottom),
        (box.left, box.bottom),
    ]
    return Line(np.array(corners, np.float32), 0.9, text, 0.99)


@pytest.mark.parametrize(("ground", "ink"), [(0, 255), (240, 10), (60, 180)])
@pytest.mark.parametrize(("begin", "end"), [(0.3, 1.0), (0.0, 0.4), (0.4, 0.6)])
def test_a_piece_of_a_line_grows_over_all_of_it(
    begin: float, end: float, ground: int, ink: int
) -> None:
    image, box = written("A. Kirpichnikova del Almendro", ground=ground, ink=ink)

    found = grown(part(box, begin, end), [image])

    assert found.left <= box.left + 1
    assert found.right >= box.right - 1
    assert (found.top, found.bottom) == (box.top, box.bottom)


def test_upright_lines_grow_too() -> None:
    image, box = written("A. Kirpichnikova")
    upright = np.ascontiguousarray(image.transpose(1, 0, 2))
    piece = part(box, 0.4, 0.8)

    found = grown(Box(piece.top, piece.left, piece.bottom, piece.right), [upright])

    assert found.top <= box.left + 1
    assert found.bottom >= box.right - 1


def test_letters_on_a_slope_of_light_are_followed() -> None:
    image, box = written("Kirpichnikova", ink=100)
    slope = np.linspace(0, 140, image.shape[1])[None, :, None]
    image = (image + slope).astype(np.uint8)

    assert grown(part(box, 0, 0.3), [image]).right >= box.right - 1


def test_letters_that_cross_the_edge_of_a_picture_are_followed() -> None:
    image, box = written("Kwabenatey Saoirse", ground=0, ink=255)
    letters = image > 127
    middle = (box.top + box.bottom) // 2
    image[:middle], image[middle:] = 255, 90
    image[letters] = 180

    assert grown(part(box, 0, 0.6), [image]).right >= box.right - 2


def test_words_far_apart_are_not_joined() -> None:
    image, box = written("Kirpich" + " " * 40 + "R")

    assert grown(part(box, 0, 0.2), [image]).right < box.left + (box.right - box.left) / 2


def test_texture_and_edges_are_not_followed() -> None:
    image, box = written("Kirpichnikova")
    image[:, box.right + 4 :] = 200

    assert grown(box, [image]).right <= box.right + 1
    assert grown(box, [np.full_like(image, 90)]) == box


def test_a_line_that_a_mask_would_cut_is_masked_whole() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    name, below, far = Box(50, 50, 150, 70), Box(40, 62, 200, 82), Box(40, 120, 200, 140)

    done = whole([Found(name, NAME)], [line(name), line(below), line(far)], [image])

    assert sorted(one.box for one in done)[0].right >= 200
    assert all(one.box.bottom < far.top for one in done)
    assert {one.match for one in done} == {NAME}


def test_what_follows_in_a_line_goes_with_it_and_what_stands_alone_stays() -> None:
    image = np.zeros((200, 400, 3), np.uint8)
    name, near, far = Box(50, 50, 150, 70), Box(160, 52, 200, 69), Box(280, 50, 330, 70)

    done = whole([Found(name, NAME)], [line(name), line(near), line(far)], [image])

    assert max(one.box.right for one in done) in range(200, 260)


def test_nothing_is_said_to_follow_what_is_only_doubtful() -> None:
    image = np.zeros((200, 400, 3), np.uint8)
    shape, near = Box(50, 50, 150, 70), Box(175, 50, 230, 70)

    done = whole([Found(shape, Match(DOUBTFUL, 0.7))], [line(near)], [image])

    assert [one.box for one in done] == [with_margin(shape)]


def test_lines_inside_of_a_mask_or_hardly_touched_by_it_are_not_cut() -> None:
    mask = Box(50, 50, 150, 80)

    assert not is_cut(Box(60, 55, 140, 75), mask)
    assert not is_cut(Box(60, 78, 140, 98), mask)
    assert is_cut(Box(60, 70, 140, 90), mask)
    assert is_cut(Box(140, 55, 260, 75), mask)


def test_what_masks_leave_of_a_line_counts_while_a_letter_fits_into_it() -> None:
    line = Box(50, 50, 150, 70)

    assert is_sliver(line, [Box(0, 0, 400, 60), Box(0, 62, 400, 90)])
    assert is_sliver(line, [Box(0, 0, 148, 90)])
    assert not is_sliver(line, [Box(0, 0, 400, 62)])
    assert not is_sliver(line, [Box(0, 0, 60, 60), Box(140, 0, 300, 300)])
    assert not is_sliver(Box(50, 50, 150, 53), [])


def test_a_part_that_is_read_again_cuts_no_line_that_is_known() -> None:
    before = np.zeros((300, 400), np.uint8)
    after = before.copy()
    after[100:104, 200:204] = 9
    boxes: list[Box] = []
    frame = Frame(before, 8, "MONOCHROME2")
    last = Last()
    last.keep(frame, boxes, ())
    last.lines = (Box(120, 140, 260, 170), Box(0, 250, 400, 270))

    changed = last.changed(Frame(after, 8, "MONOCHROME2"), boxes)

    assert changed.left <= 120
    assert changed.right >= 260
    assert 170 <= changed.bottom < 250
