"""Which kind of identifying text a line read in an image is, if any. Pure; sees text, tells kinds.

What is read is never exact: letters and figures are taken for others, spaces are lost, names are
cut off. So the values of the instance are looked for loosely, and a line passes only when all of it
is known to be harmless.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from app.deid.rules.dates import day_of
from app.deid.rules.identifiers import composed, folded, is_wide, name_parts, words
from app.deid.rules.patterns import found_by_form
from app.pixels.harmless_words import LABELS, UNITS, ambiguous, harmless, skeleton
from app.pixels.matching_dates import between_figures, is_date

FREE_TEXT: Final = "free-text"
DOUBTFUL: Final = "doubtful"
KINDS: Final = ("patient-name", "date", "id", "person", "institution", "phone", "address")
# What the engine calls the kinds of values.
_KIND_OF_VALUE: Final[Mapping[str, str]] = {
    "name": "person",
    "birth-date": "date",
    "phrase": "institution",
}


@dataclass(frozen=True, slots=True, repr=False)
class Known:
    """One identifying value of the instance: hidden from ``repr``.

    Attributes:
        kind: one of ``KINDS``; the kinds of ``app.deid.rules.identifiers`` are taken too.
    """

    kind: str
    text: str

    def to_json(self) -> dict[str, str]:
        """Return plain data for a task."""
        return {"kind": self.kind, "text": self.text}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote."""
        kind = str(content["kind"])
        return cls(_KIND_OF_VALUE.get(kind, kind), str(content["text"]))


@dataclass(frozen=True, slots=True, repr=False)
class Reading:
    """One line as it was read: hidden from ``repr``.

    Attributes:
        score: how sure the reader is of the text, 0 to 1.
        found: how sure the finder is that there is text, 0 to 1.
        width: of the line in pixels of the image, along the text.
        height: across the text.
        is_cut: whether a mask may have cut off its first or last word.
    """

    text: str
    score: float
    found: float
    width: float
    height: float
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """What a line is: a kind and how sure that is."""

    kind: str
    confidence: float


class Matcher:
    """Tells the kind of lines, for the values of one instance."""

    def __init__(self, known: Iterable[Known]) -> None:
        forms: dict[str, tuple[str, bool]] = {}
        for value in known:
            for form, is_alone in _forms(value):
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
            return Match(_kind_by_label(text) or FREE_TEXT, _certainty(reading.score, 0.5))
        return self._unreadable(reading, text)

    def _named(self, text: str) -> str | None:
        """Return the kind of the value of the instance that stands in a line."""
        dense = skeleton("".join(words(folded(text))))
        tokens = [skeleton(word) for word in words(folded(text))]
        for form, (kind, is_alone) in self._forms:
            if is_alone:
                if form in tokens:
                    return kind
            elif form in dense or _is_begun(form, tokens) or _is_near(form, dense):
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


def _forms(value: Known) -> Iterator[tuple[str, bool]]:
    """Yield what is looked for of a value, as skeletons, and whether only as a whole word."""
    text = composed(value.text)
    if value.kind in {"patient-name", "person"}:
        return _name_forms(text)
    return _date_forms(text) if value.kind == "date" else _other_forms(text)


def _name_forms(text: str) -> Iterator[tuple[str, bool]]:
    for part in name_parts(text):
        joined = skeleton("".join(folded(word) for word in part))
        yield joined, len(joined) < 4 and not is_wide(joined)
    for group in text.split("="):
        short = words(folded(" ".join(group.split("^")[:3])))
        yield from ((skeleton(w), True) for w in short if len(w) == 2 and w not in _PARTICLES)


def _date_forms(text: str) -> Iterator[tuple[str, bool]]:
    day = day_of(text)
    if day is not None:
        for form in (f"{day:%Y%m%d}", f"{day:%d%m%Y}", f"{day:%m%d%Y}"):
            yield skeleton(form), False


def _other_forms(text: str) -> Iterator[tuple[str, bool]]:
    for one in text.split("\\"):
        dense = skeleton("".join(words(folded(one))))
        if len(dense) >= 3:
            yield dense, len(dense) < 5


_PARTICLES = frozenset("dr md mr ms jr sr de da do di du la le el al ii iv st".split())  # noqa: SIM905


