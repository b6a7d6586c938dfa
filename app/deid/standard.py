"""What the DICOM standard says about each attribute: actions, types, UIDs, dictionary.

Look-ups over the generated facts in ``app.deid.data`` only; what a profile does with them is in
``app.deid.profile`` and ``app.deid.planning``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType

from pydicom.datadict import dictionary_keyword, dictionary_VR

from app.deid.data import attribute_types, compound, options, table_e1_1, uids
from app.dicom.elements import CHARSET_VRS

EDITION = "2026d"


class Action(StrEnum):
    """The action codes of PS3.15, Table E.1-1a; compound codes stay strings."""

    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    MAP_UID = "U"
    KEEP = "K"
    CLEAN = "C"


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of PS3.15, Table E.1-1.

    Attributes:
        tag: ``group << 16 | element``, or the pattern of a repeating or private row.
        vr: empty where the row covers several attributes (curves, private).
        basic: the Basic Profile's code, compound ones such as ``X/Z/D`` included.
        options: option name (the table's column) to code, filled cells only.
    """

    tag: int | str
    keyword: str
    name: str
    vr: str
    basic: str
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UidRole:
    """What a UI attribute identifies and how its values are treated."""

    role: str
    treatment: str
    may_be_well_known: bool


def _lines(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


_OPTION_CELLS: dict[str, Mapping[str, str]] = {"-": MappingProxyType({})}


def _option_cells(text: str) -> Mapping[str, str]:
    cells = _OPTION_CELLS.get(text)
    if cells is None:
        cells = MappingProxyType(dict(cell.split("=") for cell in text.split(" ")))
        _OPTION_CELLS[text] = cells
    return cells


def _read_table() -> tuple[dict[int, TableRow], dict[str, TableRow]]:
    rows: dict[int, TableRow] = {}
    patterns: dict[str, TableRow] = {}
    for text, keyword_, name, vr, basic, cells in _lines(table_e1_1.ROWS):
        if text.isalnum() and "X" not in text and "G" not in text:
            tag = int(text, 16)
            rows[tag] = TableRow(tag, keyword_, name, vr, basic, _option_cells(cells))
        else:
            patterns[text] = TableRow(text, keyword_, name, vr, basic, _option_cells(cells))
    return rows, patterns


_rows, _patterns = _read_table()

#: Rows of one tag each; ``table_row`` also answers for repeating groups and private elements.
ROWS: Mapping[int, TableRow] = MappingProxyType(_rows)
PRIVATE_ROW = _patterns["GGGGEEEE"]
CURVE_ROW = _patterns["50XXXXXX"]
_OVERLAY_ROWS = {0x3000: _patterns["60XX3000"], 0x4000: _patterns["60XX4000"]}

#: Option → (code value, code meaning) of CID 7050, coding scheme DCM. Source: PS3.16, CID 7050.
CID7050: Mapping[str, tuple[str, str]] = MappingProxyType(
    {option: (code, meaning) for option, code, meaning in _lines(options.METHODS)}
)


def table_row(tag: int) -> TableRow | None:
    """Find the row of Table E.1-1 that covers a tag, or ``None``.

    Every odd group is covered by the private row. Repeating groups are the even ones from 5000 to
    501E and from 6000 to 601E. Source: PS3.15 2026d, Table E.1-1; PS3.5 2026d, 7.6.
    """
    row = _rows.get(tag)
    if row is not None:
        return row
    group = tag >> 16
    if group & 1:
        return PRIVATE_ROW
    if 0x5000 <= group <= 0x501E:
        return CURVE_ROW
    if 0x6000 <= group <= 0x601E:
        return _OVERLAY_ROWS.get(tag & 0xFFFF)
    return None


# --- Types and compound codes ------------------------------------------------------------------

_CIODS: dict[str, str] = dict(_lines(attribute_types.CIODS))
_STRENGTH = {"3": 0, "2C": 1, "2": 2, "1C": 3, "1": 4}
_WANTED = {"1": 2, "1C": 2, "2": 1, "2C": 1, "3": 0}
_STRICTEST: dict[int, str] = {
    int(tag, 16): type_ for tag, type_ in _lines(attribute_types.STRICTEST)
}

_TypesAtPaths = dict[tuple[tuple[int, ...], int], str]


def ciod_of(sop_class_uid: str) -> str | None:
    """Name the IOD of a SOP Class, or ``None`` where it is not known."""
    return _CIODS.get(sop_class_uid)


def _path(text: str) -> tuple[int, ...]:
    return tuple(int(tag, 16) for tag in text.split("/")) if text else ()


@lru_cache(maxsize=1)
def _compound_lines() -> dict[str, str]:
    return dict(_lines(compound.COMPOUND))


@lru_cache(maxsize=256)
def _types_of(ciod: str) -> tuple[_TypesAtPaths, dict[int, str]]:
    """Read one IOD's Types: at each path, and the strictest at any path."""
    at_path: _TypesAtPaths = {}
    anywhere: dict[int, str] = {}
    blocks = _compound_lines().get(ciod, "")
    for block in filter(None, blocks.split("|")):
        path_text, _, pairs = block.partition(":")
        path = _path(path_text)
        for pair in pairs.split(" "):
            tag_text, _, type_ = pair.partition("=")
            tag = int(tag_text, 16)
            at_path[path, tag] = type_
            anywhere[tag] = max(anywhere.get(tag, "3"), type_, key=_STRENGTH.__getitem__)
    return at_path, anywhere


def resolve_compound(code: str, *, ciod: str | None, path: tuple[int, ...], tag: int) -> Action:
    """Choose the one action that a compound code means for this IOD at this path.

    Type 3 asks for X, 2 and 2C for Z, 1 and 1C for D (U where the code offers ``U*``); where the
    wanted letter is not offered the next one along X < Z < D is taken, and D itself where none
    follows. Without a Type for this IOD and path the strictest one of this IOD decides, then the
    strictest of any IOD, then Type 1: the result stays valid. Source: PS3.15 2026d, E.1.1.

    Args:
        code: the table's cell; a single letter is given back as it is.
        ciod: what ``ciod_of`` said.
        path: tags of the enclosing sequences, outermost first.
        tag: the attribute.
    """
    letters = code.split("/")
    if len(letters) == 1:
        return Action(code)
    at_path, anywhere = _types_of(ciod) if ciod else ({}, {})
    type_ = at_path.get((path, tag)) or anywhere.get(tag) or _STRICTEST.get(tag, "1")
    order = "XZU" if letters[-1] == "U*" else "XZD"
    wanted = order[_WANTED[type_] :]
    return Action(next((letter for letter in wanted if letter in code), wanted[0]))


_REQUIRED: dict[tuple[tuple[int, ...], int], str] = {}
_REQUIRED_OVERLAY: dict[int, str] = {}


def _read_required() -> None:
    for path, tag, type_ in _lines(attribute_types.REQUIRED):
        if tag.startswith("60XX"):
            _REQUIRED_OVERLAY[int(tag[4:], 16)] = type_[0]
        else:
            _REQUIRED[_path(path), int(tag, 16)] = type_[0]


_read_required()


def required_type(*, path: tuple[int, ...], tag: int) -> str | None:
    """Say whether an attribute coded plain X is Type 1 or 2 at a path in some IOD.

    Conditional types count as their unconditional ones. The answer does not know the IOD: it is
    the strictest over all modules that have the attribute at that path.

    Returns:
        ``"1"``, ``"2"``, or ``None`` where removal breaks no IOD.
    """
    if 0x6000 <= tag >> 16 <= 0x601E and not path:
        return _REQUIRED_OVERLAY.get(tag & 0xFFFF)
    return _REQUIRED.get((path, tag))


#: Tags coded plain X that some IOD requires somewhere; every other one is absent from any result.
REQUIRED_SOMEWHERE = frozenset(tag for _, tag in _REQUIRED)


# --- UIDs --------------------------------------------------------------------------------------

_REGISTRY: dict[str, str] = dict(_lines(uids.REGISTRY))
_ROLES: dict[int, UidRole] = {
    int(tag, 16): UidRole(role, treatment, shared == "1")
    for tag, role, treatment, shared in _lines(uids.ROLES)
}
# Context groups and templates are not in the registry. Their arcs are short numbers; a long one
# under the standard's root is an instance UID that somebody put there.
_STANDARD_ROOT = re.compile(r"1\.2\.840\.10008\.[1-9][0-9]?(?:\.(?:0|[1-9][0-9]{0,3})){1,8}")


_UID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*)){2,}")
_MAX_UID = 64


