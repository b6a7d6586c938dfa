"""How much burned-in text gets past the ladder, and past Presidio's redactor on the same images.

The images are made (``tests.pixels.burning``), so what stands in them is known to the pixel. What
is judged is the result alone, decoded by another library.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.pixels_path import Outcome, Result, Take
from bench.report import Table
from tests.pixels.burning.cases import Case, Made, make
from tests.pixels.burning.judging import Seen, comparable, samples, seen, share_unlike

SIZES = ((8, 11), (12, 16), (17, 24), (25, 32))


@dataclass(slots=True)
class Tally:
    """What became of some images, and of the lines in them.

    Attributes:
        outcomes: number of images by what became of them.
        lines, letters: that identify somebody.
        hidden: lines of delivered images that nobody can read any more.
        held: lines of images that were not delivered.
        letters_seen: letters and digits of delivered images that can be read.
        harmless, harmless_hidden: other lines of delivered images.
        kinds: kinds of the lines that can be read in delivered images.
        seeds: of the images that they are in.
        unread: images that were held because reading them failed.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    lines: int = 0
    letters: int = 0
    hidden: int = 0
    held: int = 0
    letters_seen: int = 0
    harmless: int = 0
    harmless_hidden: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    seeds: list[int] = field(default_factory=list)
    seconds: float = 0.0
    unread: int = 0

    @property
    def images(self) -> int:
        """How many there were."""
        return sum(self.outcomes.values())

    @property
    def leaked(self) -> int:
        """Lines that can be read in delivered images: what must not be."""
        return self.lines - self.hidden - self.held

    def add(self, made: Made, result: Result, found: Seen) -> None:
        """Count one image."""
        self.outcomes[result.outcome] += 1
        self.lines += found.lines
        self.letters += found.letters
        self.seconds += result.seconds
        self.unread += result.is_unread
        if result.data is None:
            self.held += found.lines
            return
        self.hidden += found.hidden
        self.letters_seen += found.letters - found.letters_hidden
        self.harmless += found.harmless
        self.harmless_hidden += found.harmless_hidden
        self.kinds.update(found.kinds)
        if found.leaks:
            self.seeds.append(made.case.seed)


def judged(made: Made, result: Result) -> Seen:
    """Say what can be seen of an image's text; of one that was not delivered, nothing."""
    if result.data is None:
        before = samples(made.data)
        return seen(before, np.zeros_like(before), made.lines)
    return seen(*comparable(made.data, result.data), made.lines)


COLUMNS = (
    *("by", "images", "passed", "masked", "held back", "lines", "hidden", "held", "SEEN"),
    *("seen %", "letters seen %", "harmless lines hidden %"),
)


def measure(cases: Sequence[Case], tools: Mapping[str, Take]) -> list[Table]:
    """Give the same images to all tools."""
    images = [make(case) for case in cases]
    total = Table(f"Burned-in text in {len(images)} images", COLUMNS, key="pixels-proof")
    groups = Table("The same by what the images are", COLUMNS, key="pixels-groups")
    for name, take in tools.items():
        taken = [
            (made, result, judged(made, result))
            for made, result in zip(images, take([one.data for one in images]), strict=True)
        ]
        tally = _tally(taken)
        _add(total, name, tally)
        if tally.unread:
            total.notes.append(f"{name}: {tally.unread} images were held as reading them failed.")
        if len(groups.rows):
            continue  # the first tool is ours
        for group, belongs in _groups():
            some = [one for one in taken if belongs(one[0].case)]
            if some:
                _add(groups, group, _tally(some))
    total.notes += [
        "A line counts as hidden when none of its letters and digits that identify can be read: of "
        "each, less than a fifth of the telling pixels is left. One letter left makes it SEEN.",
        "Held back: quarantined, or refused with an error. Passed: delivered with every pixel.",
    ]
    groups.notes.append("Of the first tool alone.")
    return [total, groups]


def _tally(taken: Iterable[tuple[Made, Result, Seen]]) -> Tally:
    tally = Tally()
    for made, result, found in taken:
        tally.add(made, result, found)
    return tally


