"""The tables of a conformance statement: what a profile does, row by row, from the live tables."""

from collections.abc import Iterator
from functools import lru_cache

from app.deid.allowing import CODE_MEANING, Allowance, allowance, listed_tags
from app.deid.deciding import UNLISTED_REASONS, Decision, Effect, Where, decide, names_class
from app.deid.options import AVAILABLE_OPTIONS, Option, section, title
from app.deid.overrides import ALWAYS, Deed, Override
from app.deid.profile_model import Profile, Unlisted
from app.deid.rulebook import Rulebook, rulebook_of
from app.deid.standard import (
    PRIVATE_ROW,
    REQUIRED_SOMEWHERE,
    ROWS,
    Action,
    TableRow,
    dictionary_vr,
    keyword,
    table_row,
)
from app.deid.structured import CONCEPTS, content_rule
from app.dicom.elements import tag_text

Row = tuple[str, ...]
_ANYWHERE = Where(None)
# Patterns of the table, each with a tag that it covers.
_REPEATING = {
    "(50XX,XXXX)": 0x50003000,
    "(60XX,3000)": 0x60003000,
    "(60XX,4000)": 0x60004000,
    "(gggg,eeee), gggg odd": 0x00091010,
}
# What an effect writes, in words.
_WRITTEN = {
    Effect.CLEAN: "text without what identifies",
    Effect.EMPTY: "zero length",
    Effect.ENTER: "its items are judged one by one",
    Effect.IDENTITY: "text of the identity template at the root",
    Effect.KEEP: "kept; identifying values of the instance are taken out of text",
    Effect.MAP_UID: "keyed UID below 2.25, by value",
    Effect.NOTICE: "a notice of the same MIME type",
    Effect.PSEUDONYM: "keyed AE title",
    Effect.SHIFT: "moved by the subject's offset in whole days",
}
_DUMMIES = {
    "AE": "REMOVED",
    "AS": "000Y",
    "CS": "a term that is legal there",
    "DA": "19000101",
    "DS": "0",
    "DT": "19000101000000",
    "IS": "0",
    "PN": "REMOVED^",
    "SQ": "one valid item that tells nothing",
    "TM": "000000",
    "UI": "keyed UID below 2.25, by value",
    "UR": "urn:oid:2.25.0",
    **dict.fromkeys(("LO", "LT", "SH", "ST", "UC", "UT"), "REMOVED"),
}


@lru_cache(maxsize=16)
def rules_of(profile: Profile) -> Rulebook:
    """Return the rules that hold for every instance and at every depth."""
    return rulebook_of(
        profile.options,
        profile.safe_private,
        tuple(one for one in profile.overrides if one.when == ALWAYS and one.path is None),
        profile.vocabulary,
        has_allow_list=profile.unlisted is Unlisted.REMOVE,
    )


def option_rows(profile: Profile) -> Iterator[Row]:
    """Yield option, section, code, whether this profile uses it, whether the gateway can."""
    for option in Option:
        code, _ = option.code
        can = "Y" if option in AVAILABLE_OPTIONS else "N"
        used = "Y" if option in profile.options else "N"
        yield (title(option), section(option), code, used, can, "N")


def attribute_rows(profile: Profile) -> Iterator[Row]:
    """Yield name, tag, VR, the table's code, action, encrypted, and what decides and is written."""
    for tag, row in ROWS.items():
        yield _attribute_row(profile, row, tag, tag_text(tag))
    for pattern, tag in _REPEATING.items():
        if (pattern_row := table_row(tag)) is not None:
            yield _attribute_row(profile, pattern_row, tag, pattern)


def _attribute_row(profile: Profile, row: TableRow, tag: int, place: str) -> Row:
    decision = decide(tag, row.vr[:2] or "UN", _ANYWHERE, rules_of(profile))
    action, remark = _action(row, tag, decision, rules_of(profile))
    remarks = [remark, *_elsewhere(profile, tag, row.vr)]
    return (row.name, place, row.vr, row.basic, action, "N", "; ".join(filter(None, remarks)))


def _action(row: TableRow, tag: int, decision: Decision, rules: Rulebook) -> tuple[str, str]:
    """Return the code of the action and what is to be said of it."""
    special = _by_structure(row, tag, decision, rules)
    if special is not None:
        return special
    if decision.because.startswith("the profile's rule"):
        return str(decision.action), _said(tag, row, decision, _rule_name(decision))
    cell = rules.cells.get(tag)
    if cell is not None and title(cell.option) in decision.because:
        return str(cell.action), _said(tag, row, decision, title(cell.option))
    return row.basic, _of_basic(tag, row)


def _by_structure(
    row: TableRow, tag: int, decision: Decision, rules: Rulebook
) -> tuple[str, str] | None:
    """Return what is decided about an attribute before its row is looked at."""
    if tag >> 16 < 8:
        return "X", "no part of a data set; File Meta Information is written anew"
    if row is PRIVATE_ROW and rules.safe_private is not None:
        return "X", "but for the private elements listed below"
    if 0x6000 <= tag >> 16 <= 0x601E and rules.keeps_overlays:
        kept = "those stay in which nothing identifying was read, with text cleaned"
        return "C", kept if rules.cleans_pixels else "regions stay, with text cleaned; graphics go"
    if decision.effect is Effect.IDENTITY:
        return "D", f"{_WRITTEN[Effect.IDENTITY]}; {row.basic} in items"
    return None


