"""What a value is, in words that tell nothing of it; and the value, for those who may see it.

Lengths and counts only: ``PN(23 chars)``, ``date``, ``sequence(3 items)``.
"""

import struct
from collections.abc import Mapping
from typing import Final

from app.deid.deciding import Effect
from app.deid.standard import dictionary_vr
from app.dicom.elements import CHARSET_VRS, TEXT_VRS
from app.dicom.text import decode

NOTHING: Final = "nothing"
EMPTY: Final = "empty"
UNCHANGED: Final = "unchanged"
#: Characters of a value that are shown, and numbers.
MAX_SHOWN: Final = 256
_MAX_NUMBERS: Final = 16

_NAMED: Final[Mapping[str, str]] = {
    "DA": "date",
    "TM": "time",
    "DT": "date and time",
    "AS": "age",
    "UI": "UID",
    "DS": "number",
    "IS": "number",
}
# VR → format of one number.
_NUMBERS: Final[Mapping[str, str]] = {
    "FD": "d",
    "FL": "f",
    "SL": "i",
    "SS": "h",
    "SV": "q",
    "UL": "I",
    "US": "H",
    "UV": "Q",
}
_MADE: Final[Mapping[Effect, str]] = {
    Effect.DUMMY: "dummy",
    Effect.MAP_UID: "keyed UID",
    Effect.PSEUDONYM: "pseudonym",
    Effect.IDENTITY: "pseudonym",
    Effect.CREATOR: "registered creator",
    Effect.REPLACE: "text of the profile",
    Effect.MARKER: "marker",
    Effect.NOTICE: "notice",
}
_ADDED: Final[Mapping[Effect, str]] = {Effect.SHIFT: "moved", Effect.CLEAN: "cleaned"}
# What stands for an original under a key leaves the gateway with its mapping, never beside it.
_KEYED: Final = frozenset({Effect.MAP_UID, Effect.PSEUDONYM, Effect.IDENTITY, Effect.SHIFT})


def judged_vr(tag: int, vr: str) -> str:
    """Return an element's VR, the dictionary's where the file says UN."""
    known = dictionary_vr(tag) if vr == "UN" else None
    return known[:2] if known else vr


def kind_of(vr: str, value: bytes, charset: bytes) -> str:
    """Say what a value is.

    Args:
        vr: as ``judged_vr`` gives it; no sequence.
        value: as it is encoded, padding included.
        charset: Specific Character Set in force.
    """
    if vr not in TEXT_VRS:
        return _kind_of_bytes(vr, len(value)) if value else EMPTY
    text = _text(vr, value, charset)
    if not text:
        return EMPTY
    name = _NAMED.get(vr)
    if name is None:
        return f"{vr}({len(text)} chars)"
    count = text.count("\\") + 1
    return name if count == 1 else f"{name}({count} values)"


def kind_of_items(count: int | None) -> str:
    """Say what a sequence is; None where its items cannot be read."""
    if count is None:
        return "sequence"
    return f"sequence({count} item{'' if count == 1 else 's'})" if count else EMPTY


def kind_made(effect: Effect, kind: str) -> str:
    """Say what stands in the place of a value.

    Args:
        effect: what was done to it.
        kind: of what stands there now.
    """
    if kind == EMPTY:
        return kind
    added = _ADDED.get(effect)
    return f"{kind} {added}" if added else _MADE.get(effect, kind)


def is_shown(effect: Effect, vr: str) -> bool:
    """Say whether a new value may be shown: no pseudonym is told without its mapping."""
    return effect not in _KEYED and vr != "UI"


def shown(vr: str, value: bytes, charset: bytes) -> str | None:
    """Return a value for those who may see it, cut at a bound; None for bytes and sequences."""
    if vr in TEXT_VRS:
        return _text(vr, value, charset)[:MAX_SHOWN]
    letter = _NUMBERS.get(vr)
    if letter is None:
        return None
    size = struct.calcsize(f"<{letter}")
    count = min(len(value) // size, _MAX_NUMBERS)
    numbers = struct.unpack(f"<{count}{letter}", value[: count * size])
    more = "\\…" if len(value) // size > count else ""
    return "\\".join(map(str, numbers)) + more


def is_same(vr: str, before: bytes, after: bytes) -> bool:
    """Say whether two values are the same but for their padding."""
    if vr in TEXT_VRS:
        return before.rstrip(b"\0 ") == after.rstrip(b"\0 ")
    return before == after


def _text(vr: str, value: bytes, charset: bytes) -> str:
    return decode(value, charset if vr in CHARSET_VRS else b"").strip("\0 ")


def _kind_of_bytes(vr: str, size: int) -> str:
    letter = _NUMBERS.get(vr)
    if letter is None:
        return f"{vr}({size} bytes)"
    count = size // struct.calcsize(f"<{letter}")
    return "number" if count == 1 else f"number({count} values)"
