"""The generator of burned-in text: what it says of its images is true, and the judge can tell."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.pixels.burning.burning import Line
from tests.pixels.burning.cases import Case, Made, drawn, every_format, make
from tests.pixels.burning.encoding import FORMATS, to_samples
from tests.pixels.burning.fonts import carried, faces
from tests.pixels.burning.judging import (
    Stack,
    changed_outside,
    comparable,
    samples,
    seen,
    share_changed,
)

CINE = Case(41, "explicit, RGB", "us-cine", frames=4, shown="one", face="aileron", identifying=5)
CASES = {case.form: case for case in every_format()}


def filled(stack: Stack, lines: tuple[Line, ...], value: int = 0, *, margin: int = 0) -> Stack:
    """Overwrite the boxes of all identifying lines."""
    covered = stack.copy()
    for line in lines:
        if line.text.is_identifying:
            box = line.box
            frames = slice(line.frames[0], line.frames[1] + 1)
            rows = slice(max(box.top - margin, 0), box.bottom + margin)
            covered[frames, rows, max(box.left - margin, 0) : box.right + margin] = value
    return covered


def test_the_same_case_gives_the_same_bytes() -> None:
    assert make(CINE).data == make(CINE).data


def test_another_seed_gives_another_person() -> None:
    assert make(CINE).who != make(replace(CINE, seed=42)).who


@pytest.mark.parametrize("name", FORMATS)
def test_what_was_stored_is_what_other_libraries_decode(name: str) -> None:
    made = make(CASES[name])

    decoded = samples(made.data)

    stored = np.stack(made.stored).reshape(decoded.shape)
    if not made.case.format.is_lossy:
        assert np.array_equal(decoded, stored)
    elif not made.case.format.photometric.startswith("YBR"):
        assert np.abs(decoded.astype(int) - stored).mean() < 0.02 * 2**made.case.format.stored


def test_ink_is_exactly_where_an_image_differs_from_its_twin() -> None:
    made = make(replace(CINE, form="explicit, 8 bit", is_smooth=False, ink="plain"))
    twin = make(made.case.twin)

    for number, (with_text, without) in enumerate(zip(made.light, twin.light, strict=True)):
        shape = without.shape[:2]
        masks = [
            line.mask(shape) for line in made.lines if line.frames[0] <= number <= line.frames[1]
        ]
        ink = np.logical_or.reduce([np.zeros(shape, bool), *masks])
        assert not (with_text != without).any(axis=2)[~ink].any()
        assert (with_text != without).any(axis=2)[ink].mean() > 0.99


def test_text_in_one_frame_is_in_no_other() -> None:
    made = make(CINE)
    named = [line for line in made.lines if line.text.is_identifying]

    assert {line.frames[0] for line in named} <= set(range(4))
    assert all(line.frames[0] == line.frames[1] for line in named)


def test_text_that_changes_is_another_one_later() -> None:
    made = make(replace(CINE, shown="changing"))
    frames = {line.frames for line in made.lines if line.text.is_identifying}

    assert frames == {(0, 1), (2, 3)}


def test_a_name_that_is_burned_in_need_not_be_in_the_header() -> None:
    made = make(replace(CINE, is_in_header=False))

    assert made.who.family.encode() not in made.data
    assert make(CINE).who.family.encode() in make(CINE).data


def test_lines_do_not_overlap() -> None:
    for case in drawn(20, 5, faces_of=carried()):
        boxes = [line.box for line in make(case).lines]
        for number, one in enumerate(boxes):
            for other in boxes[number + 1 :]:
                apart = one.right <= other.left or other.right <= one.left
                assert apart or one.bottom <= other.top or other.bottom <= one.top


def test_drawn_cases_hold_every_size_kind_and_way_over_time() -> None:
    cases = drawn(300, 1)

    assert {case.size for case in cases} == set(range(8, 33))
    assert {case.shown for case in cases} == {"always", "one", "changing"}
    assert {case.face for case in cases} == {face.name for face in faces()}
    assert len({case.form for case in cases}) > len(FORMATS) * 0.8


VALID = ("us-cine", "us", "sc", "sc-words", "sc-bits", "cr", "dx", "ct", "ct-original", "xa")


@pytest.mark.parametrize("kind", VALID)
def test_the_objects_are_valid(
    kind: str, dciodvfy: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    path = tmp_path / "made.dcm"
    path.write_bytes(make(drawn(1, 5, kinds=(kind,))[0]).data)

    assert dciodvfy(path) == []


# --- The judge ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if not form.is_lossy])
def test_text_that_nobody_masked_is_seen(name: str) -> None:
    made = make(CASES[name])
    before = samples(made.data)
    after = before.copy()
    after[:, -2:, -2:] = before.max()

    found = seen(before, after, made.lines)

    assert found.lines
    assert found.leaks
    assert found.hidden == 0
    assert found.letters_hidden == 0


@pytest.mark.parametrize("value", [0, 255])
def test_text_under_a_fill_is_hidden_and_other_text_is_not(value: int) -> None:
    made = make(replace(CINE, form="explicit, 8 bit"))
    before = samples(made.data)

    found = seen(before, filled(before, made.lines, value), made.lines)

    assert not found.leaks
    assert found.letters_hidden == found.letters > 0
    assert found.harmless > found.harmless_hidden == 0


def test_black_text_on_white_is_seen_until_it_is_covered() -> None:
    case = Case(7, "explicit, 8 bit", "sc", "white", identifying=4)
    made = make(case)
    before = samples(made.data)
    one = replace(made.lines[0])
    covered = filled(before, (one,))

    found = seen(before, covered, made.lines)

    assert found.hidden == 1
    assert found.lines > 1


@pytest.mark.parametrize("part", [0.5, 0.7])
def test_text_of_which_a_part_is_left_is_seen(part: float) -> None:
    made = make(replace(CINE, form="explicit, 8 bit", shown="always"))
    before = samples(made.data)
    after = before.copy()
    for line in made.lines:
        box = line.box
        after[:, box.top : box.top + round(part * (box.bottom - box.top)), box.left : box.right] = 0

    found = seen(before, after, made.lines)

    assert found.hidden == 0


def test_the_last_letter_alone_makes_a_line_seen() -> None:
    made = make(replace(CINE, form="explicit, 8 bit", shown="always"))
    before = samples(made.data)
    after = filled(before, made.lines)
    line = next(line for line in made.lines if line.text.is_identifying)
    last = [letter for letter in line.letters if letter.is_identifying][-1]
    box = last.box
    after[:, box.top : box.bottom, box.left : box.right] = before[
        :, box.top : box.bottom, box.left : box.right
    ]

    found = seen(before, after, made.lines)

    assert found.lines - found.hidden == 1
    assert found.letters - found.letters_hidden == 1


def test_text_masked_in_all_frames_but_its_own_is_seen() -> None:
    made = make(replace(CINE, form="explicit, 8 bit", shown="always", identifying=1))
    before = samples(made.data)
    after = filled(before, made.lines)
    after[2] = before[2]

    assert seen(before, after, made.lines).leaks


def test_a_pixel_that_changed_beside_the_masks_is_counted() -> None:
    made: Made = make(replace(CINE, form="explicit, 8 bit"))
    before = samples(made.data)
    after = filled(before, made.lines)
    allowed = (before != after).any(axis=-1)
    after[1, 100, 100] += 1

    assert changed_outside(before, after, allowed) == 1
    assert 0 < share_changed(before, after) < 0.2


def test_light_becomes_the_whole_range_of_samples() -> None:
    ramp = np.linspace(0, 1, 4096)[None, :, None]

    signed = to_samples(ramp, FORMATS["explicit, 12 bit, signed"])
    inverse = to_samples(ramp, FORMATS["explicit, MONOCHROME1"])

    assert (signed.min(), signed.max()) == (-2048, 2047)
    assert (inverse[0, 0], inverse[0, -1]) == (255, 0)


def test_colours_under_a_wrong_name_are_compared_as_they_look() -> None:
    made = make(replace(CINE, form="explicit, YBR_FULL", frames=1, shown="always"))
    seen_so = make(replace(made.case, form="explicit, RGB")).stored
    mislabelled = made.data.replace(np.stack(made.stored).tobytes(), np.stack(seen_so).tobytes())

    before, after = comparable(made.data, mislabelled)

    assert np.abs(before.astype(int) - after).max() <= 3  # what converting costs
    assert mislabelled != made.data
