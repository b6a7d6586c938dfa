"""The narrative of clinical documents: what people read, cleaned as one text.

A name may be spread over several elements, so what identifies is looked for in the text as it is
read, and taken out of the elements that it stands in.
"""

import re
from collections.abc import Iterator

from app.deid.rules.identifiers import composed
from app.pixels.documents import Doubt, Why
from app.pixels.documents import cda_words as words
from app.pixels.documents.finding import Finder, Letter, identifying, letters
from app.pixels.documents.xml_tree import Element

_MEASURE = re.compile(r"\d{1,4}(?:\.\d)?(?:%|px|pt|em)?")
_SPACES = re.compile(r"[ \t]{2,}")


def cleaned_text(text: str, finder: Finder) -> str:
    """Return a text without what identifies; the same text where there is nothing."""
    found = identifying(finder, [letters((c, n) for n, c in enumerate(text))])
    if not found:
        return text
    kept = "".join(" " if n in found else c for n, c in enumerate(text))
    return _SPACES.sub(" ", kept).strip()


class Narrative:
    """Cleans narratives.

    Attributes:
        texts: what was written.
        has_found: whether something identifying was taken out.
    """

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        self.texts: list[str] = []
        self.has_found = False

    def cleaned(self, element: Element) -> Element:
        """Return a narrative without what identifies, links, media and ids.

        Raises:
            Doubt: it holds what no rule covers.
        """
        pieces = _Pieces()
        pieces.gather(element, is_root=True)
        # Once with a gap between elements, once with those of one line put together.
        orders = [letters(pieces.letters(gaps=gaps)) for gaps in (True, False)]
        found = identifying(self._finder, orders)
        self.has_found = self.has_found or bool(found)
        made = _Writer(pieces, found).made(element, is_root=True)
        self.texts.append(_said(made))
        return made


class _Pieces:
    """The texts of a narrative in their order; each letter has a number."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._joints: list[str] = []

    def gather(self, element: Element, *, is_root: bool = False) -> None:
        """Collect the texts inside of an element."""
        if not is_root and element.name in words.NARRATIVE_REMOVED:
            return
        if not is_root and element.name not in words.NARRATIVE_KEPT:
            raise Doubt(Why.UNKNOWN_CONTENT)
        self._separate("inline" if element.name in words.INLINE else "block")
        for part in element.parts:
            if isinstance(part, str):
                self.texts.append(part)
                self._joints.append("")
            elif _is_narrative(part):
                self.gather(part)
        self._separate("inline" if element.name in words.INLINE else "block")

    def _separate(self, joint: str) -> None:
        if self._joints and self._joints[-1] != "block":
            self._joints[-1] = joint

    def letters(self, *, gaps: bool) -> Iterator[Letter]:
        """Yield each letter with its number, and what stands between two texts."""
        number = 0
        for text, joint in zip(self.texts, self._joints, strict=True):
            for character in text:
                yield character, number
                number += 1
            if joint == "block":
                yield "\n", None
            elif joint and gaps:
                yield " ", None


class _Writer:
    """Makes the new narrative, taking letters out by their numbers."""

    def __init__(self, pieces: _Pieces, found: set[int]) -> None:
        self._found = found
        self._next = 0
        self._texts = iter(pieces.texts)

    def made(self, element: Element, *, is_root: bool = False) -> Element:
        made = Element("", element.name, {} if is_root else _attributes(element))
        for part in element.parts:
            if isinstance(part, str):
                made.parts.append(self._rest(next(self._texts)))
            elif _is_narrative(part) and part.name not in words.NARRATIVE_REMOVED:
                made.parts.append(self.made(part))
        return made

    def _rest(self, text: str) -> str:
        start = self._next
        self._next += len(text)
        if self._found.isdisjoint(range(start, self._next)):
            return composed(text)
        kept = (" " if n in self._found else c for n, c in enumerate(text, start))
        return _SPACES.sub(" ", "".join(kept))


def _is_narrative(part: Element | str) -> bool:
    """Say whether an element belongs to the narrative: a reference of an act's text does not."""
    return (
        isinstance(part, Element)
        and part.namespace == words.CDA_NAMESPACE
        and part.name != "reference"
    )


def _attributes(element: Element) -> dict[str, str]:
    """Return layout only: ids, links and names go."""
    kept = {}
    for name, value in element.attributes.items():
        if name in words.STRUCTURE and (value in words.LAYOUT or _MEASURE.fullmatch(value)):
            kept[name] = value
        elif not (
            name in words.STRUCTURE
            or name in words.DROPPED
            or name in {"ID", "IDREF", "revised"}
            or name.startswith("{")
        ):
            raise Doubt(Why.UNKNOWN_CONTENT)
    return kept


def _said(element: Element) -> str:
    """Return the text of an element, a gap around each part."""
    return " ".join(part if isinstance(part, str) else _said(part) for part in element.parts)
