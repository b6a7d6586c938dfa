"""Lines of which all is known: words of devices, measures, short codes, labels. Pure."""

import re

from app.deid.rules.identifiers import folded, is_wide, words
from app.pixels.harmless_words import LABELS, UNITS, ambiguous, harmless, skeleton

_SIGNS = re.compile(r"[^\W_]")
_RUNS = re.compile(r"[^\W\d_]+|\d+(?:[.,]\d+)?")
_TOKENS = re.compile(r"[^\W_]+(?:[.,]\d+)*")
_CAMEL = re.compile(r"(?<=[a-z]{2})(?=[A-Z])")
MAX_FIGURES = 4
WINDOW = re.compile(r"(?:(?:ww?|wl|wc|c|l|z)\d{1,4}){2,3}")


def is_nothing(text: str) -> bool:
    """Say whether a line holds no more than a sign, or one sign again and again."""
    return len(set(_SIGNS.findall(text.casefold()))) < 2


def kind_by_label(text: str) -> str | None:
    """Return the kind that a label in a line announces, where something stands beside it."""
    tokens = words(folded(text))
    labels = [LABELS[token] for token in tokens if token in LABELS]
    return labels[0] if labels and len(tokens) > 1 else None


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
    codes = [t for t in tokens if not _is_measure(t) and not is_word(t)]
    return len(codes) > 1 and sum(token.isdigit() for token in tokens) > 1


def is_word(token: str) -> bool:
    """Say whether a token is a word or a unit that devices write."""
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
    if is_word(token) or _is_measure(token):
        return True
    if WINDOW.fullmatch(token):
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
    return (len(digits) <= MAX_FIGURES or "." in token) and found.group(2) in {*UNITS, ""}


def _is_code(token: str) -> bool:
    """Say whether a token is a short code of letters and figures, such as C5 or TIS0.0."""
    runs = _RUNS.findall(token)
    if sum(c.isdigit() for c in token) > MAX_FIGURES:
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
