"""Where identifying text stands in a document: places in a text whose letters lie on a page.

The text of a document has several orders: as it is stored, as it is seen, with and without the
hyphens at the ends of lines. What is found in one of them is found.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.deid.rules.identifiers import Identifier, composed
from app.deid.rules.patterns import found_by_form
from app.deid.rules.text import DescriptorCleaner

#: A letter, or several of one place, and the number of that place; None between words.
Letter = tuple[str, int | None]

_HYPHENS = frozenset("-\u00ad\u2010\u2011")
_BREAK = re.compile(r"(?<=[^\W\d_])[-\u00ad\u2010\u2011]\s{0,4}\n\s{0,4}(?=[^\W\d_])")
_ROUNDS = 8


class Finder(DescriptorCleaner):
    """Finds what identifies in text, where ``DescriptorCleaner`` takes it out."""

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return begin and end of everything that identifies; spans may overlap.

        Args:
            text: composed; its length does not matter.
        """
        found = [*found_by_form(text), *self._matcher.spans(text)]
        rest = _blanked(text, found)
        for _ in range(_ROUNDS):
            spans = [self._initials.around(rest, *span) for span in self._matcher.spans(rest)]
            if not spans:
                break
            found += spans
            rest = _blanked(rest, spans)
        return found + self._initials.alone(rest)

    def values(self, text: str) -> list[tuple[int, int]]:
        """Return the spans of this instance's own values only: for codes and numbers."""
        return list(self._matcher.spans(text))


@dataclass(frozen=True, slots=True, repr=False)
class Letters:
    """A text and, for each of its characters, the place where it stands."""

    text: str
    places: tuple[int | None, ...]


def letters(source: Iterable[Letter]) -> Letters:
    """Return characters in the form in which they are searched.

    Ligatures and letters of full width are taken apart, accents put onto their letters; what
    nobody sees is left out.
    """
    text: list[str] = []
    places: list[int | None] = []
    for cluster, place in _clusters(source):
        plain = composed(unicodedata.normalize("NFKC", cluster)).replace("\0", "")
        text.append(plain)
        places += [place] * len(plain)
    return Letters("".join(text), tuple(places))


def _clusters(source: Iterable[Letter]) -> Iterator[Letter]:
    """Yield letters together with the accents that follow them."""
    held, at = "", None
    for character, place in source:
        if held and unicodedata.combining(character[:1]):
            held += character
            continue
        if held:
            yield held, at
        held, at = character, place
    if held:
        yield held, at


def unbroken(of: Letters) -> Letters | None:
    """Return the letters without hyphens at the ends of lines; None where there are none."""
    if not _HYPHENS.intersection(of.text):
        return None
    drop = {i for found in _BREAK.finditer(of.text) for i in range(*found.span())}
    if not drop:
        return None
    kept = [i for i in range(len(of.text)) if i not in drop]
    return Letters("".join(of.text[i] for i in kept), tuple(of.places[i] for i in kept))


def identifying(finder: Finder, orders: Sequence[Letters]) -> set[int]:
    """Return the places where something that identifies stands in any of several orders."""
    found: set[int] = set()
    for order in orders:
        for variant in (order, unbroken(order)):
            if variant is not None:
                found |= _places(variant, finder.spans(variant.text))
    return found


def _places(of: Letters, spans: Iterable[tuple[int, int]]) -> set[int]:
    return {place for start, stop in spans for place in of.places[start:stop] if place is not None}


def _blanked(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return a text of the same length with spaces in the place of each span."""
    pieces: list[str] = []
    end = 0
    for start, stop in sorted(spans):
        if stop > end:
            begin = max(start, end)
            pieces += (text[end:begin], " " * (stop - begin))
            end = stop
    return "".join([*pieces, text[end:]])


def finder_for(identifiers: Iterable[Identifier]) -> Finder:
    """Return the finder for one instance's values."""
    return Finder(identifiers)
