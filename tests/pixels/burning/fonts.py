"""The type that texts are burned with: two faces that Pillow carries, others from Debian packages.

Without apt-get only Pillow's are there; a test that needs a certain face says so itself.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tools import debian_tools

#: Debian package -> faces of it, by the name that the answer key calls them.
PACKAGES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "fonts-dejavu-core": {
            "sans": "truetype/dejavu/DejaVuSans.ttf",
            "mono-bold": "truetype/dejavu/DejaVuSansMono-Bold.ttf",
        },
        "fonts-liberation": {
            "grotesque": "truetype/liberation/LiberationSans-Regular.ttf",
            "narrow": "truetype/liberation/LiberationSansNarrow-Regular.ttf",
            "serif": "truetype/liberation/LiberationSerif-Regular.ttf",
            "typewriter": "truetype/liberation/LiberationMono-Regular.ttf",
        },
        "fonts-ocr-a": {"ocr-a": "truetype/ocr-a/OCRA.ttf"},
    }
)
_MISSING = "\U0010fffe"
_LETTERS = {
    "ß": "ss",
    "ø": "o",
    "Ø": "O",
    "ł": "l",
    "Ł": "L",
    "đ": "d",
    "Đ": "D",
    "ð": "d",
    "Ð": "D",
}
_LETTERS |= {"ı": "i", "ə": "e", "æ": "ae", "Æ": "AE", "å": "a", "ª": "a"}  # noqa: RUF001
Ink = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Face:
    """One face at any size.

    Attributes:
        path: of the file; None for those that Pillow carries.
    """

    name: str
    path: Path | None = None
    _known: dict[tuple[str, int, bool], tuple[Ink, int]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def glyph(self, character: str, size: int, *, smooth: bool) -> tuple[Ink, int]:
        """Return ink of one character between 0 and 1, as high as a line, and its advance."""
        key = (character, size, smooth)
        if key not in self._known:
            draw = self._bitmap if self.name == "bitmap" else self._outline
            self._known[key] = draw(character, size, smooth)
        return self._known[key]

    def spelling(self, character: str) -> str:
        """Return the character, or what devices write that lack it."""
        return character if self._has(character) else _plain(character)

    def _has(self, character: str) -> bool:
        if character.isascii():
            return True
        if self.name == "bitmap":
            return False
        font = _font(self.path, 24)
        return bytes(font.getmask(character)) != bytes(font.getmask(_MISSING))

    def _outline(self, character: str, size: int, smooth: bool) -> tuple[Ink, int]:
        font = _font(self.path, size)
        ascent, descent = font.getmetrics()
        advance = max(round(font.getlength(character)), 1)
        side = size // 2  # letters may lean out of their advance
        canvas = Image.new("L", (advance + 2 * side, ascent + descent))
        pen = ImageDraw.Draw(canvas)
        pen.fontmode = "L" if smooth else "1"
        pen.text((side, ascent), character, fill=255, font=font, anchor="ls")
        return np.asarray(canvas, dtype=np.float64) / 255, advance

    def _bitmap(self, character: str, size: int, _smooth: bool) -> tuple[Ink, int]:
        font = ImageFont.load_default_imagefont()
        mask = font.getmask(character)
        width, height = mask.size
        ink = np.frombuffer(bytes(mask), np.uint8).reshape(height, width) / 255.0
        times = max(round(size / 10), 1)
        side = size // 2
        bigger = np.kron(ink, np.ones((times, times)))
        return np.pad(bigger, ((0, 0), (side, side))), width * times


@cache
def _font(path: Path | None, size: int) -> ImageFont.FreeTypeFont:
    if path is None:
        font = ImageFont.load_default(size)
        if not isinstance(font, ImageFont.FreeTypeFont):
            raise TypeError("Pillow was built without FreeType")
        return font
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def _plain(character: str) -> str:
    base = normalize("NFD", _LETTERS.get(character, character))
    plain = "".join(one for one in base if one.isascii())
    return plain or "?"


def carried() -> tuple[Face, ...]:
    """Return the faces that are always there."""
    return (Face("aileron"), Face("bitmap"))


@cache
def faces() -> tuple[Face, ...]:
    """Return all faces that can be had here."""
    return (*carried(), *_packaged())


def _packaged() -> Iterator[Face]:
    if not debian_tools.is_available():
        return
    for package, names in PACKAGES.items():
        try:
            tree = debian_tools.provide_tree(package)
        except debian_tools.PackageUnavailable:
            continue
        for name, path in names.items():
            yield Face(name, tree / "usr/share/fonts" / path)
