"""The decision about one element: its action and the rule that decided it.

Depends on tag, VR, place and IOD, never on a value.
"""

from dataclasses import dataclass
from enum import StrEnum

from app.deid.allowing import Allowance, allowance
from app.deid.attributes import (
    ENCAPSULATED_DOCUMENT,
    IDENTITY_TAGS,
    MARKER_TAGS,
    OFFSET_TABLES,
    PIXEL_DATA,
    TIMEZONE,
)
from app.deid.options import Option, title
from app.deid.overlays import is_text
from app.deid.overrides import Deed
from app.deid.private import Verdict
from app.deid.rulebook import BASIC, Cell, Dates, Rulebook
from app.deid.standard import (
    EDITION,
    Action,
    can_be,
    dictionary_vr,
    keyword,
    required_type,
    resolve_compound,
    table_row,
    uid_role,
)
from app.dicom.elements import CHARSET_VRS, TEXT_VRS, tag_text

# What the table does not list and its VR does not give away, yet identifies or locates.
_UNLISTED_DUMMY = {
    0x00400031: "the name space of an institution's ids",
    0x00400032: "the name space of an institution's ids",
    0x00720008: "the name of a person",
    0x00420010: "the title of a document about somebody",
    0x30020020: "the name of a treatment machine",
}
_UNLISTED = {
    0x00100033: "the birth date in another calendar",
    0x00100034: "the death date in another calendar",
    0x00100214: "a stock number",
    0x00102295: "a registration number",
    0x00140100: "the institution of a reviewer",
    0x00181003: "a device identifier",
    0x00181801: "the identifier of a time server",
    0x00181803: "a network address",
    0x00401006: "an order number",
    0x00401007: "an order number",
    0x00402006: "an order number",
    0x00402007: "an order number",
    0x00400400: "free text about the patient's procedure",
    0x0040A992: "an address",
    0x0040E001: "an instance identifier",
    0x00440012: "a device identifier",
    0x0074100C: "the name of a person",
    0x00880130: "the name of a medium, often a patient's",
    0x21000160: "the name of an owner",
    0x4010101A: "a passenger's identifier",
    0x40101051: "a passenger's identifier",
    0x04000500: "the originals, encrypted for another key",
    0x04000510: "of the originals, encrypted for another key",
    0x04000520: "the originals, encrypted for another key",
}
#: Those attributes and why, for reports.
UNLISTED_REASONS = _UNLISTED | _UNLISTED_DUMMY
# Tags that the Type tables require at the root of these IODs only. Source: PS3.3 2026d, A.1.4.
_REQUIRED_IN = {0x00080201: frozenset({"inventory"})}
_BULK_VRS = frozenset(
    {"AT", "FD", "FL", "OB", "OD", "OF", "OL", "OV", "OW", "SL", "SS", "SV", "UL", "US", "UV"}
)


class Effect(StrEnum):
    """What is done to one element; the table's letter stands beside it in the step."""

    KEEP = "keep"
    ENTER = "enter"
    REMOVE = "remove"
    EMPTY = "empty"
    DUMMY = "dummy"
    MAP_UID = "map-uid"
    SHIFT = "shift"
    CLEAN = "clean"
    PSEUDONYM = "pseudonym"
    CREATOR = "creator"
    REPLACE = "replace"
    IDENTITY = "identity"
    NOTICE = "notice"
    MARKER = "marker"


@dataclass(frozen=True, slots=True)
class Decision:
    """An effect, the letter of the table and the rule that decided it.

    ``value`` is the text of a rule that writes one.
    """

    effect: Effect
    action: Action
    because: str
    warning: str | None = None
    value: str = ""


@dataclass(frozen=True, slots=True)
class Where:
    """Where an element stands.

    Attributes:
        ciod: the IOD, if it is known.
        path: tags of the enclosing sequences, outermost first.
        removed: whether an enclosing sequence goes.
        tail: whether this is what follows Pixel Data.
    """

    ciod: str | None
    path: tuple[int, ...] = ()
    removed: bool = False
    tail: bool = False


