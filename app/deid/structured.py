"""What becomes of one content item of a structured report: by concept, value type and options.

Items are never taken out, so that trees stay whole and references by position hold; what an item
says is kept, cleaned or replaced. Source: PS3.15 2026d, E.3.4; PS3.15 2026c, Table E.3.4-1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from app.deid.data import structured_content
from app.deid.options import Option
from app.deid.private import View
from app.deid.rules.identifiers import Kind
from app.dicom.elements import key_tag
from app.dicom.tokens import Dataset

#: Sequences whose items are content items.
CONTENT_SEQUENCES = frozenset({0x0040A730, 0x00400555, 0x00400612, 0x0040B020})
_VALUE_TYPE, _CONCEPT_NAME = 0x0040A040, 0x0040A043
_CODE_VALUES = (0x00080100, 0x00080119, 0x00080120)
_SCHEME = 0x00080102
# Retired designators of SNOMED, and the codes in use for theirs.
_RETIRED = frozenset({"SRT", "SNM3", "99SDM"})
_MAX_CODE = 64


@dataclass(frozen=True, slots=True)
class ContentRule:
    """What is to be done with the value of one content item.

    Attributes:
        value_type: of the item; empty where it names none.
        letter: ``K``, ``C``, or ``D`` where the value is replaced; empty where no row lists it.
        because: the row, or that there is none.
        kind: what the item's text identifies, if its concept says so.
    """

    value_type: str
    letter: str
    because: str
    kind: Kind | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    meaning: str
    basic: str
    options: Mapping[str, str]


def _read() -> dict[tuple[str, str, str], _Row]:
    rows = {}
    for line in structured_content.CONTENT.splitlines():
        scheme, value, value_type, meaning, basic, cells = line.split("\t")
        options = {} if cells == "-" else dict(cell.split("=") for cell in cells.split(" "))
        rows[_scheme(scheme), value, value_type] = _Row(meaning, basic, options)
    return rows


def _scheme(designator: str) -> str:
    """Return a designator without the version that the table gives beside some."""
    return designator.partition(" [")[0]


_ROWS = _read()
_CURRENT = dict(line.split("\t") for line in structured_content.RETIRED.splitlines())

#: Coding scheme, code value, value type and meaning of every concept of the table, for reports.
CONCEPTS = tuple((*key, row.meaning) for key, row in _ROWS.items())


# Concepts whose text is a number, or names a place or a device, whatever else stands in it.
# Source: PS3.15 2026c, Table E.3.4-1.
_IDS = (
    "111700 111705 113511 113512 113513 113516 113871 113880 121016 121020 121021 121022 121030 "
    "121041 121196 125010 128774 128775"
)
_PLACES = (
    "110119 110190 111706 111724 113872 113873 113877 121009 121013 121017 121121 121193 121197 "
    "121434 121435 122128"
)
_KINDS: Mapping[tuple[str, str], Kind] = (
    {("DCM", value): Kind.ID for value in _IDS.split()}
    | {("DCM", value): Kind.PHRASE for value in _PLACES.split()}
    | {("NCDR", "53"): Kind.ID, ("LN", "74711-3"): Kind.ID}
)


@lru_cache(maxsize=4096)
def content_rule(
    scheme: str, value: str, value_type: str, options: frozenset[Option]
) -> ContentRule:
    """Return the rule for a concept and value type; of several options the strictest decides."""
    if scheme in _RETIRED:
        scheme, value = "SCT", _CURRENT.get(value, value)
    row = _ROWS.get((scheme, value, value_type))
    if row is None:
        return ContentRule(value_type, "", "not in Table E.3.4-1")
    filled = {letter for name, letter in row.options.items() if name in options}
    letter = "C" if "C" in filled else "K" if "K" in filled else "D"
    because = f"Table E.3.4-1 {row.meaning}, {value_type}: {row.basic}"
    because += f", here {letter}" if filled else ""
    kind = _KINDS.get((scheme, value)) if value_type == "TEXT" else None
    return ContentRule(value_type, letter, because, kind)


def rule_of(dataset: Dataset, view: View, options: frozenset[Option]) -> ContentRule:
    """Return the rule for a content item as it stands in an instance."""
    value_type, scheme, value = "", "", ""
    for index, key in enumerate(dataset.keys):
        tag = key_tag(key)
        if tag == _VALUE_TYPE:
            value_type = _text(dataset, view, index)
        elif tag == _CONCEPT_NAME:
            items = dataset.sequences.get(index)
            if items is not None and items.datasets:
                scheme, value = _code(items.datasets[0], view)
    return content_rule(scheme, value, value_type, options)


def _code(item: Dataset, view: View) -> tuple[str, str]:
    texts = {key_tag(key): index for index, key in enumerate(item.keys)}
    values = [_text(item, view, texts[tag]) for tag in _CODE_VALUES if tag in texts]
    scheme = _text(item, view, texts[_SCHEME]) if _SCHEME in texts else ""
    return scheme, values[0] if values else ""


def _text(dataset: Dataset, view: View, index: int) -> str:
    start, stop = dataset.value_span(index)
    return view.buffer[start : min(stop, start + _MAX_CODE)].decode("latin-1").strip("\0 ")
