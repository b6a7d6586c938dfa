"""What lies outside of ultrasound regions is black, exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.pixels.model import Box, Rung
from app.pixels.regions import complement, marks
from tests.pixels.pictures import US, picture

SECTOR, TRACE = Box(100, 80, 700, 400), Box(100, 420, 700, 590)


def with_regions(*boxes: Box):
    return picture(US, regions=boxes, has_regions=True)


def covered(boxes) -> set[tuple[int, int]]:
    pixels: list[tuple[int, int]] = []
    for box in boxes:
        pixels += [(x, y) for x in range(box.left, box.right) for y in range(box.top, box.bottom)]
    assert len(pixels) == len(set(pixels)), "no pixel is covered twice"
    return set(pixels)


def test_everything_outside_of_the_regions_is_marked_and_nothing_inside() -> None:
    found = marks(with_regions(SECTOR, TRACE))

    assert {mark.rung for mark in found} == {Rung.REGIONS}
    area = sum(mark.box.area for mark in found)
    assert area == 800 * 600 - SECTOR.area - TRACE.area
    assert all(mark.box.clipped(800, 600) == mark.box for mark in found)


BOXES = st.builds(
    lambda left, top, width, height: Box(left, top, left + width, top + height),
    st.integers(0, 11),
    st.integers(0, 7),
    st.integers(1, 12),
    st.integers(1, 8),
).map(lambda box: box.clipped(12, 8))


@given(st.lists(BOXES, max_size=6))
def test_the_complement_is_exact_for_regions_that_overlap(boxes: list[Box]) -> None:
    inside = {
        (x, y)
        for box in boxes
        for x in range(box.left, box.right)
        for y in range(box.top, box.bottom)
    }

    outside = covered(complement(boxes, 12, 8))

    assert outside | inside == {(x, y) for x in range(12) for y in range(8)}
    assert not outside & inside


def test_a_region_over_the_whole_image_leaves_nothing_to_mark() -> None:
    assert marks(with_regions(Box(0, 0, 800, 600))) == ()


@pytest.mark.parametrize(
    "box",
    [
        Box(0, 0, 802, 600),
        Box(0, 0, 800, 602),
        Box(800, 0, 801, 600),
        Box(-1, 0, 10, 10),
        Box(0, -5, 10, 10),
        Box(10, 10, 10, 20),
        Box(20, 10, 10, 20),
        Box(10, 20, 20, 10),
    ],
    ids=["right", "bottom", "outside", "left", "top", "empty", "turned-x", "turned-y"],
)
def test_one_impossible_region_makes_all_worthless(box: Box) -> None:
    assert marks(with_regions(SECTOR, box)) is None


def test_the_corner_behind_the_last_pixel_is_taken_for_the_last_one() -> None:
    """The devices of one manufacturer write 800 where 799 is the last column."""
    assert marks(with_regions(Box(100, 80, 801, 601))) == marks(
        with_regions(Box(100, 80, 800, 600))
    )


def test_no_regions_and_far_too_many_say_nothing() -> None:
    assert marks(US) is None
    assert marks(picture(US, has_regions=True)) is None
    assert marks(with_regions(*[SECTOR] * 65)) is None