def decide(tag: int, vr: str, where: Where, rules: Rulebook = BASIC) -> Decision:
    """Decide about one element; the enclosing sequences were decided before.

    Source: PS3.15 2026d, E.1.1, E.2, E.3 and Table E.1-1.
    """
    cell = rules.cells.get(tag)
    decided = (
        _by_structure(tag, where, cell)
        or _by_pixels(tag, where, rules)
        or _by_override(tag, vr, where, rules)
        or _by_group(tag)
        or (_by_cell(tag, vr, cell, rules) if cell else None)
    )
    if decided is not None:
        return decided
    row = table_row(tag)
    if row is not None:
        return _by_table(tag, vr, row.basic, where)
    if tag in _UNLISTED_DUMMY:
        because = f"not in Table E.1-1, but {_UNLISTED_DUMMY[tag]}"
        return Decision(Effect.DUMMY, Action.DUMMY, because)
    if tag in _UNLISTED:
        return _remove(f"not in Table E.1-1, but {_UNLISTED[tag]}")
    if rules.has_allow_list and (allowed := _by_allow_list(tag, vr)):
        return allowed
    return _by_dictionary(tag, vr, rules)


def _by_structure(  # noqa: PLR0911 - a table
    tag: int, where: Where, cell: Cell | None
) -> Decision | None:
    """Decide what neither the table nor a dictionary is asked about."""
    group = tag >> 16
    if where.removed:
        return _remove("its sequence is removed")
    if where.tail and tag <= PIXEL_DATA:
        return _remove("out of order behind Pixel Data", "out-of-order-element-removed")
    if not where.path and tag in IDENTITY_TAGS and cell is None:
        return Decision(Effect.IDENTITY, Action.DUMMY, "identity template of the profile")
    if not where.path and tag in MARKER_TAGS:
        return Decision(Effect.MARKER, Action.DUMMY, f"marker, PS3.15 {EDITION}, E.1.1")
    if not tag & 0xFFFF:
        return _remove("group length, retired")
    if not group & 1 and group < 0x0008:
        return _remove("group that does not belong to a data set")
    return None


def _by_pixels(tag: int, where: Where, rules: Rulebook) -> Decision | None:
    """Decide about what tells of the pixels, and about pixels that nobody looks at."""
    if tag in rules.written and not (where.path or where.tail):
        if tag == ENCAPSULATED_DOCUMENT:
            because = (
                f"Table E.1-1 (0042,0011): D, here cleaned with {title(Option.CLEAN_PIXEL_DATA)}"
            )
            return Decision(Effect.MARKER, Action.DUMMY, because, "document-cleaned")
        because = f"marker, PS3.15 {EDITION}, E.3.1: what is true of the pixels"
        return Decision(Effect.MARKER, Action.DUMMY, because)
    if where.path and tag in OFFSET_TABLES:
        return _remove("PS3.3 C.7.6.3.1.8: an offset table of no compressed frames")
    if where.path and tag == PIXEL_DATA and rules.cleans_pixels:
        return _remove(f"{title(Option.CLEAN_PIXEL_DATA)}: an image inside of another element")
    return None


def _by_group(tag: int) -> Decision | None:
    """Decide about overlays, of which some elements have no row."""
    if 0x6000 <= tag >> 16 <= 0x601E:
        return _remove("Table E.1-1 (60XX,3000): X; an overlay goes with its data")
    return None


def _by_override(tag: int, vr: str, where: Where, rules: Rulebook) -> Decision | None:
    """Decide by a rule of the profile; None where there is none that this value can take."""
    known = dictionary_vr(tag)
    override = rules.override(tag, known or vr, where.path)
    if override is None or known is None or _contradicts(vr, known):
        return None
    because = f"the profile's rule for {override.target}: {override.deed}"
    if override.deed is Deed.REMOVE:
        return _table_removal(tag, because, where)
    if override.deed is Deed.REPLACE:
        return Decision(Effect.REPLACE, Action.DUMMY, because, value=override.value)
    effect = _deed_effect(tag, vr, known, override.deed, rules)
    return None if effect is None else Decision(effect, Action(override.deed.value), because)


def _deed_effect(tag: int, vr: str, known: str, deed: Deed, rules: Rulebook) -> Effect | None:
    """Return what a deed means for a VR; None where it means nothing."""
    if known == "SQ" and deed in {Deed.KEEP, Deed.CLEAN, Deed.MAP_UID}:
        return Effect.ENTER
    if deed is Deed.EMPTY:
        return Effect.EMPTY
    if deed is Deed.KEEP:
        return Effect.KEEP if can_be(vr, known) else None
    if known == "UI":
        return Effect.MAP_UID
    if deed is Deed.CLEAN:
        return _cleaning(tag, known, rules) if can_be(vr, known) else None
    return Effect.DUMMY