def _is_begun(form: str, tokens: list[str]) -> bool:
    """Say whether a line holds the beginning of a value that was cut off."""
    return len(form) >= 5 and any(
        len(token) >= max(4, len(form) // 2) and form.startswith(token) for token in tokens
    )


_NEAR = 5


def _is_near(form: str, dense: str) -> bool:
    """Say whether a value stands in a line with a few wrong, missing or additional signs."""
    if len(form) <= _NEAR or len(dense) < len(form) - 2:
        return False
    allowed = max(len(form) // _NEAR, 1)
    row = list(range(len(form) + 1))
    for sign in dense:
        diagonal, row[0] = row[0], 0  # it may begin anywhere
        for place, wanted in enumerate(form, 1):
            best = min(diagonal + (sign != wanted), row[place] + 1, row[place - 1] + 1)
            diagonal, row[place] = row[place], best
        if row[-1] <= allowed:
            return True
    return False


def is_nothing(text: str) -> bool:
    """Say whether a line holds no more than a sign, or one sign again and again."""
    return len(set(_SIGNS.findall(text.casefold()))) < 2


_SIGNS = re.compile(r"[^\W_]")
# Figures as they are read: letters among them are taken for what they look like.
_FIGURE_MAP = str.maketrans("OoQDlIi|!SsBZzgG", "0000111115582299")
_LONG_NUMBER = re.compile(r"(?<![\d.])\d(?:[\s./-]?\d){4,}(?!\s?(?:mm|cm|ms|hz)\b)")
_MIXED = re.compile(r"(?<![^\W_])(?=[^\W_]*\d)(?=[^\W_]*[^\W\d_])[^\W_]{6,}(?![^\W_])")
_BOX = re.compile(r"(?<![^\W_])(?:p\W{0,2}[o0]\W{0,2}box|postfach|apartado|bp)\W{0,3}\d")
_DIGIT_LIKE = re.compile(r"[\dOoQDlIi|!SsBZzgG]+")


def by_form(text: str) -> str | None:
    """Return the kind of what identifies by its form: dates, times, numbers, titles and names."""
    figures = _DIGIT_LIKE.sub(_as_figures, text)
    plain = folded(figures)
    if _is_date(text, plain):
        return "date"
    if _BOX.search(plain):
        return "address"
    label = _kind_by_label(text)
    for found in (text, figures):
        for start, stop in found_by_form(found):
            figures_in_it = sum(c.isdigit() for c in found[start:stop])
            if figures_in_it >= _MAX_FIGURES or not is_harmless(found[start:stop]):
                return label or ("id" if figures_in_it else "person")
    if any(_is_number(match.group()) for match in _LONG_NUMBER.finditer(plain)):
        return label if label in KINDS and label != "date" else "id"
    if any(_is_mixed_number(m.group()) for m in _MIXED.finditer(plain)):
        return label or "id"
    return None


def _is_date(text: str, plain: str) -> bool:
    """Say whether a line holds a date, or what is left of one."""
    if is_date(plain, folded(text)) or not all(map(_is_word, between_figures(folded(text)))):
        return True
    return _kind_by_label(text) == "date" and any(sign.isdigit() for sign in plain)


_WINDOW = re.compile(r"(?:(?:ww?|wl|wc|c|l|z)\d{1,4}){2,3}")


def _is_mixed_number(token: str) -> bool:
    """Say whether a token of letters and figures is a number of somebody, and no window."""
    return sum(c.isdigit() for c in token) >= 4 and _WINDOW.fullmatch(token) is None


def _as_figures(run: re.Match[str]) -> str:
    """Read a run of look-alikes as figures where most of it is figures."""
    text = run.group()
    is_number = sum(c.isdigit() for c in text) * 2 >= len(text)
    return text.translate(_FIGURE_MAP) if is_number else text


def _is_number(text: str) -> bool:
    """Say whether a run of figures is one long number, not a measure such as 12.50 or 400/40."""
    if text.count(".") == 1 and not re.search(r"[\s/-]", text):
        return len(text.replace(".", "")) > 7
    digits = re.sub(r"\D", "", text)
    groups = re.split(r"\D+", text)
    return len(digits) >= 5 and (len(groups) == 1 or len(digits) >= 6) and len(set(digits)) > 1


def _kind_by_label(text: str) -> str | None:
    """Return the kind that a label in a line announces, where something stands beside it."""
    tokens = words(folded(text))
    labels = [LABELS[token] for token in tokens if token in LABELS]
    return labels[0] if labels and len(tokens) > 1 else None


_RUNS = re.compile(r"[^\W\d_]+|\d+(?:[.,]\d+)?")
_TOKENS = re.compile(r"[^\W_]+(?:[.,]\d+)*")
_CAMEL = re.compile(r"(?<=[a-z]{2})(?=[A-Z])")
_MAX_FIGURES = 4


def is_harmless(text: str, *, is_cut: bool = False) -> bool:
    """Say whether all of a line is known: words of devices, measures, short codes, bare labels.

    Args:
        text: the line.
        is_cut: whether its first and last words may be parts of words.
    """
    ways = (text, _CAMEL.sub(" ", text))
    return any(_has_only_known(way, is_cut=is_cut) for way in ways)


def _has_only_known(text: str, *, is_cut: bool) -> bool:
    tokens = _TOKENS.findall(folded(text))
    if not tokens:
        return True
    if is_cut:
        inner = (token for token in (tokens[0], tokens[-1]) if not _is_piece(token))
        tokens = [*tokens[1:-1], *inner]
    if not all(map(_is_known, tokens)) or _is_riddle(tokens):
        return False
    if any(token in _STRICT_LABELS for token in tokens):
        return all(t in LABELS or t in UNITS or len(t) < 2 or _is_measure(t) for t in tokens)
    lone = [token for token in tokens if len(token) > 2 and not token[0].isdigit()]
    return len(tokens) > 1 or not lone or skeleton(lone[0]) not in ambiguous()


# Behind these stands somebody, so that a word that is known from elsewhere is none here.
_STRICT_LABELS = frozenset(
    word for word, kind in LABELS.items() if kind in {"patient-name", "person", "institution"}
) - frozenset(
    "radiology department dept station center centre ref patient pat by medical reader pt ms hr "  # noqa: SIM905
    "inst univ md user ward".split()
)


def _is_riddle(tokens: list[str]) -> bool:
    """Say whether codes and numbers take turns, as in a date of which the month was misread."""
    codes = [t for t in tokens if not _is_measure(t) and not _is_word(t)]
    return len(codes) > 1 and sum(token.isdigit() for token in tokens) > 1


def _is_word(token: str) -> bool:
    return token in LABELS or token in UNITS or skeleton(token) in harmless()


_MIN_PIECE = 4


def _is_piece(token: str) -> bool:
    """Say whether a token is the beginning or the end of a known word."""
    piece = skeleton(token)
    return len(piece) >= _MIN_PIECE and any(
        word.startswith(piece) or word.endswith(piece) for word in harmless()
    )


def is_fragment(text: str) -> bool:
    """Say whether a line says nothing by itself: it goes with what stands beside it."""
    tokens = _TOKENS.findall(folded(text))
    return all(len(token) < 3 or token.isdigit() or not _is_known(token) for token in tokens)


def _is_known(token: str) -> bool:
    if _is_word(token) or _is_measure(token):
        return True
    if _WINDOW.fullmatch(token):
        return True
    if token.isalpha():
        return (len(token) < 3 and not is_wide(token)) or _is_joined(token)
    return _is_code(token)


def _is_measure(token: str) -> bool:
    """Say whether a token is a short number with a unit or without."""
    found = re.fullmatch(r"(\d+(?:[.,]\d+)*)([^\W\d_]*\d?)", token)
    if found is None:
        return False
    digits = re.sub(r"\D", "", found.group(1))
    return (len(digits) <= _MAX_FIGURES or "." in token) and found.group(2) in {*UNITS, ""}


def _is_code(token: str) -> bool:
    """Say whether a token is a short code of letters and figures, such as C5 or TIS0.0."""
    runs = _RUNS.findall(token)
    if sum(c.isdigit() for c in token) > _MAX_FIGURES:
        return False
    return all(
        run[0].isdigit() or len(run) < 4 or skeleton(run) in harmless() or _is_joined(run)
        for run in runs
    )


_MIN_JOINED = 4
_JOINTS = frozenset("in of to on at or and by no not off for per".split())  # noqa: SIM905


def _is_joined(token: str) -> bool:
    """Say whether a token is made of known words whose spaces were lost."""
    if len(token) < 2 * _MIN_JOINED:
        return False
    reached = {0}
    for stop in range(_MIN_JOINED, len(token) + 1):
        if any(start in reached and _is_part(token[start:stop]) for start in range(stop - 1)):
            reached.add(stop)
    return len(token) in reached


def _is_part(piece: str) -> bool:
    return piece in _JOINTS or (len(piece) >= _MIN_JOINED and skeleton(piece) in harmless())
