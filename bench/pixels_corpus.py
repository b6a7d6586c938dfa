"""Real images with a key of what is burned into them, where the corpus lies beside the checkout.

Most of the key was read off the screen, its boxes are approximate: a text counts as hidden when
nine tenths of the pixels in its box that differ from the fill were overwritten.
"""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.pixels.model import Box
from bench.contestants import ROOT
from bench.pixels_path import Result, Take
from bench.report import Table
from tests.pixels.burning.judging import ALIKE, Stack, comparable, share_changed

CORPUS = ROOT.parent / "shared" / "corpus"
KEY = "_answer_keys/burned_in_truth.csv"
COLUMNS = (
    "image",
    "tool",
    "outcome",
    "texts",
    "hidden",
    "held",
    "SEEN",
    "other text hidden",
    "area %",
)
HIDDEN = 0.9
# Presidio's key has its places in the image as its redactor looks at it: with a margin.
PADDING = 25


@dataclass(frozen=True, slots=True)
class Marked:
    """A text in a real image; the text itself is never needed here.

    Attributes:
        frame: from 0; None where every frame shows it.
    """

    box: Box
    frame: int | None
    is_identifying: bool


@dataclass(frozen=True, slots=True, repr=False)
class Real:
    """A real image, as the contestants take them."""

    name: str
    data: bytes
    texts: tuple[Marked, ...]


def images(corpus: Path = CORPUS) -> list[Real]:
    """Return the images of the key; none where there is no corpus."""
    if not (corpus / KEY).is_file():
        return []
    texts: dict[str, list[Marked]] = defaultdict(list)
    with (corpus / KEY).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            margin = PADDING if row["source"].startswith("Presidio") else 0
            left, top = int(row["left"]) - margin, int(row["top"]) - margin
            box = Box(left, top, left + int(row["width"]), top + int(row["height"]))
            frame = None if row["frame"] == "all" else int(row["frame"]) - 1
            texts[row["path"]].append(Marked(box, frame, row["is_phi"] == "Y"))
    return [
        Real(Path(name).name, (corpus / name).read_bytes(), tuple(each))
        for name, each in texts.items()
    ]


def measure(real: Sequence[Real], tools: Mapping[str, Take]) -> Table:
    """Give the real images to all tools."""
    table = Table("Real images with a key", COLUMNS, key="pixels-corpus")
    for tool, take in tools.items():
        for image, result in zip(real, take([one.data for one in real]), strict=True):
            _add(table, tool, image, result)
    table.notes.append(
        "Keys: seen and typed off by hand, and the one that Presidio publishes. Held: the image "
        "was not delivered."
    )
    return table


def _add(table: Table, tool: str, image: Real, result: Result) -> None:
    named = [text for text in image.texts if text.is_identifying]
    others = [text for text in image.texts if not text.is_identifying]
    hidden = other = 0
    area = 0.0
    if result.data is not None:
        before, after = comparable(image.data, result.data)
        hidden = sum(_is_hidden(text, before, after) for text in named)
        other = sum(_is_hidden(text, before, after) for text in others)
        area = 100 * share_changed(before, after)
    held = len(named) if result.data is None else 0
    seen = len(named) - hidden - held
    table.add(
        [
            *(image.name, tool, str(result.outcome), str(len(named)), str(hidden), str(held)),
            *(f"**{seen}**", f"{other} of {len(others)}", f"{area:.2f}"),
        ],
        image=image.name,
        tool=tool,
        outcome=result.outcome,
        texts=len(named),
        hidden=hidden,
        held=held,
        seen=seen,
    )


def _is_hidden(text: Marked, before: Stack, after: Stack) -> bool:
    frames = range(len(before)) if text.frame is None else (text.frame,)
    return all(_is_covered(text.box, before[one], after[one]) for one in frames)


def _is_covered(box: Box, before: Stack, after: Stack) -> bool:
    rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
    old, new = before.astype(np.int64), after.astype(np.int64)
    changed = new[(old != new).any(axis=-1)]
    if not len(changed):
        return False
    colours, counts = np.unique(changed, axis=0, return_counts=True)
    fill = colours[counts.argmax()]
    near = ALIKE * max(int(np.ptp(old)), 1)
    telling = np.abs(old[rows, columns] - fill).max(axis=-1) > near
    left = telling & (np.abs(old - new)[rows, columns].max(axis=-1) <= near)
    return bool(left.sum() <= (1 - HIDDEN) * telling.sum())
