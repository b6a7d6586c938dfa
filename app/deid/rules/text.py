"""Kept text, cleaned of the identifying values of this very instance.

Whatever a profile keeps, a kept text in which a value stands that identifies somebody in this very
instance is cleaned of it. Source: PS3.15 2026d, E.2 (the profile protects against identification
by any attribute), E.3.5.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from app.deid.rules.dates import date_pattern, day_of
from app.deid.rules.identifiers import (
    ANYWHERE,
    MIN_ID,
    NUMERIC,
    WORD,
    Identifier,
    Kind,
    composed,
    counts_anywhere,
    digit_runs,
    folded,
    id_core,
    is_ordinary,
    name_parts,
    name_words,
    words,
)
from app.deid.rules.letters import spellings
from app.deid.rules.patterns import found_by_form
from app.deid.rules.vocabulary import CODE_STRINGS

# Longer values are found by their beginning: the time for a search must not grow with them.
_MAX_ID, _MAX_PHRASE = 64, 32
_ANY_GAP = r"[\W_]*"


def _bounded(pattern: str) -> str:
    return rf"(?<![^\W_])(?:{pattern})(?![^\W_])"


def _name_patterns(text: str) -> Iterator[str]:
    for part in name_parts(composed(text)):
        pattern = _ANY_GAP.join(map(spellings, part))
        joined = "".join(part)
        yield pattern if counts_anywhere(joined) else _bounded(pattern)


def _date_patterns(text: str) -> Iterator[str]:
    day = day_of(text)
    if day is not None:
        yield date_pattern(day)


def _id_patterns(text: str) -> Iterator[str]:
    for value in text.split("\\"):
        core = [c for c in folded(value) if c.isalnum()]
        if len(core) >= MIN_ID:
            pattern = r"[\W_]{0,2}".join(map(re.escape, core[:_MAX_ID]))
            if len(core) > _MAX_ID:
                pattern += r"\S*"
            yield pattern if len(core) > ANYWHERE else _bounded(pattern)
        for run in digit_runs(value):
            spaced = r"[\W_]?".join(run)
            yield rf"(?<!\d){spaced}(?!\d)"


def _phrase_patterns(text: str) -> Iterator[str]:
    for value in text.split("\\"):
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
# The values of a patient's instances are the same, and compiling them takes longer than all else.
_MAX_KEPT_VALUES, _MAX_KEPT_TEXTS, _MAX_KEPT_LENGTH = 256, 512, 256


class _Matcher:
    """Finds a set of identifying values in text; remembers short texts, which come again."""

    __slots__ = ("_known", "_pattern")

    def __init__(self, identifiers: frozenset[Identifier]) -> None:
        patterns = {p for i in identifiers for p in _PATTERNS[i.kind](i.text)}
        ordered = sorted(patterns, key=lambda pattern: (-len(pattern), pattern))
        self._pattern = re.compile("|".join(ordered)) if ordered else None
        self._known: dict[str, tuple[tuple[int, int], ...]] = {}

    def spans(self, text: str) -> tuple[tuple[int, int], ...]:
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

    def _found(self, text: str) -> tuple[tuple[int, int], ...]:
        if self._pattern is None:
            return ()
        plain = folded(text)
        found = list(_places(self._pattern, plain))
        if _HYPHEN.search(plain):
            # A name that somebody hyphenated: what stands around the hyphen is one word.
            kept = [i for i in range(len(plain)) if not _HYPHEN.match(plain, i)]
            dense = "".join(plain[i] for i in kept)
            found += ((kept[a], kept[b - 1] + 1) for a, b in _places(self._pattern, dense))
        return tuple(found)


_HYPHEN = re.compile(r"(?<=[^\W\d_])[-\u2010\u2011](?=[^\W\d_])")


def _places(pattern: re.Pattern[str], plain: str) -> Iterator[tuple[int, int]]:
    for match in pattern.finditer(plain):
        if not is_ordinary(plain, *match.span()):
            yield match.span()


def _searched(identifier: Identifier) -> Identifier:
    """Return the part of a value that is searched for: of a date and time, the date."""
    if identifier.kind in {Kind.DATE, Kind.BIRTH_DATE}:
        return Identifier(Kind.DATE, identifier.text[:8])
    return identifier


def _matcher(identifiers: frozenset[Identifier]) -> _Matcher:
    if len(identifiers) > _MAX_KEPT_VALUES:
        return _Matcher(identifiers)
    return _kept_matcher(identifiers)


@lru_cache(maxsize=64)
def _kept_matcher(identifiers: frozenset[Identifier]) -> _Matcher:
    return _Matcher(identifiers)


_UID_RUN = re.compile(r"(?<![0-9.])[0-2](?:\.[0-9]+){3,}")
_TERM_VRS = frozenset({"AE", "AS", "CS", "DS", "IS", "TM"})
_DUMMY_TERMS = {"AS": "000Y", "DS": "0", "IS": "0", "TM": "000000"}


class TextCleaner:
    """Takes the identifying values of one instance out of kept text.

    Args:
        identifiers: the values.
        uids: original UIDs that the instance's plan maps.
    """

    def __init__(self, identifiers: Iterable[Identifier], uids: frozenset[str]) -> None:
        identifiers = tuple(identifiers)
        self._ids = {i.text.strip() for i in identifiers if i.kind is Kind.ID}
        self._matcher = _matcher(frozenset(map(_searched, identifiers)))
        self._uids = uids

    def clean(self, text: str, *, vr: str) -> str:
        """Return ``text`` without identifying values; the same text where there is none.

        Args:
            text: the decoded value, all components of a multi-valued one.
            vr: decides what may stand in the place of what is taken out.
        """
        if vr in _TERM_VRS:
            return "\\".join(self._clean_term(term, vr) for term in text.split("\\"))
        plain = composed(text)
        cleaned = self._without_uids(self._without_matches(plain))
        if cleaned == plain:
            return text
        return re.sub(r"[ \t]{2,}", " ", cleaned).strip()

    def _without_matches(self, text: str) -> str:
        """Return a text without values; taking one out may leave another standing alone."""
        while spans := self._matcher.spans(text):
            text = _without(text, spans)
        return text

    def _without_uids(self, text: str) -> str:
        return _UID_RUN.sub(
            lambda run: " " if _is_under(run.group(), self._uids) else run.group(), text
        )

    def _clean_term(self, term: str, vr: str) -> str:
        bare = term.strip()
        if vr == "CS" and bare in CODE_STRINGS:
            return term
        if vr in {"DS", "IS"} and NUMERIC.fullmatch(bare):
            # 120.000 is no spelling of the id 120000.
            as_written = bare.isdigit() or bare in self._ids
            whole = self._matcher.is_whole(bare)
            return "0" if whole and as_written and len(id_core(bare)) > ANYWHERE else term
        if self._without_matches(composed(bare)) == composed(bare):
            return term
        return _DUMMY_TERMS.get(vr, "REMOVED")


class _Initials:
    """Finds the initials of names beside a name, and those with full stops by themselves."""

    __slots__ = ("_after", "_alone", "_before")

    def __init__(self, letters: str) -> None:
        # A letter without a full stop may say which side.
        one = rf"(?:[{letters}]\.|(?![LR]\b)[{letters}]\b)"
        self._before = re.compile(rf"(?<![^\W_])(?:{one}\s?){{1,3}}\Z")
        self._after = re.compile(rf"[\s,]{{0,2}}\b{one}(?:\s?{one}){{0,2}}(?![^\W_])")
        self._alone = re.compile(rf"(?<![\w.])(?:[{letters}]\.\s?){{2,4}}(?!\w)")

    def around(self, text: str, start: int, stop: int) -> tuple[int, int]:
        """Return a span with the initials beside it."""
        before = self._before.search(text, max(start - _MAX_INITIALS, 0), start)
        after = self._after.match(text, stop)
        return before.start() if before else start, after.end() if after else stop

    def alone(self, text: str) -> list[tuple[int, int]]:
        """Return the spans of two initials or more with full stops."""
        return [found.span() for found in self._alone.finditer(text)]


_MAX_INITIALS, _NO_LETTER = 12, "\0"


def _initials(identifiers: Iterable[Identifier]) -> _Initials:
    parts = (part for i in identifiers if i.kind is Kind.NAME for part in name_words(i.text))
    letters = {initial for part in parts if len(initial := part[0].upper()) == 1}
    return _kept_initials("".join(sorted(letters)) or _NO_LETTER)


@lru_cache(maxsize=256)
def _kept_initials(letters: str) -> _Initials:
    return _Initials(letters)


#: Finds what identifies in a text by other means; yields begin and end.
Recognizer = Callable[[str], Iterable[tuple[int, int]]]


class DescriptorCleaner(TextCleaner):
    """Takes out of text what an option cleans: identifying values, and what identifies by form.

    Args:
        identifiers: the values.
        recognize: finds more, such as an entity recogniser; the same for the same text.
    """

    def __init__(
        self, identifiers: Iterable[Identifier], recognize: Recognizer | None = None
    ) -> None:
        identifiers = tuple(identifiers)
        super().__init__(identifiers, frozenset())
        self._initials = _initials(identifiers)
        self._recognize = recognize

    def clean(self, text: str, *, vr: str) -> str:
        """Return ``text`` without what identifies; the same text where there is nothing."""
        if vr in _TERM_VRS:
            return super().clean(text, vr=vr)
        parts = text.split("\\") if vr in _SEVERAL else [text]
        return "\\".join(self._cleaned(part, vr) for part in parts)

    def _without_matches(self, text: str) -> str:
        """Return a text without values, nor the initials of names beside them or by themselves."""
        initials = self._initials
        while spans := self._matcher.spans(text):
            text = _without(text, [initials.around(text, *span) for span in spans])
        return _without(text, initials.alone(text))

    def _cleaned(self, text: str, vr: str) -> str:
        plain = composed(text)
        spans = list(found_by_form(plain))
        if self._recognize is not None:
            spans += self._recognize(plain)
        by_value = super().clean(_without(plain, spans) if spans else text, vr=vr)
        if by_value == text:
            return text
        return re.sub(r"[ \t]{2,}", " ", by_value).strip(_LOOSE_ENDS)


def only_known(text: str, known: frozenset[str]) -> str:
    """Return a text without the words that are not known; figures of up to five digits stay.

    Args:
        text: all components of a multi-valued one.
        known: words without regard to case and accents, as ``folded`` gives them.
    """
    return "\\".join(_only_known(part, known) for part in text.split("\\"))


def _only_known(text: str, known: frozenset[str]) -> str:
    plain = folded(composed(text))
    spans = [m.span() for m in WORD.finditer(plain) if not _is_known(m.group(), known)]
    if not spans:
        return text
    return re.sub(r"[ \t]{2,}", " ", _without(composed(text), spans)).strip(_LOOSE_ENDS)


_MAX_FIGURES = 5


def _is_known(word: str, known: frozenset[str]) -> bool:
    return word in known or (word.isdigit() and len(word) <= _MAX_FIGURES)


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return the text with a space in the place of each span."""
    pieces: list[str] = []
    end = 0
    for start, stop in sorted(spans):
        if stop > end:
            pieces += (text[end : max(start, end)], " ")
            end = stop
    return "".join([*pieces, text[end:]])


# What dangles when a name or number is taken away.
_LOOSE_ENDS = " \t,;:/^=-_#"
_SEVERAL = frozenset({"LO", "SH", "UC"})


def _is_under(run: str, uids: frozenset[str]) -> bool:
    """Say whether a dotted number is one of the UIDs or continues one."""
    if run in uids:
        return True
    parts = run.split(".")
    return any(".".join(parts[:n]) in uids for n in range(5, len(parts)))
