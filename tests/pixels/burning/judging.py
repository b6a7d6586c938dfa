"""Says what of the burned-in text can still be seen in a result, from its pixels alone.

Nothing that the masks claim is asked: a letter is hidden where the pixels that make it a letter
have been overwritten. Samples are decoded by pydicom's plugins (GDCM, CharLS, OpenJPEG, Pillow),
while the gateway uses another library.
"""

import io
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.filereader import dcmread
from pydicom.pixels.utils import pixel_array
from pydicom.uid import JPEGExtended12Bit

from tests.pixels.burning.burning import Letter, Line
from tests.pixels.burning.encoding import ENCAPSULATED_UNCOMPRESSED

Stack = NDArray[Any]  # (frames, rows, columns, samples)
#: A letter of which less than this can be seen is hidden.
SEEN = 0.2
#: Samples nearer to each other than this share of their range look alike.
ALIKE = 1 / 16


@dataclass(frozen=True, slots=True)
class Seen:
    """What one image still shows.

    Attributes:
        lines: how many lines identify somebody.
        hidden: how many of them have no letter or digit left.
        letters: letters and digits of these lines that identify.
        letters_hidden: how many of them are hidden.
        kinds: kinds of the lines that are not hidden.
        harmless: lines that may stay.
        harmless_hidden: how many of them are gone.
    """

    lines: int = 0
    hidden: int = 0
    letters: int = 0
    letters_hidden: int = 0
    kinds: tuple[str, ...] = ()
    harmless: int = 0
    harmless_hidden: int = 0

    @property
    def leaks(self) -> bool:
        """Whether anything that identifies can be seen."""
        return self.hidden < self.lines


def samples(data: bytes) -> Stack:
    """Decode an instance with libraries that the gateway does not use."""
    dataset = dcmread(io.BytesIO(data))
    return _stacked(_decoded(dataset), dataset)


def comparable(one: bytes, other: bytes) -> tuple[Stack, Stack]:
    """Decode two instances so that pixels that look alike have the same values.

    As stored; as seen where they hold colours in two ways, also where the second one says that it
    does not: there are tools that write red, green and blue under the old name.
    """
    first, second = dcmread(io.BytesIO(one)), dcmread(io.BytesIO(other))
    if first.PhotometricInterpretation != second.PhotometricInterpretation:
        return _stacked(pixel_array(first), first), _stacked(pixel_array(second), second)
    stored = samples(one), samples(other)
    if not first.PhotometricInterpretation.startswith("YBR") or share_changed(*stored) < 0.5:
        return stored
    renamed = _stacked(pixel_array(first), first), stored[1]
    return min(stored, renamed, key=lambda pair: share_changed(*pair))


def _stacked(decoded: Stack, dataset: Dataset) -> Stack:
    frames = int(dataset.get("NumberOfFrames") or 1)
    return decoded.reshape((frames, dataset.Rows, dataset.Columns, dataset.SamplesPerPixel))


def _decoded(dataset: Dataset) -> Stack:
    syntax = dataset.file_meta.TransferSyntaxUID
    frames = int(dataset.get("NumberOfFrames") or 1)
    if syntax == JPEGExtended12Bit and dataset.BitsStored > 8:  # no plugin of pydicom does
        streams = generate_frames(dataset.PixelData, number_of_frames=frames)
        return np.stack([imagecodecs.jpeg8_decode(stream) for stream in streams])
    if syntax == ENCAPSULATED_UNCOMPRESSED:
        streams = generate_frames(dataset.PixelData, number_of_frames=frames)
        size = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel
        return np.stack([np.frombuffer(stream, np.uint8)[:size] for stream in streams])
    return np.asarray(pixel_array(dataset, raw=True))


def seen(before: Stack, after: Stack, lines: tuple[Line, ...]) -> Seen:
    """Compare two stacks of frames, given the answer key of the first."""
    first, last = before.astype(np.int64), after.astype(np.int64)
    shown: dict[int, set[int]] = {}
    for number in range(len(first)):
        fill = _fill(first[number], last[number])
        for place, line in enumerate(lines):
            if not line.frames[0] <= number <= line.frames[1]:
                continue
            visible = {
                at
                for at, letter in enumerate(line.letters)
                if is_visible(letter, first[number], last[number], fill)
            }
            shown.setdefault(place, set()).update(visible)
    return _counted(lines, shown)


def _counted(lines: tuple[Line, ...], shown: dict[int, set[int]]) -> Seen:
    key = [(line, shown.get(place, set())) for place, line in enumerate(lines)]
    named = [(line, visible) for line, visible in key if line.text.is_identifying]
    others = [(line, visible) for line, visible in key if not line.text.is_identifying]
    wanted = [
        {at for at, one in enumerate(line.letters) if one.is_identifying} for line, _ in named
    ]
    left = [letters & visible for letters, (_, visible) in zip(wanted, named, strict=True)]
    return Seen(
        lines=len(named),
        hidden=sum(not one for one in left),
        letters=sum(map(len, wanted)),
        letters_hidden=sum(map(len, wanted)) - sum(map(len, left)),
        kinds=tuple(str(line.text.kind) for (line, _), one in zip(named, left, strict=True) if one),
        harmless=len(others),
        harmless_hidden=sum(not visible for _, visible in others),
    )


def is_visible(letter: Letter, before: Stack, after: Stack, fill: Stack | None) -> bool:
    """Say whether a letter can still be read.

    Looked at are the pixels of its box that a fill would have changed: paper and ink of the same
    colour as the fill tell nothing.
    """
    if fill is None:
        return True
    near = ALIKE * _reach(before)
    box = letter.box
    for wider in (0, 1):  # a stroke that fills its box has its paper beside it
        rows = slice(max(box.top, 0), box.bottom)
        columns = slice(max(box.left - wider, 0), box.right + wider)
        old, new = before[rows, columns], after[rows, columns]
        telling = np.abs(old - fill).max(axis=-1) > near
        if telling.mean() > 0.1:
            untouched = np.abs(old - new).max(axis=-1) <= near
            return bool((untouched & telling).sum() >= SEEN * telling.sum())
    return False


def _reach(stack: Stack) -> int:
    return max(int(np.ptp(stack)), 1)


def _fill(before: Stack, after: Stack) -> Stack | None:
    """Return the colour that most changed pixels have now; None where nothing changed."""
    changed = after[(before != after).any(axis=-1)]
    if not len(changed):
        return None
    colours, counts = np.unique(changed, axis=0, return_counts=True)
    return np.asarray(colours[counts.argmax()])


def changed_outside(before: Stack, after: Stack, allowed: NDArray[np.bool_]) -> int:
    """Count pixels that changed though no mask covers them.

    Args:
        allowed: (frames, rows, columns), where the masks are.
    """
    return int(((before != after).any(axis=-1) & ~allowed).sum())


def share_changed(before: Stack, after: Stack) -> float:
    """Return the share of pixels that were changed."""
    return float((before != after).any(axis=-1).mean())


def share_unlike(before: Stack, after: Stack) -> float:
    """Return the share of pixels that look different: rounding of colours is not counted."""
    near = ALIKE * _reach(before)
    unlike = np.abs(before.astype(np.int64) - after).max(axis=-1) > near
    return float(unlike.mean())
