"""What a profile's options change in Table E.1-1: compiled once per profile.

Where two chosen options fill a cell differently, the one that retains less decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType

from app.deid.allowing import CODE_MEANING, public_words
from app.deid.attributes import (
    INSERTED_TAGS,
    INSTITUTION_NAME,
    MANUFACTURER,
    UNFORMATTED_TEXT,
)
from app.deid.options import Option
from app.deid.overrides import Deed, Override, find, ordered
from app.deid.private import SafeElement, SafeList, safe_list
from app.deid.standard import ROWS, Action


class Dates(StrEnum):
    """What becomes of dates and times; the values are the terms of (0028,0303)."""

    REMOVED = "REMOVED"
    UNMODIFIED = "UNMODIFIED"
    MODIFIED = "MODIFIED"


@dataclass(frozen=True, slots=True)
class Cell:
    """A filled cell of the table: the action and the option that it belongs to."""

    action: Action
    option: Option


@dataclass(frozen=True, slots=True, eq=False)
class Rulebook:
    """The rules of one set of options.

    Attributes:
        options: the chosen options.
        cells: tag → the filled cell that decides it.
        dates: what becomes of dates and times.
        inserted: tags that every result holds.
        safe_private: private elements that stay; None where all go.
        overrides: what a site decides differently, the one that decides first foremost.
        vocabulary: tag → the only words that its cleaned text may hold.
        has_allow_list: whether attributes without a row go unless they are allowed.
        written: tags at the root that the gateway states itself, of this object's pixels.
    """

    options: frozenset[Option]
    cells: Mapping[int, Cell]
    dates: Dates
    inserted: frozenset[int]
    safe_private: SafeList | None
    overrides: tuple[Override, ...]
    vocabulary: Mapping[int, frozenset[str]]
    has_allow_list: bool
    written: frozenset[int] = frozenset()

    @property
    def keeps_uids(self) -> bool:
        """Whether UIDs stay, those that the table does not list too."""
        return Option.UIDS in self.options

    @property
    def keeps_overlays(self) -> bool:
        """Whether some overlays stay: regions, and pictures that somebody looked into."""
        return Option.CLEAN_GRAPHICS in self.options

    @property
    def cleans_pixels(self) -> bool:
        """Whether nothing passes that nobody looked at for burned-in text."""
        return Option.CLEAN_PIXEL_DATA in self.options

    @property
    def cleans_content(self) -> bool:
        """Whether content items of structured reports are judged one by one."""
        return Option.CLEAN_STRUCTURED_CONTENT in self.options

    @property
    def cleans_text(self) -> bool:
        """Whether some text is cleaned instead of being removed."""
        cleaned = any(one.deed is Deed.CLEAN for one in self.overrides)
        return cleaned or self.has_allow_list or not self.options.isdisjoint(_CLEANING)

    @property
    def replacements(self) -> tuple[str, ...]:
        """Texts that overrides write."""
        return tuple(one.value for one in self.overrides if one.deed is Deed.REPLACE)

    def override(self, tag: int, vr: str, path: tuple[int, ...]) -> Override | None:
        """Return the override that decides an element, if one does."""
        return find(self.overrides, tag, vr, path) if self.overrides else None

    @property
    def paths(self) -> frozenset[tuple[int, ...]]:
        """Where some override holds that does not hold everywhere."""
        return frozenset(one.path for one in self.overrides if one.path is not None)


_CLEANING = frozenset(
    {
        Option.PATIENT_CHARACTERISTICS,
        Option.CLEAN_DESCRIPTORS,
        Option.CLEAN_GRAPHICS,
        Option.CLEAN_STRUCTURED_CONTENT,
    }
)
# The less an action retains, the further it stands to the left.
_RETAINS = (Action.CLEAN, Action.KEEP)


@lru_cache(maxsize=64)
def rulebook_of(
    options: tuple[str, ...],
    safe_private: tuple[SafeElement, ...] = (),
    overrides: tuple[Override, ...] = (),
    vocabulary: tuple[tuple[int, frozenset[str]], ...] = (),
    *,
    has_allow_list: bool = False,
    written: frozenset[int] = frozenset(),
) -> Rulebook:
    """Compile the rules of a set of options, one object for each.

    Args:
        options: the chosen ones.
        safe_private: what a site knows to be safe beside the standard's list.
        overrides: those whose conditions hold.
        vocabulary: tags and the only words of their cleaned text.
        has_allow_list: whether attributes without a row go unless they are allowed.
        written: tags that the gateway states itself.
    """
    chosen = frozenset(map(Option, options))
    cells = {tag: cell for tag, row in ROWS.items() if (cell := _strictest(row.options, chosen))}
    if Option.CLEAN_GRAPHICS in chosen:
        # The table leaves text objects to the descriptors; they are what this option is about.
        cells[UNFORMATTED_TEXT] = Cell(Action.CLEAN, Option.CLEAN_GRAPHICS)
    kept = cells.get(INSTITUTION_NAME)
    inserted = INSERTED_TAGS - {INSTITUTION_NAME, MANUFACTURER} if kept else INSERTED_TAGS
    return Rulebook(
        options=chosen,
        cells=MappingProxyType(cells),
        dates=_dates(chosen),
        inserted=inserted | written,
        safe_private=_safe_private(chosen, safe_private, overrides),
        overrides=ordered(one for one in overrides if one.private is None),
        vocabulary=MappingProxyType(_words(has_allow_list) | dict(vocabulary)),
        has_allow_list=has_allow_list,
        written=written,
    )


def _words(has_allow_list: bool) -> dict[int, frozenset[str]]:
    return {CODE_MEANING: public_words()} if has_allow_list else {}


def _safe_private(
    chosen: frozenset[Option], listed: tuple[SafeElement, ...], overrides: tuple[Override, ...]
) -> SafeList | None:
    with_table = Option.SAFE_PRIVATE in chosen
    kept: list[SafeElement] = list(listed) if with_table else []
    gone: list[SafeElement] = []
    for one in overrides:
        if one.private is not None:
            (gone if one.deed is Deed.REMOVE else kept).append(one.private)
    if not (with_table or kept):
        return None
    return safe_list(tuple(kept), tuple(gone), with_table=with_table)


def _strictest(filled: Mapping[str, str], chosen: frozenset[Option]) -> Cell | None:
    cells = [Cell(Action(code), Option(name)) for name, code in filled.items() if name in chosen]
    return min(cells, key=lambda cell: _RETAINS.index(cell.action), default=None)


def _dates(chosen: frozenset[Option]) -> Dates:
    if Option.FULL_DATES in chosen:
        return Dates.UNMODIFIED
    return Dates.MODIFIED if Option.MODIFIED_DATES in chosen else Dates.REMOVED


BASIC = rulebook_of((Option.BASIC,))
