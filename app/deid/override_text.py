"""Overrides as a profile's text writes them: checked field by field, refused with the reason."""

import re
from collections.abc import Mapping
from typing import Any

from pydicom.datadict import tag_for_keyword

from app.deid.overrides import ALWAYS, Condition, Deed, Override, is_in_reach
from app.deid.private import SafeElement
from app.deid.rules.temporal import is_temporal
from app.deid.standard import ROWS, dictionary_vr, is_uid, keyword
from app.dicom.elements import VRS, tag_text
from app.errors import InvalidProfile

_FIELDS = {"tag", "keyword", "vr", "private", "at", "action", "value", "when"}
_TARGETS = {"tag", "keyword", "vr", "private"}
_PATTERN = re.compile(r"\(?([0-9A-FX]{4})[,]?([0-9A-FX]{4})\)?", re.IGNORECASE)
_KEYWORDS = {row.keyword: tag for tag, row in ROWS.items()}
_WRITTEN = {
    "AE": r"[ -\[\]-~]{1,16}",
    "AS": r"[0-9]{3}[DWMY]",
    "CS": r"[A-Z0-9 _]{1,16}",
    "DS": r"[-+]?[0-9.]{1,12}(?:[eE][-+]?[0-9]{1,2})?",
    "IS": r"[-+]?[0-9]{1,11}",
    "LO": r"[ -\[\]-~]{1,64}",
    "PN": r"[ -\[\]-~]{1,64}",
    "SH": r"[ -\[\]-~]{1,16}",
    **dict.fromkeys(("LT", "ST", "UC", "UT"), r"[ -~]{1,1024}"),
}


def read_overrides(value: object) -> tuple[Override, ...]:
    """Read the list of overrides of a profile.

    Raises:
        InvalidProfile: with the number of the override and the field that is wrong.
    """
    if not isinstance(value, list):
        raise InvalidProfile("overrides is a list of rules")
    return tuple(_numbered(number, one) for number, one in enumerate(value, start=1))


def _numbered(number: int, value: object) -> Override:
    try:
        return _override(value)
    except InvalidProfile as error:
        raise InvalidProfile(f"override {number}: {error.detail}") from None


def _override(value: object) -> Override:
    if not isinstance(value, dict) or set(map(str, value)) - _FIELDS:
        raise InvalidProfile(f"known fields are {', '.join(sorted(_FIELDS))}")
    targets = sorted(_TARGETS & set(value))
    if len(targets) != 1:
        raise InvalidProfile(f"names one of {', '.join(sorted(_TARGETS))}")
    deed = _deed(value.get("action"))
    fields = _TARGET_READERS[targets[0]](value[targets[0]])
    made = Override(
        deed=deed,
        path=read_path(value.get("at", "any")),
        value=_value(value.get("value"), deed),
        when=_condition(value.get("when", {})),
        **fields,
    )
    _check(made)
    return made


def _deed(value: object) -> Deed:
    # YAML reads a bare N or Y as a truth value, never these letters.
    try:
        return Deed(str(value))
    except ValueError:
        raise InvalidProfile("action is X, Z, D, K, C, U or replace-with") from None


def _value(value: object, deed: Deed) -> str:
    if deed is not Deed.REPLACE:
        if value is not None:
            raise InvalidProfile("value goes with the action replace-with only")
        return ""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not value:
        raise InvalidProfile("value is printable ASCII text; put it in quotes")
    return value


def read_tag(text: object) -> tuple[int, int]:
    """Read a tag or the pattern of a repeating group: tag and mask, ``X`` for any digit."""
    match = _PATTERN.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise InvalidProfile("tag is eight hexadecimal digits such as (0008,1030), X for any digit")
    digits = (match[1] + match[2]).upper()
    tag = int(digits.replace("X", "0"), 16)
    mask = int("".join("0" if digit == "X" else "F" for digit in digits), 16)
    return tag, mask


def _by_tag(value: object) -> dict[str, Any]:
    tag, mask = read_tag(value)
    if tag >> 16 & 1:
        raise InvalidProfile("private elements are named by creator, group and element")
    digits = "".join(
        "X" if not mask >> shift & 0xF else f"{tag >> shift & 0xF:X}" for shift in range(28, -1, -4)
    )
    return {"target": f"({digits[:4]},{digits[4:]})", "tag": tag, "mask": mask}


def _by_keyword(value: object) -> dict[str, Any]:
    tag = tag_of(value)
    return {"target": f"{tag_text(tag)} {value}", "tag": tag, "mask": 0xFFFFFFFF}


def tag_of(name: object) -> int:
    """Return the tag of a keyword; refuse what is none."""
    tag = (tag_for_keyword(name) or _KEYWORDS.get(name)) if isinstance(name, str) else None
    if tag is None:
        raise InvalidProfile("keyword is that of an attribute of the standard")
    return tag