DATE_VRS = frozenset({"DA", "DT", "TM"})


def _by_cell(tag: int, vr: str, cell: Cell, rules: Rulebook) -> Decision | None:
    """Decide by an option's cell; None where the value cannot be kept or cleaned as it asks."""
    known = dictionary_vr(tag)
    if known is None or not can_be(vr, known):
        return None
    because = f"Table E.1-1 {tag_text(tag)}: {cell.action}, {title(cell.option)}"
    if known == "SQ":
        return Decision(Effect.ENTER, cell.action, because)
    if cell.action is Action.KEEP:
        return Decision(Effect.KEEP, cell.action, because)
    effect = _cleaning(tag, known, rules)
    return Decision(effect, cell.action, because) if effect else None


def decide_private(verdict: Verdict, vr: str, basic: Decision, rules: Rulebook) -> Decision:
    """Decide about a private element that a list or the instance declares safe.

    Args:
        verdict: what the list or the instance says.
        vr: as the file says; UN where it does not.
        basic: what is decided without the option.
        rules: the profile's.
    """
    if "private attributes" not in basic.because:
        return basic
    known = verdict.vr or vr
    if verdict.creator:
        return Decision(Effect.CREATOR, Action.CLEAN, verdict.because)
    if known == "SQ":
        return Decision(Effect.ENTER, Action.CLEAN, f"{verdict.because}; its items are judged")
    if known == "UI" and not rules.keeps_uids:
        return Decision(Effect.MAP_UID, Action.MAP_UID, verdict.because)
    return Decision(Effect.KEEP, Action.KEEP, verdict.because)


def decide_overlay(tag: int, basic: Decision, where: Where, rules: Rulebook) -> Decision:
    """Decide about an element of an overlay that stays; ``basic`` is without the option."""
    known = dictionary_vr(tag)
    if where.tail or known is None or "(60XX" not in basic.because:
        return basic
    what = "nothing identifying was read in it" if rules.cleans_pixels else "a region"
    because = f"Table E.1-1 (60XX,3000): C, {title(Option.CLEAN_GRAPHICS)}; {what}"
    return Decision(Effect.CLEAN if is_text(known) else Effect.KEEP, Action.CLEAN, because)


def _cleaning(tag: int, vr: str, rules: Rulebook) -> Effect | None:
    """Return what *clean* means for an attribute; None where nobody can say what its bytes tell."""
    if tag == TIMEZONE:
        return Effect.KEEP  # days are moved whole: the zone stays what it was
    if vr in DATE_VRS:
        return Effect.SHIFT if rules.dates is Dates.MODIFIED else None
    if vr == "AE":
        return Effect.PSEUDONYM
    return Effect.CLEAN if vr in CHARSET_VRS or vr == "CS" else None


def _by_table(  # noqa: PLR0911 - one return per outcome
    tag: int, vr: str, code: str, where: Where
) -> Decision:
    row = "private attributes" if tag & 0x10000 else tag_text(tag)
    action = resolve_compound(code, ciod=where.ciod, path=where.path, tag=tag)
    because = f"Table E.1-1 {row}: {code}" + (f", here {action}" if action != code else "")
    if code.endswith("U*") and action is Action.EMPTY:
        # An empty sequence is lawful here, but the references that the IOD lists elsewhere (PS3.3
        # 2026d, C.12.2) would point at nothing: the items stay, with mapped UIDs.
        return Decision(Effect.ENTER, Action.MAP_UID, because + "; kept with mapped UIDs")
    if action is Action.REMOVE:
        return _table_removal(tag, because, where)
    if action is Action.EMPTY:
        return Decision(Effect.EMPTY, action, because)
    if action is Action.MAP_UID and dictionary_vr(tag) == "SQ":
        if vr not in {"SQ", "UN"}:
            return _remove(because + "; not encoded as a sequence")
        return Decision(Effect.ENTER, action, because)
    if action is Action.MAP_UID or dictionary_vr(tag) == "UI":
        return Decision(Effect.MAP_UID, action, because)
    if tag == ENCAPSULATED_DOCUMENT and not where.path:
        return Decision(Effect.NOTICE, action, because, "document-replaced")
    return Decision(Effect.DUMMY, action, because)


