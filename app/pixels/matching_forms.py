"""What identifies by its form, however it was read: dates, numbers, titles and names. Pure."""

import re

from app.deid.rules.identifiers import folded
from app.deid.rules.patterns import found_by_form
from app.pixels.matching_dates import between_figures, is_date
from app.pixels.matching_model import KINDS
from app.pixels.matching_words import MAX_FIGURES, WINDOW, is_harmless, is_word, kind_by_label

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
    label = kind_by_label(text)
    for found in (text, figures):
        for start, stop in found_by_form(found):
            figures_in_it = sum(c.isdigit() for c in found[start:stop])
            if figures_in_it >= MAX_FIGURES or not is_harmless(found[start:stop]):
                return label or ("id" if figures_in_it else "person")
    if any(_is_number(match.group()) for match in _LONG_NUMBER.finditer(plain)):
        return label if label in KINDS and label != "date" else "id"
    if any(_is_mixed_number(m.group()) for m in _MIXED.finditer(plain)):
        return label or "id"
    return None


def _is_date(text: str, plain: str) -> bool:
    """Say whether a line holds a date, or what is left of one."""
    if is_date(plain, folded(text)) or not all(map(is_word, between_figures(folded(text)))):
        return True
    return kind_by_label(text) == "date" and any(sign.isdigit() for sign in plain)


def _is_mixed_number(token: str) -> bool:
    """Say whether a token of letters and figures is a number of somebody, and no window."""
    return sum(c.isdigit() for c in token) >= 4 and WINDOW.fullmatch(token) is None


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
