"""Values of the instance, looked for loosely in a line that was read. Pure.

Both are compared as skeletons, in which signs that are taken for each other are one.
"""

from collections.abc import Iterator

from app.deid.rules.dates import day_of
from app.deid.rules.identifiers import composed, folded, is_wide, name_parts, words
from app.pixels.harmless_words import skeleton
from app.pixels.matching_model import Known


def forms_of(value: Known) -> Iterator[tuple[str, bool]]:
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


def is_begun(form: str, tokens: list[str]) -> bool:
    """Say whether a line holds the beginning of a value that was cut off."""
    return len(form) >= 5 and any(
        len(token) >= max(4, len(form) // 2) and form.startswith(token) for token in tokens
    )


_NEAR = 5


def is_near(form: str, dense: str) -> bool:
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