def _groups() -> Iterator[tuple[str, Callable[[Case], bool]]]:
    for low, high in SIZES:
        yield f"letters of {low} to {high} px", lambda c, a=low, b=high: a <= c.size <= b
    yield "name in the header", lambda c: c.is_in_header
    yield "name not in the header", lambda c: not c.is_in_header
    for kind in (
        "us",
        "us-cine",
        "sc",
        "sc-words",
        "sc-bits",
        "cr",
        "dx",
        "ct",
        "ct-original",
        "xa",
    ):
        yield f"kind {kind}", lambda c, k=kind: c.kind == k
    for value in ("YES", "", "NO"):
        yield f"Burned In Annotation {value or 'absent'}", lambda c, v=value: c.burned_in == v
    for shown in ("one", "changing"):
        yield f"multi-frame, {shown}", lambda c, s=shown: c.shown == s
    yield "lossy", lambda c: c.format.is_lossy


def _add(table: Table, name: str, tally: Tally) -> None:
    count = tally.outcomes
    held = count[Outcome.HELD] + count[Outcome.REFUSED]
    cells = [
        name,
        f"{tally.images}",
        f"{count[Outcome.PASSED]}",
        f"{count[Outcome.MASKED]}",
        f"{held}",
        f"{tally.lines}",
        f"{tally.hidden}",
        f"{tally.held}",
        f"**{tally.leaked}**",
        _percent(tally.leaked, tally.lines),
        _percent(tally.letters_seen, tally.letters),
        _percent(tally.harmless_hidden, tally.harmless),
    ]
    table.add(
        cells,
        by=name,
        images=tally.images,
        passed=count[Outcome.PASSED],
        masked=count[Outcome.MASKED],
        held=held,
        lines=tally.lines,
        lines_hidden=tally.hidden,
        lines_held=tally.held,
        lines_seen=tally.leaked,
        letters=tally.letters,
        letters_seen=tally.letters_seen,
        kinds_seen=dict(tally.kinds),
        seeds_seen=tally.seeds,
        unread=tally.unread,
        seconds_per_image=tally.seconds / max(tally.images, 1),
    )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f}" if whole else "-"


FREE_COLUMNS = ("tool", "images", "passed", "masked", "held back", "mean masked area %", "most %")


def measure_free(cases: Sequence[Case], tools: Mapping[str, Take]) -> Table:
    """Give images without any text to all tools: what is masked there is masked for nothing."""
    images = [make(case.twin) for case in cases]
    table = Table(f"{len(images)} images without text", FREE_COLUMNS, key="pixels-free")
    for name, take in tools.items():
        counts: Counter[Outcome] = Counter()
        areas: list[float] = []
        for made, result in zip(images, take([one.data for one in images]), strict=True):
            counts[result.outcome] += 1
            if result.data is not None:
                areas.append(_area(made, result, result.data))
        mean, most = (100 * np.mean(areas), 100 * max(areas)) if areas else (0.0, 0.0)
        held = counts[Outcome.HELD] + counts[Outcome.REFUSED]
        row = [counts[Outcome.PASSED], counts[Outcome.MASKED], held]
        table.add(
            [name, f"{len(images)}", *map(str, row), f"{mean:.3f}", f"{most:.2f}"],
            tool=name,
            images=len(images),
            passed=counts[Outcome.PASSED],
            masked=counts[Outcome.MASKED],
            held=held,
            area_percent=float(mean),
        )
    table.notes.append(
        "Area: of the images that were delivered, what the marks cover; where a tool names none, "
        "the pixels that changed. Aim: at most 2 %."
    )
    return table


def _area(made: Made, result: Result, data: bytes) -> float:
    if not result.marks:
        return share_unlike(*comparable(made.data, data))
    case = made.case
    covered = np.zeros((case.frames, case.rows, case.columns), np.bool_)
    for mark in result.marks:
        box = mark.box.clipped(case.columns, case.rows)
        first, last = mark.frames or (0, case.frames - 1)
        covered[first : last + 1, box.top : box.bottom, box.left : box.right] = True
    return float(covered.mean())


def measure_unread(cases: Sequence[Case], tools: Mapping[str, Take]) -> Table:
    """Give images that no rung reads, though they show text: what believing the header costs."""
    images = [make(case) for case in cases]
    table = Table(
        f"{len(images)} sections with text that nobody expects",
        COLUMNS,
        key="pixels-unread",
    )
    for take in tools.values():
        taken = [
            (made, result, judged(made, result))
            for made, result in zip(images, take([one.data for one in images]), strict=True)
        ]
        for group, belongs in _groups():
            some = [one for one in taken if belongs(one[0].case)]
            if some and group.startswith("kind"):
                _add(table, group, _tally(some))
    table.notes.append(
        "Original sections of scanners that do not declare burned-in text: the first rung passes "
        "them without reading. None of them is in the tables above."
    )
    return table
