"""Real files, those in pydicom's wheel and the corpus: masked, shown, and read again."""

import json
import os
from dataclasses import asdict, dataclass

import numpy as np
import pytest

from app.dicom import part10
from app.dicom.elements import key_tag
from app.dicom.source import FileSource, write_all
from app.dicom.tokens import Limits
from app.errors import GatewayError, MalformedDicom, UndecidableElement
from app.pipeline.picturing import picture_of
from app.pipeline.root import RootValues
from app.pixels.codecs import cleaned, decode
from app.pixels.masking import mask
from app.pixels.model import Box, Mark, Picture, Rung
from app.pixels.placing import frames_of
from app.pixels.rendering import display, first_bit, render, stored
from app.pixels.wire import picture_to_json
from tests.dicom.files import all_files

FILES = all_files()
# The largest are the same formats once more.
_MOST_BYTES = 3_000_000
_MOST_FRAMES = 3
#: Refused for what they are: damaged frames, and images whose values nobody can name.
REFUSALS = (MalformedDicom, UndecidableElement)


@dataclass
class _Image:
    """One instance's frames in a descriptor of their own."""

    picture: Picture
    frames: list[list[tuple[int, int]]]
    source: int
    is_native: bool

    def frame(self, number):
        """Decode one."""
        return _decoded(
            self, b"".join(os.pread(self.source, n, o) for o, n in self.frames[number]), number
        )


def _decoded(image, data, number):
    if image.is_native:
        return decode(data, image.picture, bit=first_bit(image.picture, number))
    return decode(cleaned(data, image.picture), image.picture)


def _opened(path):
    """Open an instance that has whole numbers as pixels; None for all others."""
    fd = os.open(path, os.O_RDONLY)
    try:
        tokens = part10.read(FileSource(fd), Limits())
        if tokens.pixels is None or key_tag(tokens.pixels.key) != 0x7FE00010:
            return None
        root = RootValues(tokens, {key_tag(key): i for i, key in enumerate(tokens.root.keys)})
        picture = picture_of(root, root.text(0x00080016))
        frames = frames_of(tokens.source, tokens.pixels, picture)[:_MOST_FRAMES]
        source = os.memfd_create("source")
        write_all(source, tokens.source.read(0, tokens.source.size))
        return _Image(picture, frames, source, tokens.pixels.length is not None)
    except GatewayError:
        return None
    finally:
        os.close(fd)


def _box(picture):
    left, top = picture.columns // 3, picture.rows // 4
    return Box(left, top, left + picture.columns // 4 + 1, top + picture.rows // 5 + 1)


def _grown(box, unit, frame):
    """Return what may differ: the box, or whole blocks and what decoders smooth beside them."""
    width, height = unit or ([2, 1] if frame.is_subsampled else [1, 1])
    margin = 0 if width in {1, 8} and height in {1, 8} else 2
    return Box(
        max(box.left // width * width - margin, 0),
        max(box.top // height * height - margin, 0),
        -(-box.right // width) * width + margin,
        -(-box.bottom // height) * height + margin,
    )


def _outside(image, frame, box):
    """Return the values outside of a box, pixel by pixel."""
    values = stored(frame, image.picture) if frame.values.ndim == 2 else frame.values
    if frame.is_subsampled:
        values = np.repeat(values, 2, axis=1)
    keep = np.ones(values.shape[:2], bool)
    keep[box.top : box.bottom, box.left : box.right] = False
    return values[keep]


def _asked(image, **more):
    marks = [asdict(Mark(_box(image.picture), Rung.REVIEW))]
    picture = picture_to_json(image.picture)
    return json.loads(
        json.dumps({"picture": picture, "frames": image.frames, "marks": marks} | more)
    )


_SMALL = {name: path for name, path in FILES.items() if path.stat().st_size < _MOST_BYTES}


@pytest.mark.parametrize("name", _SMALL)
def test_real_files_are_masked_and_everything_else_stays(name):
    image = _opened(_SMALL[name])
    if image is None:
        return
    output = os.memfd_create("output")
    try:
        answer = mask(_asked(image), [image.source, output])
        position = 0
        for number, length in enumerate(answer["lengths"]):
            data = os.pread(output, length, position)
            position += length
            if image.picture.bits_allocated == 1 and image.is_native:
                continue
            before, after = image.frame(number), _decoded(image, data, number)
            box = _grown(_box(image.picture), answer["grown_to"], before)
            np.testing.assert_array_equal(_outside(image, before, box), _outside(image, after, box))
            inner = _box(image.picture)
            shown = display(after, image.picture)[
                inner.top : inner.bottom, inner.left : inner.right
            ]
            assert _is_flat(shown, answer)
    except REFUSALS:
        # A test below says how few they are.
        return
    finally:
        os.close(output)
        os.close(image.source)


def _is_flat(shown, answer):
    """Say whether a box shows one colour, but for what a decoder smooths at its edge."""
    if answer["grown_to"] not in (None, [8, 8]):
        shown = shown[3:-3, 3:-3]
    return (
        shown.size == 0
        or len(np.unique(shown.reshape(-1, shown.shape[-1] if shown.ndim == 3 else 1), axis=0)) == 1
    )


def test_few_of_the_real_files_are_refused():
    """Nearly all that can be decoded at all can be masked; the others wait for people."""
    done, refused = 0, 0
    for path in list(_SMALL.values()):
        image = _opened(path)
        if image is None:
            continue
        output = os.memfd_create("output")
        try:
            image.frames = image.frames[:1]
            mask(_asked(image), [image.source, output])
            done += 1
        except REFUSALS:
            refused += 1
        finally:
            os.close(output)
            os.close(image.source)

    assert done > 80
    assert refused <= done // 40


@pytest.mark.parametrize("style", ["outline", "fill"])
def test_every_real_image_has_a_preview(style):
    count = 0
    for path in _SMALL.values():
        image = _opened(path)
        if image is None:
            continue
        png = os.memfd_create("png")
        try:
            answer = render(_asked(image, frame=0, max_edge=100, style=style), [image.source, png])
            data = os.pread(png, answer["size"] + 1, 0)
            assert data.startswith(b"\x89PNG")
            assert len(data) == answer["size"]
            assert max(answer["rows"], answer["columns"]) <= 100
            count += 1
        except REFUSALS:
            continue
        finally:
            os.close(png)
            os.close(image.source)

    assert count > 80