def _rule_name(decision: Decision) -> str:
    return "rule of the profile" + (" (text of the rule)" if decision.value else "")


def _said(tag: int, row: TableRow, decision: Decision, source: str) -> str:
    if decision.effect is Effect.DUMMY:
        return f"{source}: {_dummy(tag, row)}"
    written = _WRITTEN.get(decision.effect)
    return f"{source}: {written}" if written else source


def _of_basic(tag: int, row: TableRow) -> str:
    """Return what the Basic Profile's code writes, and where Types decide."""
    if row.basic == "X":
        return "a dummy or empty where an IOD requires it" if tag in REQUIRED_SOMEWHERE else ""
    if "U" in row.basic:
        return _WRITTEN[Effect.ENTER if row.vr == "SQ" else Effect.MAP_UID]
    by_type = "by the Type in the IOD" if "/" in row.basic else ""
    dummy = f"dummy: {_dummy(tag, row)}" if "D" in row.basic else ""
    return "; ".join(filter(None, (by_type, dummy)))


def _dummy(tag: int, row: TableRow) -> str:
    if tag == 0x00420011:
        return _WRITTEN[Effect.NOTICE]
    return _DUMMIES.get(row.vr[:2], "zeros")


def _elsewhere(profile: Profile, tag: int, vr: str) -> Iterator[str]:
    """Yield the rules of the profile that hold for some instances or at one path only."""
    for number, one in enumerate(profile.overrides, start=1):
        if one.covers(tag, vr) and (one.when != ALWAYS or one.path is not None):
            yield f"{one.deed} by rule {number} where it holds"


def override_rows(profile: Profile) -> Iterator[Row]:
    """Yield number, target, action, place and condition of every rule of the profile."""
    for number, one in enumerate(profile.overrides, start=1):
        action = f"{one.deed} “{one.value}”" if one.deed is Deed.REPLACE else str(one.deed)
        yield (str(number), one.target, action, _place(one), _condition(one))


def _place(one: Override) -> str:
    if one.path is None:
        return "any depth"
    return " / ".join(keyword(tag) or tag_text(tag) for tag in one.path) or "root"


def _condition(one: Override) -> str:
    fields = ("sop_class", "modality", "manufacturer", "model")
    wanted = ((field.replace("_", " "), getattr(one.when, field)) for field in fields)
    return "; ".join(f"{field}: {', '.join(texts)}" for field, texts in wanted if texts) or "always"


def private_rows(profile: Profile) -> Iterator[Row]:
    """Yield creator, group, element, VR and source of every private element that stays."""
    overrides = tuple(one for one in profile.overrides if one.private is not None)
    safe = rulebook_of(profile.options, profile.safe_private, overrides).safe_private
    if safe is None:
        return
    for (creator, group, low_byte), vr in sorted(safe.elements.items()):
        is_ours = (creator, group, low_byte) in safe.additions
        source = "the profile" if is_ours else "Table E.3.10-1"
        yield (creator, f"{group:04X}", f"xx{low_byte:02X}", vr or "any", source)


def content_rows(profile: Profile) -> Iterator[Row]:
    """Yield meaning, code, value type and action for every concept of Table E.3.4-1."""
    options = frozenset(map(Option, profile.options))
    for scheme, value, value_type, meaning in CONCEPTS:
        rule = content_rule(scheme, value, value_type, options)
        yield (meaning, f"{value}, {scheme}", value_type, rule.letter)


def unlisted_rows(profile: Profile) -> Iterator[Row]:
    """Yield the attributes without a row that are not merely judged by VR."""
    if profile.unlisted is Unlisted.REMOVE:
        yield from _allowed_rows(profile)
        return
    for tag, reason in sorted(UNLISTED_REASONS.items()):
        vr = dictionary_vr(tag) or "UN"
        decision = decide(tag, vr[:2], _ANYWHERE, rules_of(profile))
        yield (keyword(tag), tag_text(tag), vr, str(decision.action), reason)


def _allowed_rows(profile: Profile) -> Iterator[Row]:
    """Yield every attribute of the allow-list of which something is left."""
    for tag in listed_tags():
        kind, vr = allowance(tag), dictionary_vr(tag)
        if kind is None or kind is Allowance.NOTHING or vr is None or tag in UNLISTED_REASONS:
            continue
        decision = decide(tag, vr[:2], _ANYWHERE, rules_of(profile))
        yield (keyword(tag), tag_text(tag), vr, str(decision.action), _left(tag, vr, decision))


def _left(tag: int, vr: str, decision: Decision) -> str:
    """Return what the allow-list leaves, where it is not the value as it was."""
    if decision.action is Action.KEEP and vr != "SQ":
        return ""
    if names_class(tag):
        return "registered UIDs stay, others are mapped"
    if tag == CODE_MEANING:
        return "words of the meanings that the standard's own codes have"
    return _WRITTEN.get(decision.effect) or _DUMMIES.get(vr[:2], "zeros")