def _by_vr(value: object) -> dict[str, Any]:
    if value not in VRS - {"SQ"}:
        raise InvalidProfile("vr is two letters, and not SQ")
    return {"target": f"VR {value}", "vr": value}


def _by_private(value: object) -> dict[str, Any]:
    element = read_private(value)
    place = f"({element.group:04X},xx{element.low_byte:02X})"
    return {"target": f"private {element.creator} {place}", "private": element}


def read_private(value: object) -> SafeElement:
    """Read creator, group and element of a private rule; the VR is optional."""
    if not isinstance(value, dict) or set(value) - {"creator", "group", "element", "vr"}:
        raise InvalidProfile("private has creator, group, element and perhaps vr")
    creator = value.get("creator")
    if not isinstance(creator, str) or not creator.isascii() or not creator.isprintable():
        raise InvalidProfile("creator is printable ASCII text")
    if not 0 < len(creator.strip()) <= 64 or "\\" in creator:
        raise InvalidProfile("creator has 1 to 64 characters")
    group = _hexadecimal(value.get("group"), 4)
    if not group & 1 or group < 9:
        raise InvalidProfile("group is odd and 0009 or more")
    vr = value.get("vr", "")
    if vr and vr not in VRS - {"PN", "DA", "DT", "TM", "UR"}:
        raise InvalidProfile("this VR can be said of no safe element")
    return SafeElement(creator.strip(), group, _hexadecimal(value.get("element"), 2), vr)


def _hexadecimal(value: object, digits: int) -> int:
    if not isinstance(value, str) or not re.fullmatch(rf"[0-9A-Fa-f]{{{digits}}}", value):
        raise InvalidProfile(f"{digits} hexadecimal digits in quotes are expected")
    return int(value, 16)


_TARGET_READERS = {
    "keyword": _by_keyword,
    "private": _by_private,
    "tag": _by_tag,
    "vr": _by_vr,
}


def read_path(value: object) -> tuple[int, ...] | None:
    """Read where a rule holds: ``any``, ``root``, or sequences from the outermost, with ``/``."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidProfile("at is any, root or a path of sequences")
    if value == "any":
        return None
    if value == "root":
        return ()
    return tuple(_sequence(step.strip()) for step in value.split("/"))


def _sequence(step: str) -> int:
    tag = read_tag(step)[0] if _PATTERN.fullmatch(step) else tag_of(step)
    if dictionary_vr(tag) != "SQ":
        raise InvalidProfile("at names an attribute that is no sequence")
    return tag


def _condition(value: object) -> Condition:
    known = set(Condition.__dataclass_fields__)
    if not isinstance(value, Mapping) or set(value) - known:
        raise InvalidProfile(f"when takes {', '.join(sorted(known))}")
    return Condition(**{name: _texts(texts) for name, texts in value.items()}) if value else ALWAYS


def _texts(value: object) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise InvalidProfile("when compares with a text or a list of texts")
    return tuple(text.strip() for text in texts)


def _check(made: Override) -> None:
    """Refuse what no rule may reach, and deeds that the attribute's VR cannot take."""
    if made.private is not None:
        if made.deed not in {Deed.KEEP, Deed.CLEAN, Deed.MAP_UID, Deed.REMOVE} or made.path:
            raise InvalidProfile("a private element is kept (K, C, U) or removed (X), at any depth")
        return
    if not made.vr:
        _check_tag(made)
    vr = made.vr or (dictionary_vr(made.tag) or "" if made.mask == 0xFFFFFFFF else "")
    if made.deed is Deed.MAP_UID and vr not in {"UI", "SQ"}:
        raise InvalidProfile("U is for UIDs and sequences")
    if made.deed is Deed.REPLACE and not _fits(made.value, vr):
        raise InvalidProfile("this value is not one of the attribute's VR")


def _check_tag(made: Override) -> None:
    if made.mask != 0xFFFFFFFF:
        if made.tag >> 24 not in {0x50, 0x60} or made.mask >> 24 != 0xFF:
            raise InvalidProfile("a pattern is for the repeating groups 50XX and 60XX")
        return
    if not is_in_reach(made.tag):
        raise InvalidProfile("this attribute is not for a profile to decide")
    if not keyword(made.tag):
        raise InvalidProfile("tag is that of no attribute of the standard")


def _fits(value: str, vr: str) -> bool:
    if vr in {"DA", "DT", "TM"}:
        return is_temporal(value.encode(), vr)
    if vr == "UI":
        return is_uid(value)
    pattern = _WRITTEN.get(vr)
    return pattern is not None and re.fullmatch(pattern, value) is not None
