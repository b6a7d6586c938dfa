"""The ladder on images whose burned-in text is known, through the whole pipeline.

Decided by results alone, decoded by libraries that the gateway does not use. The same at scale:
``python -m bench --what pixels``.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import jpeglib
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.filereader import dcmread
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit

from app.deid.profile import BUILT_IN
from app.pixels.model import Box
from app.pixels.rules import RuleSet
from app.pixels.rules_text import read_rules
from bench.pixels_path import Gateway, Outcome, Result, gateway, profile
from tests.pixels.burning.cases import Case, Made, drawn, every_format, make
from tests.pixels.burning.encoding import FORMATS
from tests.pixels.burning.fonts import carried
from tests.pixels.burning.judging import comparable, seen, share_changed

SITE_RULES = """
format: 1
rules:
  - id: imaginary-banner
    match: {manufacturer: {contains: Imaginary Devices}}
    mask: [{top: 0, height: 31}, {left: 13, top: 70, width: 90, height: 21}]
    complete: true
"""
MASKS = (Box(0, 0, 288, 31), Box(13, 70, 103, 91))
# Whole blocks of JPEG are overwritten, and pixels that share a colour are overwritten together.
UNITS = {
    "JPEG baseline, 420": (16, 16),
    "JPEG baseline, 422": (16, 8),
    "explicit, YBR_FULL_422": (2, 1),
}
CASES = {case.form: case for case in every_format()}


@pytest.fixture(scope="module")
def masking() -> Iterator[Gateway]:
    """A gateway with one complete mask rule and nothing that reads."""
    rules = RuleSet(read_rules(SITE_RULES))
    with gateway(profile("mask"), readers=0, rules=rules) as one:
        yield one


@pytest.fixture(scope="module")
def reading() -> Iterator[Gateway]:
    """A gateway that reads, and masks what it finds."""
    with gateway(profile("mask")) as one:
        yield one


@pytest.fixture(scope="module")
def results() -> dict[int, Result]:
    """What became of images that more than one test looks at."""
    return {}


def remembered(results: dict[int, Result], path: Gateway, case: Case) -> Result:
    if case.seed not in results:
        results[case.seed] = taken(path, make(case))
    return results[case.seed]


def taken(path: Gateway, made: Made) -> Result:
    (result,) = path.take([made.data])
    return result


def unit_of(case: Case) -> tuple[int, int]:
    """Return width and height of what can be overwritten."""
    is_blocks = case.format.syntax in (JPEGBaseline8Bit, JPEGExtended12Bit)
    return UNITS.get(case.form, (8, 8) if is_blocks else (1, 1))


def allowed(case: Case, across: int, down: int) -> NDArray[np.bool_]:
    """Return where masks may change pixels, or units of them."""
    place = np.zeros((case.rows, case.columns), np.bool_)
    for box in MASKS:
        rows = slice(box.top // down * down, -(-box.bottom // down) * down)
        place[rows, box.left // across * across : -(-box.right // across) * across] = True
    return place


def coefficients(data: bytes, folder: Path) -> list[NDArray[np.int16]]:
    """Read the blocks of every frame and component, without decoding them."""
    dataset = dcmread(io.BytesIO(data))
    blocks = []
    for number, stream in enumerate(generate_frames(dataset.PixelData, number_of_frames=2)):
        path = folder / f"{number}.jpg"
        path.write_bytes(stream)
        image = jpeglib.read_dct(str(path))
        blocks += [image.Y, *([] if image.Cb is None else [image.Cb, image.Cr])]
    return [np.array(one) for one in blocks]


# --- Masks, in every transfer syntax -----------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_masks_change_no_pixel_beside_them(masking: Gateway, name: str) -> None:
    made = make(CASES[name])

    result = taken(masking, made)

    assert result.outcome is Outcome.MASKED, result.why
    assert result.data is not None
    before, after = comparable(made.data, result.data)
    changed = before != after
    outside = ~allowed(made.case, *unit_of(made.case))
    # Decoders blend colours that pixels share with those beside them: see the blocks below.
    compared = changed[..., :1] if name in SUBSAMPLED else changed
    assert not (compared.any(axis=-1) & outside).sum()


SUBSAMPLED = ("JPEG baseline, 422", "JPEG baseline, 420")


@pytest.mark.parametrize("name", [name for name in FORMATS if name.startswith("JPEG baseline")])
def test_no_block_of_jpeg_changes_beside_the_masks(
    masking: Gateway, name: str, tmp_path: Path
) -> None:
    made = make(CASES[name])
    across, down = unit_of(made.case)

    result = taken(masking, made)

    assert result.data is not None
    place = allowed(made.case, across, down)
    pairs = zip(coefficients(made.data, tmp_path), coefficients(result.data, tmp_path), strict=True)
    found = 0
    for before, after in pairs:
        step = made.case.rows // before.shape[0], made.case.columns // before.shape[1]
        inside = place[:: step[0], :: step[1]][: before.shape[0], : before.shape[1]]
        changed = (before != after).any(axis=(2, 3))
        found += int(changed.sum())
        assert not (changed & ~inside).any()
    assert found


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_left_of_what_masks_cover(masking: Gateway, name: str) -> None:
    made = make(CASES[name])

    result = taken(masking, made)

    assert result.data is not None
    _, after = comparable(made.data, result.data)
    for box in MASKS:
        inside = after[:, box.top : box.bottom, box.left : box.right].reshape(-1, after.shape[-1])
        assert np.ptp(inside.astype(np.int64), axis=0).max() <= 1  # one colour


# --- Reading -----------------------------------------------------------------------------------

SAMPLE = drawn(6, 11, faces_of=carried())


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: str(case.seed))
def test_no_identifying_line_passes(
    reading: Gateway, results: dict[int, Result], case: Case
) -> None:
    made = make(case)

    result = remembered(results, reading, case)

    assert result.outcome in (Outcome.MASKED, Outcome.HELD)
    if result.data is not None:
        found = seen(*comparable(made.data, result.data), made.lines)
        assert not found.leaks
        assert found.lines


def test_most_images_are_masked_rather_than_held(
    reading: Gateway, results: dict[int, Result]
) -> None:
    outcomes = [remembered(results, reading, case).outcome for case in SAMPLE[1:4]]

    assert outcomes.count(Outcome.MASKED) >= 2


@pytest.mark.parametrize("case", SAMPLE[1:4], ids=lambda case: str(case.seed))
def test_without_leave_to_mask_an_image_with_text_is_held(reading: Gateway, case: Case) -> None:
    made = make(case)
    strict = reading.told(profile("quarantine"))

    assert taken(strict, made).outcome is Outcome.HELD


@pytest.mark.parametrize("case", SAMPLE[:4], ids=lambda case: str(case.seed))
def test_images_without_text_are_not_masked(reading: Gateway, case: Case) -> None:
    made = make(case.twin)

    result = taken(reading, made)

    if result.data is not None:
        assert share_changed(*comparable(made.data, result.data)) <= 0.02


def test_nothing_passes_where_nothing_can_read() -> None:
    with gateway(profile("mask"), readers=0) as blind:
        outcomes = {taken(blind, make(case)).outcome for case in SAMPLE}

    assert outcomes == {Outcome.HELD}


def test_without_the_option_the_same_images_are_found_to_leak(reading: Gateway) -> None:
    unclean = reading.told(BUILT_IN["basic"])
    case = Case(77, "explicit, RGB", "us", burned_in="")

    result = taken(unclean, make(case))

    assert result.outcome is Outcome.PASSED
    assert result.data is not None
    found = seen(*comparable(make(case).data, result.data), make(case).lines)
    assert found.leaks
    assert found.hidden == 0
