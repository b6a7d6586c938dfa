"""Which images are made: drawn from a seed, or one for every format. ``make`` builds one of them.

A case says everything about its image, so that an image that leaks is found again by its number.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tests.builders import part10
from tests.pixels.burning.backgrounds import BACKGROUNDS
from tests.pixels.burning.burning import Frame, Line, Sheet, Style, burn, shown_in
from tests.pixels.burning.encoding import FORMATS, Format, Samples, put_pixels, to_samples
from tests.pixels.burning.fonts import Face, faces
from tests.pixels.burning.headers import KINDS, header
from tests.pixels.burning.words import (
    Person,
    Rng,
    Text,
    harmless_line,
    makers,
    person,
    pick,
)

_TRIES = 12


@dataclass(frozen=True, slots=True)
class Case:
    """One image.

    Attributes:
        seed: of everything that is drawn.
        form: name of one of ``FORMATS``.
        kind: name of one of ``KINDS``.
        size: of the letters, in pixels.
        ink: ``plain``, or ``boxed`` on a ground of its own.
        shown: ``always``; in ``one`` frame; or ``changing`` from frame to frame.
        is_in_header: whether the header names the person whose name is burned in.
        burned_in: value of (0028,0301); empty for none.
        identifying: lines of text that identify somebody.
        harmless: lines that do not.
        split: pieces that each code stream is cut into.
    """

    seed: int
    form: str
    kind: str = "us"
    background: str = "ultrasound"
    rows: int = 240
    columns: int = 320
    frames: int = 1
    face: str = "aileron"
    size: int = 14
    ink: str = "plain"
    is_smooth: bool = True
    shown: str = "always"
    is_in_header: bool = True
    burned_in: str = "YES"
    identifying: int = 4
    harmless: int = 3
    split: int = 1

    @property
    def format(self) -> Format:
        """How its pixels are stored."""
        return FORMATS[self.form]

    @property
    def is_believed(self) -> bool:
        """Whether it is an original section of a scanner, in which nobody expects any text.

        Such an image is not read.
        """
        return self.kind == "ct-original" and self.burned_in != "YES"

    @property
    def twin(self) -> "Case":
        """The same image without any text."""
        return replace(self, identifying=0, harmless=0)


@dataclass(frozen=True, slots=True, repr=False)
class Made:
    """An image and its answer key.

    Attributes:
        data: the whole instance as Part 10.
        light: every frame as it looks, from 0 to 1.
        stored: every frame as it was given to the encoder.
    """

    case: Case
    who: Person
    data: bytes
    lines: tuple[Line, ...]
    light: tuple[Frame, ...]
    stored: tuple[Samples, ...]


def make(case: Case) -> Made:
    """Build the image of a case; always the same bytes."""
    rng = np.random.default_rng(case.seed)
    who, named = person(rng), person(rng)
    light = list(_backgrounds(case, np.random.default_rng(case.seed + 1)))
    lines = _set_type(case, who, light[0], rng)
    for number, frame in enumerate(light):
        for line in shown_in(lines, number):
            burn(frame, line)
    stored = tuple(to_samples(frame, case.format) for frame in light)
    dataset = header(case.kind, case.seed, who if case.is_in_header else named, case.burned_in)
    put_pixels(dataset, stored, case.format, split=case.split)
    if case.kind == "dx":
        dataset.WindowCenter = 0 if case.format.is_signed else 2 ** (case.format.stored - 1)
        dataset.WindowWidth = 2**case.format.stored
    if case.frames > 1:
        dataset.FrameTime, dataset.FrameIncrementPointer = "40", 0x00181063
    data = part10(dataset, case.format.syntax)
    return Made(case, who, data, tuple(lines), tuple(light), stored)


def _backgrounds(case: Case, rng: Rng) -> Iterator[Frame]:
    plane = BACKGROUNDS[case.background]((case.rows, case.columns), rng)
    tint = np.ones(case.format.samples)
    if case.format.samples == 3 and rng.random() < 0.3:
        tint = np.array([1.0, 0.85, 0.6])
    for number in range(case.frames):
        moved = plane if number == 0 else _moved(plane, number)
        yield moved[:, :, None] * tint


def _moved(plane: Frame, number: int) -> Frame:
    """Shake what lies in the middle, as a beating heart would."""
    moved = plane.copy()
    rows, columns = (
        slice(len(plane) // 3, len(plane) // 2),
        slice(len(plane[0]) // 3, len(plane[0]) // 2),
    )
    moved[rows, columns] = np.roll(plane[rows, columns], 3 * number, axis=1)
    return moved


def _set_type(case: Case, who: Person, frame: Frame, rng: Rng) -> list[Line]:
    style = Style(_face(case.face), case.size, (1, 1, 1), smooth=case.is_smooth)
    sheet = Sheet((case.rows, case.columns))
    lines: list[Line] = []
    for maker in makers(case.identifying, rng):
        for frames in _over_time(case, rng):
            lines += _placed(lambda maker=maker: maker(who, rng), sheet, style, frames, rng)
    for _ in range(case.harmless):
        lines += _placed(lambda: harmless_line(rng), sheet, style, (0, case.frames - 1), rng)
    return [_inked(line, case, frame, rng) for line in lines]


def _placed(
    write: Callable[[], Text], sheet: Sheet, style: Style, frames: tuple[int, int], rng: Rng
) -> list[Line]:
    """Set one line; one that is too long for the image is written anew, until one fits."""
    for _ in range(_TRIES):
        line = sheet.place(write(), style, rng)
        if line is not None:
            return [replace(line, frames=frames)]
    return []


def _over_time(case: Case, rng: Rng) -> list[tuple[int, int]]:
    """Say which frames show a line; one that changes is written anew on the way."""
    last = case.frames - 1
    if case.shown == "one":
        number = int(rng.integers(case.frames))
        return [(number, number)]
    if case.shown == "changing" and last:
        half = case.frames // 2
        return [(0, half - 1), (half, last)]
    return [(0, last)]


def _face(name: str) -> Face:
    return next(face for face in faces() if face.name == name)


def _inked(line: Line, case: Case, frame: Frame, rng: Rng) -> Line:
    """Choose colours that can be read where the line stands."""
    bright = pick(rng, _BRIGHT) if frame.shape[2] == 3 else pick(rng, _GREYS)
    box = line.box
    under = float(frame[box.top : box.bottom, box.left : box.right].mean())
    if case.ink == "boxed":
        dark_on_light = rng.random() < 0.5
        colour, ground = ((0.05,) * 3, (0.9,) * 3) if dark_on_light else (bright, (0.0,) * 3)
        return replace(line, style=replace(line.style, colour=colour, ground=ground))
    return replace(line, style=replace(line.style, colour=bright if under < 0.5 else (0.0,) * 3))


_BRIGHT = (
    (1, 1, 1),
    (1, 1, 0),
    (0, 1, 1),
    (0.4, 1, 0.4),
    (1, 0.75, 0.3),
    (0.8, 0.8, 0.8),
    (1, 1, 1),
)
_GREYS = ((1, 1, 1), (1, 1, 1), (0.85,) * 3, (0.75,) * 3)


# --- Which cases -------------------------------------------------------------------------------


def every_format(*, rows: int = 120, columns: int = 288) -> list[Case]:
    """Return one small image for every format; multi-frame where the kind of object allows it."""
    cases = []
    for number, (name, form) in enumerate(FORMATS.items()):
        kind = next(
            one for one, about in KINDS.items() if about.frames and form_fits(about.forms, form)
        )
        cases.append(
            Case(
                1000 + number,
                name,
                kind,
                "gradient",
                rows,
                columns,
                frames=2,
                size=12,
                is_smooth=form.stored > 1,
                identifying=2,
                harmless=1,
            )
        )
    return cases


def form_fits(what: str, form: Format) -> bool:
    """Say whether a kind of object may hold a format; ``About.forms`` lists what it may be."""
    if what == "bit":
        return form.stored == 1
    if what == "byte":
        return form.stored == 8
    if what == "unsigned" and form.is_signed:
        return False
    if what in ("word", "unsigned"):
        return form.allocated == 16 and not form.photometric.startswith("PALETTE")
    return form.stored > 1


def drawn(
    count: int,
    seed: int,
    *,
    faces_of: Sequence[Face] | None = None,
    kinds: Sequence[str] = (),
) -> list[Case]:
    """Draw cases: what the proof is measured on.

    Args:
        count: how many.
        seed: the same one gives the same cases.
        faces_of: the type that is used; all that can be had here by default.
        kinds: of objects; all in their frequency by default.
    """
    rng = np.random.default_rng(seed)
    names = [face.name for face in (faces_of or faces())]
    objects = kinds or [name for name, about in KINDS.items() for _ in range(about.weight)]
    seeds = range(seed * 100_000, seed * 100_000 + count * 10, 10)
    return [_draw(rng, one, names, pick(rng, objects)) for one in seeds]


def _draw(rng: Rng, seed: int, names: Sequence[str], kind: str) -> Case:
    about = KINDS[kind]
    form = pick(rng, [one for one in FORMATS.values() if form_fits(about.forms, one)])
    rows, columns = pick(rng, about.shapes)
    size = int(rng.integers(8, 33))
    frames = int(rng.integers(2, 7)) if about.frames else 1
    return Case(
        seed,
        form.name,
        kind,
        pick(rng, about.backgrounds),
        rows,
        columns,
        frames,
        face=pick(rng, names),
        size=size,
        ink="boxed" if rng.random() < 0.2 else "plain",
        is_smooth=form.stored > 1 and rng.random() < 0.75,
        shown=pick(rng, ("always", "one", "changing")) if frames > 1 else "always",
        is_in_header=rng.random() < 0.75,
        burned_in=pick(rng, ("YES", "YES", "", "NO")),
        identifying=int(rng.integers(1, 7)),
        harmless=int(rng.integers(0, 7)),
        split=2 if form.encode is not None and frames > 1 and rng.random() < 0.3 else 1,
    )
