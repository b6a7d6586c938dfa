"""Where identifying values stand in a text, however they are written there."""

import re
from collections.abc import Callable, Iterator

from app.deid.rules.dates import date_pattern, day_of, short_days
from app.deid.rules.disguises import (
    Reading,
    Span,
    look,
    resembling,
    reversible,
    spaced_out,
    unescaped,
    without_hyphens,
    without_joints,
)
from app.deid.rules.identifiers import (
    ANYWHERE,
    MIN_ID,
    MIN_NAME,
    Identifier,
    Kind,
    composed,
    counts_anywhere,
    digit_runs,
    folded,
    is_ordinary,
    is_wide,
    name_parts,
    words,
)
from app.deid.rules.letters import spellings
from app.deid.rules.places import ids, phrases

# Longer values are found by their beginning: the time for a search must not grow with them.
_MAX_ID, _MAX_PHRASE = 64, 32
_ANY_GAP = r"[\W_]*"


def _bounded(pattern: str) -> str:
    return rf"(?<![^\W_])(?:{pattern})(?![^\W_])"


def _name_patterns(text: str) -> Iterator[str]:
    for part in name_parts(composed(text)):
        pattern = _ANY_GAP.join(map(spellings, part))
        if not counts_anywhere("".join(part)):
            yield _bounded(pattern)
            continue
        # An initial is not the first letter of the word that follows.
        before = "(?<![^\\W\\d_])" if _is_initial(part[0]) else ""
        yield before + pattern + ("(?![^\\W\\d_])" if _is_initial(part[-1]) else "")


def _is_initial(word: str) -> bool:
    return len(word) < MIN_NAME and not is_wide(word)


def _date_patterns(text: str) -> Iterator[str]:
    day = day_of(text)
    if day is not None:
        yield date_pattern(day)


def _id_patterns(text: str) -> Iterator[str]:
    for value in ids(text):
        core = [c for c in folded(value) if c.isalnum()]
        if len(core) >= MIN_ID:
            pattern = r"[\W_]{0,2}".join(map(re.escape, core[:_MAX_ID]))
            if len(core) > _MAX_ID:
                pattern += r"\S*"
            yield pattern if len(core) > ANYWHERE else _bounded(pattern)
        for run in digit_runs(folded(value)):
            spaced = r"[\W_]?".join(run)
            yield rf"(?<!\d){spaced}(?!\d)"


def _phrase_patterns(text: str) -> Iterator[str]:
    for value in phrases(text):
        parts = [word[:_MAX_ID] for word in words(folded(composed(value)))[:_MAX_PHRASE]]
        if sum(map(len, parts)) >= MIN_ID:
            yield _bounded(r"[\W_]+".join(map(re.escape, parts)))


_PATTERNS: dict[Kind, Callable[[str], Iterator[str]]] = {
    Kind.NAME: _name_patterns,
    Kind.BIRTH_DATE: _date_patterns,
    Kind.DATE: _date_patterns,
    Kind.ID: _id_patterns,
    Kind.PHRASE: _phrase_patterns,
}
_MAX_KEPT_TEXTS, _MAX_KEPT_LENGTH = 512, 256
# Six figures by themselves, no part of a measure or of a time with colons.
_SIX_FIGURES = re.compile(r"(?<!\d)(?<!\d[.,:])[0-9]{6}(?![.,:]?\d)")
_MIN_SPACED = 4


class Matcher:
    """Finds a set of identifying values in text; remembers short texts, which come again."""

    __slots__ = ("_days", "_known", "_looks", "_pattern")

    def __init__(self, identifiers: frozenset[Identifier]) -> None:
        patterns = {p for i in identifiers for p in _PATTERNS[i.kind](i.text)}
        ordered = sorted(patterns, key=lambda pattern: (-len(pattern), pattern))
        self._pattern = re.compile("|".join(ordered)) if ordered else None
        self._looks = frozenset(_looks(identifiers))
        self._days = frozenset(_days(identifiers))
        self._known: dict[str, tuple[Span, ...]] = {}

    def spans(self, text: str) -> tuple[Span, ...]:
        """Return begin and end of each value in a composed text."""
        known = self._known.get(text)
        if known is None:
            known = self._found(text)
            if len(text) <= _MAX_KEPT_LENGTH:
                if len(self._known) >= _MAX_KEPT_TEXTS:
                    self._known.clear()
                self._known[text] = known
        return known

    def is_whole(self, text: str) -> bool:
        """Say whether a text is nothing but a value."""
        return self._pattern is not None and self._pattern.fullmatch(folded(text)) is not None

    def _found(self, text: str) -> tuple[Span, ...]:
        if self._pattern is None:
            return ()
        found = list(self._read(text, self._pattern))
        reading = unescaped(text)
        if reading is not None:
            found += (reading.span(*span) for span in self._read(reading.text, self._pattern))
        return tuple(found)

    def _read(self, text: str, pattern: re.Pattern[str]) -> Iterator[Span]:
        plain = folded(text)
        yield from _places(pattern, plain)
        yield from resembling(text, plain, self._looks)
        for six in _SIX_FIGURES.finditer(plain):
            if six.group() in self._days:
                yield six.span()
        if reading := without_hyphens(plain):
            yield from (reading.span(*span) for span in _places(pattern, reading.text))
        if reading := without_joints(text, plain):
            yield from _whole_words(reading, pattern, plain)
        for reading in spaced_out(plain):
            for start, stop in _places(pattern, reading.text):
                if stop - start >= _MIN_SPACED or is_wide(reading.text[start:stop]):
                    yield reading.span(start, stop)


def _places(pattern: re.Pattern[str], plain: str) -> Iterator[Span]:
    for match in pattern.finditer(plain):
        if not is_ordinary(plain, *match.span()):
            yield match.span()


def _whole_words(reading: Reading, pattern: re.Pattern[str], plain: str) -> Iterator[Span]:
    """Yield matches that begin and end with a word of the text: its halves are one name."""
    for match in _places(pattern, reading.text):
        start, stop = reading.span(*match)
        if not (plain[start - 1 : start].isalnum() or plain[stop : stop + 1].isalnum()):
            yield start, stop


def _looks(identifiers: frozenset[Identifier]) -> Iterator[str]:
    """Yield the names of one word as they look, and backwards."""
    names = (i.text for i in identifiers if i.kind is Kind.NAME)
    for part in (part for name in names for part in name_parts(composed(name))):
        seen = look("".join(part))
        if len(part) == 1 and not is_wide(seen):
            yield seen
            yield from (seen[::-1],) if reversible(seen) else ()


def _days(identifiers: frozenset[Identifier]) -> Iterator[str]:
    for identifier in identifiers:
        day = day_of(identifier.text) if identifier.kind in _DATES else None
        yield from short_days(day) if day is not None else ()


_DATES = frozenset({Kind.DATE, Kind.BIRTH_DATE})