def _table_removal(tag: int, because: str, where: Where) -> Decision:
    """Decide a plain X: it must not break an IOD that requires the attribute here."""
    needed = None if tag & 0x10000 else required_type(path=where.path, tag=tag)
    if not where.path and tag in _REQUIRED_IN and where.ciod not in _REQUIRED_IN[tag]:
        needed = None
    if needed == "1":
        return Decision(
            Effect.DUMMY, Action.DUMMY, because + "; a dummy, Type 1 here", "dummy-on-type-1"
        )
    if needed == "2":
        return Decision(Effect.EMPTY, Action.EMPTY, because + "; emptied, Type 2 here")
    return _remove(because)


def _by_dictionary(  # noqa: PLR0911 - a table
    tag: int, vr: str, rules: Rulebook
) -> Decision:
    """Decide by VR what Table E.1-1 does not list."""
    known = dictionary_vr(tag)
    if known is None:
        return _remove("no dictionary knows it", "unknown-element-removed")
    if _contradicts(vr, known):
        return _remove("its VR contradicts the dictionary", "vr-contradicted")
    if known == "SQ":
        return Decision(Effect.ENTER, Action.KEEP, "not in Table E.1-1: its items are judged")
    judged = {known} if vr == "UN" else {vr, known}
    outside = f"not in Table E.1-1: VR {known}"
    if "UI" in judged:
        return _unlisted_uid(tag, outside, rules)
    if judged <= DATE_VRS and rules.dates is not Dates.REMOVED:
        return _unlisted_date(outside, rules)
    for vrs, meaning in _REPLACED_VRS:
        if judged & vrs:
            return Decision(Effect.DUMMY, Action.DUMMY, f"{outside}, {meaning}")
    return Decision(Effect.KEEP, Action.KEEP, f"{outside}, kept")


def _by_allow_list(tag: int, vr: str) -> Decision | None:
    """Decide about what the table does not list and the allow-list does not let stay whole."""
    if _contradicts(vr, dictionary_vr(tag) or vr):
        return None
    match allowance(tag):
        case Allowance.NOTHING:
            return _remove(f"{_NOT_ALLOWED}: removed")
        case Allowance.EMPTY:
            return Decision(Effect.EMPTY, Action.EMPTY, f"{_NOT_ALLOWED}: emptied, Type 2")
        case Allowance.DUMMY:
            return Decision(Effect.DUMMY, Action.DUMMY, f"{_NOT_ALLOWED}: a dummy, Type 1")
        case Allowance.WORDS:
            because = "not in Table E.1-1: on the allow-list, words of the standard's codes only"
            return Decision(Effect.CLEAN, Action.CLEAN, because)
    return None


_NOT_ALLOWED = "not in Table E.1-1, nor on the allow-list"


def _unlisted_uid(tag: int, outside: str, rules: Rulebook) -> Decision:
    """Decide about a UID without a row: an instance's UID in 15 attributes, a class in others."""
    if rules.keeps_uids and (uid_role(tag) != "keep" or names_class(tag)):
        return Decision(Effect.KEEP, Action.KEEP, f"{outside}, kept with {title(Option.UIDS)}")
    return Decision(Effect.MAP_UID, Action.MAP_UID, f"{outside}, by value")


def _unlisted_date(outside: str, rules: Rulebook) -> Decision:
    """Decide about a date without a row as about those that have one."""
    if rules.dates is Dates.UNMODIFIED:
        because = f"{outside}, kept with {title(Option.FULL_DATES)}"
        return Decision(Effect.KEEP, Action.KEEP, because)
    because = f"{outside}, moved with {title(Option.MODIFIED_DATES)}"
    return Decision(Effect.SHIFT, Action.CLEAN, because)


_REPLACED_VRS = (
    (frozenset({"PN"}), "a person"),
    (DATE_VRS, "a date or time"),
    (frozenset({"UR"}), "an address"),
)


def _contradicts(vr: str, known: str) -> bool:
    """Say whether an element's VR cannot be that of its attribute; UN can be anything."""
    if vr == "UN":
        return False
    if "SQ" in {vr, known}:
        return vr != known
    return (vr in TEXT_VRS) == (known[:2] in _BULK_VRS)


def names_class(tag: int) -> bool:
    """Say whether a UI attribute names SOP Classes or transfer syntaxes: kept when registered."""
    name = keyword(tag)
    return "SOPClass" in name or "TransferSyntax" in name


def _remove(because: str, warning: str | None = None) -> Decision:
    return Decision(Effect.REMOVE, Action.REMOVE, because, warning)
