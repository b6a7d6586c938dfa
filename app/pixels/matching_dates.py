"""Dates and times of day as they are read in an image, whatever letters became of figures. Pure."""

import re
from collections.abc import Iterator

from app.deid.rules.dates import all_month_names
from app.deid.rules.identifiers import folded

# Letters of a month and what they are read as.
_LOOSE = {
    "o": "[o0]", "l": "[l1i|]", "i": "[i1l|]", "s": "[s5]", "b": "[b8]", "g": "[g9q]", "e": "[ec]",
    "u": "[uv]", "a": "[a4]", "z": "[z2]", "c": "[ce]", "m": "(?:m|rn)", "y": "[yv]",
}  # fmt: skip


def _loosely(month: str) -> str:
    return "".join(_LOOSE.get(letter, letter) for letter in month)


_MONTHS = sorted({folded(m) for m in all_month_names()}, key=lambda m: (-len(m), m))
_MONTH = "|".join(map(_loosely, _MONTHS))
_DATES = re.compile(
    r"(?<!\d)(?<!\d\.)(?:\d{1,2}\s?[./,:-]\s?\d{1,2}\s?[./,-]\s?(?:19|20)?\d\d|"
    r"(?:19|20)\d\d\s?[./,-]\s?\d{1,2}\s?[./,-]\s?\d{1,2}|"
    r"\d{1,2} \d{1,2} (?:19|20)\d\d|(?:19|20)\d\d \d\d \d\d|"
    r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\d{4}|\d{6})?)(?!\d)"
)
_TIMES = re.compile(r"(?<![\d:.])(?:[01]?\d|2[0-4])\s?[:h]\s?[0-5]\d(?:\s?[:m.]\s?[0-5]\d)?(?!\d)")
_WRITTEN = re.compile(
    rf"\d{{1,2}}[\s.,/-]{{0,3}}(?:{_MONTH})(?![^\W\d_]{{3}})|"
    rf"(?<![^\W_])(?:{_MONTH})[\s.,/-]{{0,3}}\d{{1,4}}(?!\d)"
)
# A month of which only something is left stands between a day and a year.
_BETWEEN = re.compile(
    r"(?<!\S)[0-3]?\d[\s.,/-]{1,3}(?=[^\W_]*[^\W\d_])([^\W_]{2,4})[\s.,/-]{1,3}"
    r"(?:\d\d|(?:19|20)\d\d)(?!\S)"
)


def is_date(figures: str, text: str) -> bool:
    """Say whether a line holds a date or a time of day.

    Args:
        figures: the line, folded, with look-alikes read as figures.
        text: the line, folded, as it was read.
    """
    return bool(_DATES.search(figures) or _TIMES.search(figures) or _WRITTEN.search(text))


def between_figures(text: str) -> Iterator[str]:
    """Yield what stands where a date has its month: between a day and a year."""
    return (match.group(1) for match in _BETWEEN.finditer(text))
