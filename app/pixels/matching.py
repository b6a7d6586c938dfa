"""Which kind of identifying text a line read in an image is, if any. Pure; sees text, tells kinds.

What is read is never exact: letters and figures are taken for others, spaces are lost, names are
cut off. So the values of the instance are looked for loosely, and a line passes only when all of it
is known to be harmless.
"""

from collections.abc import Iterable

from app.deid.rules.identifiers import composed, folded, words
from app.pixels.harmless_words import skeleton
from app.pixels.matching_forms import by_form
from app.pixels.matching_known import forms_of, is_begun, is_near
from app.pixels.matching_model import DOUBTFUL, FREE_TEXT, Known, Match, Reading
from app.pixels.matching_words import is_fragment, is_harmless, is_nothing, kind_by_label


class Matcher:
    """Tells the kind of lines, for the values of one instance."""

    def __init__(self, known: Iterable[Known]) -> None:
        forms: dict[str, tuple[str, bool]] = {}
        for value in known:
            for form, is_alone in forms_of(value):
                forms.setdefault(form, (value.kind, is_alone))
        self._forms = sorted(forms.items(), key=lambda item: -len(item[0]))

    def match(self, reading: Reading) -> Match | None:
        """Return what a line is; None where it is harmless or no text at all."""
        text = composed(reading.text.strip())
        if is_nothing(text):
            return self._unreadable(reading, text)
        named = self._named(text)
        kind = named or by_form(text)
        if kind is not None and named is None and reading.score < _GUESSED:
            return _guessed(reading)
        if kind is not None:
            return Match(kind, _certainty(reading.score, 0.75))
        if is_harmless(text, is_cut=reading.is_cut):
            return self._unreadable(reading, text)
        if reading.score >= _READABLE:
            return Match(kind_by_label(text) or FREE_TEXT, _certainty(reading.score, 0.5))
        return self._unreadable(reading, text)

    def _named(self, text: str) -> str | None:
        """Return the kind of the value of the instance that stands in a line."""
        dense = skeleton("".join(words(folded(text))))
        tokens = [skeleton(word) for word in words(folded(text))]
        for form, (kind, is_alone) in self._forms:
            if is_alone:
                if form in tokens:
                    return kind
            elif form in dense or is_begun(form, tokens) or is_near(form, dense):
                return kind
        return None

    @staticmethod
    def _unreadable(reading: Reading, text: str) -> Match | None:
        """Say that there is text that could not be read, if it looks so."""
        expected = reading.width / max(reading.height, 1.0)
        is_short = len(text) < 0.55 * expected
        # Letters that the models do not know, or mirrored ones, are read as a dash or as nothing.
        is_blank = is_nothing(text) and len(text) < _EXPLAINED * expected
        is_weak = reading.score < _READABLE or (is_blank and reading.height >= _LEAST_HEIGHT)
        is_lost = _has_lost_letters(reading, text, expected)
        if not (is_weak or is_lost) or not _is_sure_enough(reading, is_surely=is_blank or is_lost):
            return None
        if is_lost:
            return Match(DOUBTFUL, round(min(reading.found, 0.99), 3))
        is_known = is_harmless(text) and not is_fragment(text)
        if expected < _MIN_ASPECT or (is_known and not is_short):
            return None
        return Match(DOUBTFUL, round(min(reading.found, 0.99), 3))


# Below it a text may be anything; found by measuring what texture is taken for.
_READABLE = 0.62
_GUESSED = 0.5  # below it even the form of a text is no more than a guess
_FOUND = 0.62
_MAX_HEIGHT = 44.0
_LEAST_HEIGHT, _EXPLAINED = 10.0, 0.2
_MIN_ASPECT = 2.2
# Letters of a headline, of which finder and reader are surer than of texture.
_LARGEST, _FOUND_LARGE = 160.0, 0.72


def _is_sure_enough(reading: Reading, *, is_surely: bool) -> bool:
    """Say whether the finder is as sure that there is text as its size asks for."""
    if reading.height <= _MAX_HEIGHT:
        return reading.found >= _FOUND
    is_large = is_surely and reading.height <= _LARGEST and reading.score >= _READABLE
    return is_large and reading.found >= _FOUND_LARGE


# So much room, in heights of a line, do letters take, and all that is around them; the reader may
# be sure of a text, and then there has to be more of it. What texture is taken for does not count.
_LETTER, _AROUND, _SURE = 0.6, 0.85, 0.95
_SURE_LETTER, _SURE_AROUND = 0.75, 1.2
_FEW, _VERY_FEW, _STROKES = 6, 2, frozenset("ijlo|1")


def _has_lost_letters(reading: Reading, text: str, expected: float) -> bool:
    """Say whether a line has room for more than the few letters that the reader knew of it."""
    signs = set(text.casefold())
    is_known = any(map(str.isdigit, signs)) or not any(map(str.isalpha, signs - _STROKES))
    if len(text) > _FEW or is_known or reading.height < _LEAST_HEIGHT:
        return False
    if reading.score < _SURE:
        return expected > _LETTER * len(text) + _AROUND
    is_wide_gap = len(text) > _VERY_FEW
    return not is_wide_gap and expected > _SURE_LETTER * len(text) + _SURE_AROUND


def _guessed(reading: Reading) -> Match | None:
    """Return what texture that was taken for figures is, unless no letters are so large."""
    if reading.height > _MAX_HEIGHT:
        return None
    return Match(DOUBTFUL, round(min(reading.found, 0.99), 3))


def _certainty(score: float, least: float) -> float:
    return round(max(min(score, 1.0), least), 3)
