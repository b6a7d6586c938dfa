"""Overrides: what a site decides differently from the tables, element by element.

Typed data only; reading them from text is in ``override_text``, deciding with them in ``deciding``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from app.deid.attributes import CHARACTER_SET, MARKER_TAGS
from app.deid.private import SafeElement

_EXACT = 0xFFFFFFFF
_PIXEL_GROUP = 0x7FE0
# What the gateway itself writes, reads or relies on, and what says how pixels are laid out.
_OUT_OF_REACH = (
    MARKER_TAGS
    | {CHARACTER_SET, 0x00080016, 0x00080018, 0x0020000D, 0x0020000E}
    | {0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011}
    | {0x00280100, 0x00280101, 0x00280102, 0x00280103}
)


def is_in_reach(tag: int) -> bool:
    """Say whether a rule of a profile may decide about an attribute."""
    return tag not in _OUT_OF_REACH and tag >> 16 != _PIXEL_GROUP and tag >> 16 >= 8


class Deed(StrEnum):
    """What an override does; the letters are those of Table E.1-1a."""

    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    KEEP = "K"
    CLEAN = "C"
    MAP_UID = "U"
    REPLACE = "replace-with"


@dataclass(frozen=True, slots=True, repr=False)
class Facts:
    """What conditions look at in an instance."""

    sop_class: str = ""
    modality: str = ""
    manufacturer: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """Which instances an override is for; an empty field does not limit.

    Attributes:
        sop_class: SOP Class UIDs.
        modality, manufacturer, model: texts, compared without regard to case.
    """

    sop_class: tuple[str, ...] = ()
    modality: tuple[str, ...] = ()
    manufacturer: tuple[str, ...] = ()
    model: tuple[str, ...] = ()

    def holds(self, facts: Facts) -> bool:
        """Say whether an instance is one of those."""
        pairs = (
            (self.sop_class, facts.sop_class),
            (self.modality, facts.modality),
            (self.manufacturer, facts.manufacturer),
            (self.model, facts.model),
        )
        return all(
            not wanted or found.strip().casefold() in {one.casefold() for one in wanted}
            for wanted, found in pairs
        )


ALWAYS = Condition()


@dataclass(frozen=True, slots=True)
class Override:
    """One rule of a profile.

    Attributes:
        target: what it is about, in words for reports.
        deed: what is done.
        tag, mask: the attribute; bits that the mask leaves out may be any.
        vr: instead of a tag, every attribute of one VR.
        private: instead of both, a private element.
        path: tags of the enclosing sequences, outermost first; None means any depth.
        value: what is written with ``replace-with``.
        when: which instances it is for.
    """

    target: str
    deed: Deed
    tag: int = 0
    mask: int = 0
    vr: str = ""
    private: SafeElement | None = None
    path: tuple[int, ...] | None = None
    value: str = ""
    when: Condition = ALWAYS

    def covers(self, tag: int, vr: str) -> bool:
        """Say whether it is about an attribute, at whatever depth."""
        if self.private is not None:
            return False
        if self.vr:
            return self.vr == vr and is_in_reach(tag)
        return tag & self.mask == self.tag & self.mask

    @property
    def precision(self) -> tuple[bool, int, bool, bool]:
        """How particular it is: of two that match, the more particular one decides."""
        bits = self.mask.bit_count()
        return (self.mask == _EXACT, bits, self.path is not None, self.when != ALWAYS)


def ordered(overrides: Iterable[Override]) -> tuple[Override, ...]:
    """Return overrides with the one that decides first: the more particular, then the later."""
    numbered = enumerate(overrides)
    ranked = sorted(numbered, key=lambda pair: (pair[1].precision, pair[0]), reverse=True)
    return tuple(one for _, one in ranked)


def find(
    overrides: Iterable[Override], tag: int, vr: str, path: tuple[int, ...]
) -> Override | None:
    """Return the override that decides an element, out of ordered ones; None where none does."""
    for one in overrides:
        if one.covers(tag, vr) and (one.path is None or one.path == path):
            return one
    return None