def is_uid(value: str) -> bool:
    """Say whether a text is a UID of three components or more. Source: PS3.5 2026d, 9.1."""
    return len(value) <= _MAX_UID and _UID.fullmatch(value) is not None


def well_known_uid(value: str) -> bool:
    """Say whether a UID belongs to the standard, so that it identifies nobody.

    Source: PS3.6 2026c, Annex A; PS3.16 for context groups and templates.

    Args:
        value: without padding; may be empty.
    """
    return value in _REGISTRY or _STANDARD_ROOT.fullmatch(value) is not None


def uid_kind(value: str) -> str | None:
    """Name the kind of a registered UID (``SOPClass``, ``TransferSyntax`` …)."""
    return _REGISTRY.get(value)


def uid_role(tag: int) -> str | None:
    """Say how the values of a UI attribute are treated: ``by_value``, ``keep``, ``meta_rebuild``.

    Returns ``None`` for a tag that is no known UI attribute.
    """
    role = _ROLES.get(tag)
    return role.treatment if role else None


def may_hold_well_known_uid(tag: int) -> bool:
    """Say whether an attribute mapped by value may legally hold a well-known UID, kept then."""
    role = _ROLES.get(tag)
    return role is not None and role.may_be_well_known


# --- Private attributes ------------------------------------------------------------------------

