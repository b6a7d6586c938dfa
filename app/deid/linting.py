"""What a profile's overrides weaken, compared with the tables and the profile's options."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from app.deid.deciding import DATE_VRS, Effect, Where, decide
from app.deid.overrides import Deed, Override
from app.deid.rulebook import Rulebook, rulebook_of
from app.deid.standard import (
    CURVE_ROW,
    PRIVATE_ROW,
    ROWS,
    TableRow,
    dictionary_vr,
    keyword,
    table_row,
)
from app.dicom.elements import tag_text

_NOWHERE = Where(None)
# How much of a value is left; equal numbers are a matter of form.
_LEFT = {
    Effect.REMOVE: 0,
    Effect.EMPTY: 0,
    Effect.DUMMY: 0,
    Effect.NOTICE: 0,
    Effect.REPLACE: 0,
    Effect.IDENTITY: 1,
    Effect.MAP_UID: 1,
    Effect.PSEUDONYM: 1,
    Effect.SHIFT: 2,
    Effect.CLEAN: 2,
    Effect.ENTER: 2,
    Effect.KEEP: 3,
}


@dataclass(frozen=True, slots=True)
class Weakness:
    """One rule that leaves more of a value than the table does.

    Attributes:
        number: of the override in the profile, from 1.
        target: what it is about.
        deed: what it does.
        row: the row of the table that says otherwise, or the rule outside of it.
    """

    number: int
    target: str
    deed: Deed
    row: str

    def __str__(self) -> str:
        return f"override {self.number}, {self.target}: {self.deed} is weaker than {self.row}"


@lru_cache(maxsize=64)
def weaknesses(options: tuple[str, ...], overrides: tuple[Override, ...]) -> tuple[Weakness, ...]:
    """Name every override that is weaker than the table under a profile's options, row by row."""
    rules = rulebook_of(options)
    return tuple(
        weakness
        for number, override in enumerate(overrides, start=1)
        for weakness in _of(number, override, rules)
    )


def _of(number: int, override: Override, rules: Rulebook) -> Iterator[Weakness]:
    if override.private is not None:
        if override.deed is not Deed.REMOVE and not _is_listed(override, rules):
            yield Weakness(number, override.target, override.deed, _row_text(PRIVATE_ROW))
        return
    alone = rulebook_of(tuple(rules.options), (), (_everywhere(override),))
    for tag in _tags(override):
        vr = dictionary_vr(tag) or "UN"
        before, after = decide(tag, vr[:2], _NOWHERE, rules), decide(tag, vr[:2], _NOWHERE, alone)
        if _LEFT.get(after.effect, 0) > _LEFT.get(before.effect, 0):
            yield Weakness(number, override.target, override.deed, _reason(tag, before.because))


def _everywhere(override: Override) -> Override:
    return Override(
        override.target,
        override.deed,
        tag=override.tag,
        mask=override.mask,
        vr=override.vr,
        value=override.value,
    )


def _is_listed(override: Override, rules: Rulebook) -> bool:
    safe, one = rules.safe_private, override.private
    if safe is None or one is None:
        return False
    return (one.creator, one.group, one.low_byte) in safe.elements


def _tags(override: Override) -> Iterator[int]:
    """Yield the attributes that an override reaches: all rows of a VR, one group of a pattern."""
    if not override.vr:
        yield override.tag if override.mask == 0xFFFFFFFF else _sample(override)
        return
    for tag, row in ROWS.items():
        if row.vr == override.vr and tag >> 16 >= 8:
            yield tag
    if override.vr in DATE_VRS | {"PN", "UI", "UR"}:
        yield from (tag for tag in _UNLISTED if dictionary_vr(tag) == override.vr)


# Attributes without a row, one for each VR that is decided although the table does not list it.
_UNLISTED = (0x0040A067, 0x00141020, 0x00143077, 0x40101025, 0x00404073, 0x00209312)


def _sample(override: Override) -> int:
    """Return an attribute of a repeating group that stands for all that a pattern covers."""
    element = 0x3000 if override.mask & 0xFFFF == 0 else 0
    return override.tag | element


def _reason(tag: int, because: str) -> str:
    row = table_row(tag)
    if row is not None:
        return _row_text(row)
    return f"{tag_text(tag)} {keyword(tag)}: {because}"


def _row_text(row: TableRow) -> str:
    place = tag_text(row.tag) if isinstance(row.tag, int) else row.tag
    name = "CurveData" if row is CURVE_ROW else row.keyword
    cells = ", ".join(f"{option} {code}" for option, code in row.options.items())
    return f"Table E.1-1 {place} {name}: {row.basic}" + (f" ({cells})" if cells else "")
