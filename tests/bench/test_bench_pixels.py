"""The measurements of burned-in text: what they count, on tools whose outcome is known."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bench import pixels_corpus, pixels_proof
from bench.__main__ import _names
from bench.pixels_path import Outcome, Result
from tests.pixels.burning.cases import Case, drawn, make
from tests.pixels.burning.fonts import carried

SIZE = ("left", "top", "width", "height")
CASES = drawn(5, 21, faces_of=carried(), kinds=("us", "sc"))


def passing(images: Sequence[bytes]) -> Iterator[Result]:
    """A tool that delivers what it was given."""
    return (Result(Outcome.PASSED, data, 0.0) for data in images)


def holding(images: Sequence[bytes]) -> Iterator[Result]:
    """A tool that delivers nothing."""
    return (Result(Outcome.HELD, None, 0.0) for _ in images)


def test_a_tool_that_passes_everything_is_found_to_leak_every_line() -> None:
    table, groups = pixels_proof.measure(CASES, {"passing": passing})

    (row,) = table.facts
    assert row["lines"] == row["lines_seen"] > 5
    assert row["letters"] == row["letters_seen"]
    assert (
        sum(fact["lines"] for fact in groups.facts if fact["by"].startswith("letters of"))
        == (row["lines"])
    )


def test_a_tool_that_delivers_nothing_leaks_nothing() -> None:
    table, _ = pixels_proof.measure(CASES, {"holding": holding})

    (row,) = table.facts
    assert (row["lines_seen"], row["held"]) == (0, len(CASES))
    assert row["lines_held"] == row["lines"]


def test_nothing_is_masked_by_a_tool_that_does_nothing() -> None:
    table = pixels_proof.measure_free(CASES, {"passing": passing})

    assert table.facts[0]["area_percent"] == 0


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """One made image with a key like the real ones have."""
    made = make(Case(31, "explicit, 8 bit", "us", identifying=3, harmless=1))
    (tmp_path / "image.dcm").write_bytes(made.data)
    key = tmp_path / pixels_corpus.KEY
    key.parent.mkdir()
    with key.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(
            ["path", "frame", "text", "is_phi", "left", "top", "width", "height", "source"]
        )
        for line in made.lines:
            box = line.box
            size = (box.left, box.top, box.right - box.left, box.bottom - box.top)
            named = "Y" if line.text.is_identifying else "N"
            rows.writerow(["image.dcm", "all", "-", named, *size, "made"])
    return tmp_path


def test_real_images_are_counted_by_their_key(corpus: Path) -> None:
    (image,) = pixels_corpus.images(corpus)

    table = pixels_corpus.measure([image], {"passing": passing, "holding": holding})

    assert [(row["texts"], row["seen"], row["held"]) for row in table.facts] == [
        (3, 3, 0),
        (3, 0, 3),
    ]


def test_there_need_be_no_corpus(tmp_path: Path) -> None:
    assert pixels_corpus.images(tmp_path) == []


def test_the_pixels_can_be_asked_for() -> None:
    assert _names("pixels,engine") == ["burned-in", "masks", "rungs", "engine"]