#: (creator, group, low byte of the element) → VR, empty where the table has none.
#: Source: PS3.15 2026d, Table E.3.10-1.
SAFE_PRIVATE: Mapping[tuple[str, int, int], str] = MappingProxyType(
    {
        (creator, int(group, 16), int(low_byte, 16)): vr.strip("-")
        for creator, group, low_byte, vr in _lines(options.SAFE_PRIVATE)
    }
)


# --- Dictionary --------------------------------------------------------------------------------


def _names_no_attribute(tag: int) -> bool:
    """Say whether a tag is a delimiter or lies beside the repeating groups of the standard."""
    group = tag >> 16
    return group == 0xFFFE or 0x501E < group <= 0x50FF or 0x601E < group <= 0x60FF


@lru_cache(maxsize=16384)
def dictionary_vr(tag: int) -> str | None:
    """Look up the VR of a standard attribute, repeating groups included.

    Returns:
        The VR (``US or SS`` and the like as pydicom has it), or ``None`` for private elements,
        group lengths and everything that no dictionary knows.
    """
    if tag & 0x10000 or _names_no_attribute(tag):
        return None
    try:
        return dictionary_VR(tag)
    except KeyError:
        row = _rows.get(tag)
        return row.vr if row else None


@lru_cache(maxsize=16384)
def keyword(tag: int) -> str:
    """Look up the keyword of a standard attribute; empty where there is none."""
    if tag & 0x10000 or _names_no_attribute(tag):
        return ""
    try:
        return dictionary_keyword(tag)
    except KeyError:
        row = _rows.get(tag)
        return row.keyword if row else ""


def can_be(vr: str, known: str) -> bool:
    """Say whether an element's VR is its attribute's, or as good for text."""
    free = CHARSET_VRS - {"PN"}
    return vr == "UN" or vr in known or {vr, known} <= free


# --- Dummies -----------------------------------------------------------------------------------

# Two terms each, since a dummy has to differ from what it stands for. Terms of PS3.3 2026d:
# Patient module (C.7.1.1), Patient Study module (C.7.2.2), SOP Common module (C.12.1) and the
# Original Attributes macro (C.12.1.1.9).
_CS_TERMS: dict[int, tuple[str, str]] = {
    0x00100040: ("O", "O"),
    0x001021A0: ("UNKNOWN", "UNKNOWN"),
    0x00102203: ("UNALTERED", "ALTERED"),
    0x04000565: ("COERCE", "CORRECT"),
    0x04000600: ("LOCAL", "IMPORTED"),
}


def dummy_cs_term(tag: int, *, original: str = "") -> str:
    """Choose a term that is legal for one CS attribute and differs from the original if it can.

    Table E.1-1 codes one CS attribute D, (0400,0565); the others here may be Type 1 or 2 in an
    item. A tag without terms of its own gets ``UNKNOWN``, which is valid for the VR.
    """
    first, second = _CS_TERMS.get(tag, ("UNKNOWN", "REMOVED"))
    return second if first == original else first
