"""Kept text, cleaned of the identifying values of this very instance.

Whatever a profile keeps, a kept text in which a value stands that identifies somebody in this very
instance is cleaned of it. Source: PS3.15 2026d, E.2 (the profile protects against identification
by any attribute), E.3.5.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from app.deid.rules.finding import Matcher
from app.deid.rules.identifiers import (
    ANYWHERE,
    NUMERIC,
    WORD,
    Identifier,
    Kind,
    composed,
    folded,
    id_core,
    name_words,
)
from app.deid.rules.patterns import found_by_form
from app.deid.rules.vocabulary import CODE_STRINGS


def _searched(identifier: Identifier) -> Identifier:
    """Return the part of a value that is searched for: of a date and time, the date."""
    if identifier.kind in {Kind.DATE, Kind.BIRTH_DATE}:
        return Identifier(Kind.DATE, identifier.text[:8])
    return identifier


# The values of a patient's instances are the same, and compiling them takes longer than all else.
_MAX_KEPT_VALUES = 256


def _matcher(identifiers: frozenset[Identifier]) -> Matcher:
    if len(identifiers) > _MAX_KEPT_VALUES:
        return Matcher(identifiers)
    return _kept_matcher(identifiers)


@lru_cache(maxsize=64)
def _kept_matcher(identifiers: frozenset[Identifier]) -> Matcher:
    return Matcher(identifiers)


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
        parts = _DELIMITER.split(text) if vr in _SEVERAL and "\\" in text else [text]
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
        if spans:  # of a value that looks like half of something else, the other half goes too
            spans += (self._initials.around(plain, *one) for one in self._matcher.spans(plain))
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
# Between values, and not the beginning of an escape such as that of JSON.
_DELIMITER = re.compile(r"\\(?!u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2})")


def _is_under(run: str, uids: frozenset[str]) -> bool:
    """Say whether a dotted number is one of the UIDs or continues one."""
    if run in uids:
        return True
    parts = run.split(".")
    return any(".".join(parts[:n]) in uids for n in range(5, len(parts)))
