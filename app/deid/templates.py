"""Profile templates of Aspose.Medical and fo-dicom, turned into the content of a profile.

Their public documentation shows three forms: CSV with ``;`` (TagPattern and Action, or one column
for each option), JSON (a list of objects with Tag and Action) and XML (item with tag and action).
Read with the meaning that PS3.15, Table E.1-1a, gives the letters.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from app.deid.attributes import IDENTITY_TAGS
from app.deid.options import Option, combined, known_option
from app.deid.override_text import read_overrides, read_tag
from app.deid.rulebook import rulebook_of
from app.deid.standard import keyword, table_row
from app.dicom.elements import tag_text
from app.errors import InvalidProfile

_MAX_ROWS = 20_000
# The order of the option columns where a CSV file has no heading.
_COLUMNS = (
    *(Option.BASIC, Option.SAFE_PRIVATE, Option.UIDS, Option.DEVICE_IDENTITY),
    *(Option.INSTITUTION_IDENTITY, Option.PATIENT_CHARACTERISTICS, Option.FULL_DATES),
    *(Option.MODIFIED_DATES, Option.CLEAN_DESCRIPTORS, Option.CLEAN_STRUCTURED_CONTENT),
    Option.CLEAN_GRAPHICS,
)
_TAG_NAMES = frozenset({"tag", "tagpattern"})
# Character classes of regular expressions that stand for one hexadecimal digit.
_ANY_DIGIT = re.compile(r"(?:\[[0-9A-Fa-f-]+\]|[xX])(?:\{([1-8])\})?")
_COMMENT = re.compile(r"\s*(?://|#).*")
# From the strictest letter to the laxest.
_LETTERS = "XZDUCK"


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a template.

    Attributes:
        content: fields of a profile file.
        notes: rows that were left out, and why; by number, without their content.
    """

    content: Mapping[str, object]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    pattern: str
    action: str
    cells: Mapping[Option, str]


def read_template(text: str, *, name: str, options: Iterable[str] = ("basic",)) -> Imported:
    """Turn a CSV, JSON or XML template into the content of a profile.

    Rows that say what the table says under the options anyway are not repeated.

    Args:
        text: the template.
        name: of the profile.
        options: by any of their names; the template's option columns count for these.

    Raises:
        InvalidProfile: the text is no template or has no row, or an option is none.
    """
    chosen = combined(options)
    overrides: list[dict[str, str]] = []
    notes: list[str] = []
    row = None
    for row in _rows(text):
        made = _override(row, chosen)
        if isinstance(made, str):
            notes.append(f"row {row.number}: {made}")
        elif made:
            overrides.append(made)
    if row is None:
        raise InvalidProfile("The template names no tag")
    content: dict[str, object] = {"name": name, "options": [str(option) for option in chosen]}
    if overrides:
        content["overrides"] = overrides
    return Imported(content, tuple(notes))


def _rows(text: str) -> Iterator[_Row]:
    begin = text.lstrip("\ufeff \t\r\n")[:1]
    reader = {"[": _json_records, "{": _json_records, "<": _xml_records}.get(begin, _csv_records)
    for number, record in enumerate(reader(text.lstrip("\ufeff")), start=1):
        if number > _MAX_ROWS:
            raise InvalidProfile(f"A template has {_MAX_ROWS} rows at most")
        yield _row(number, record)


def _row(number: int, record: Mapping[str, str]) -> _Row:
    pattern, action = "", ""
    cells: dict[Option, str] = {}
    for field, value in record.items():
        folded = field.strip().casefold()
        option = known_option(field)
        if folded in _TAG_NAMES:
            pattern = value.strip()
        elif folded == "action":
            action = value.strip()
        elif option is not None and value.strip():
            cells[option] = value.strip()
    if not pattern:
        raise InvalidProfile(f"Row {number} of the template names no tag")
    return _Row(number, pattern, action, cells)


def _csv_records(text: str) -> Iterator[Mapping[str, str]]:
    heading: list[str] = []
    lines = (_COMMENT.sub("", line) for line in text.splitlines())
    for fields in csv.reader(lines, delimiter=";"):
        cells = [cell.strip() for cell in fields]
        if not any(cells):
            continue
        if cells[0].casefold() in _TAG_NAMES:
            heading = cells
            continue
        columns = heading or _default_heading(len(cells))
        yield dict(zip(columns, cells, strict=False))


def _default_heading(count: int) -> list[str]:
    return ["Tag", "Action"] if count <= 2 else ["Tag", *_COLUMNS]


def _json_records(text: str) -> Iterator[Mapping[str, str]]:
    try:
        records = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidProfile("The template is no JSON") from None
    if not isinstance(records, list) or not all(isinstance(one, dict) for one in records):
        raise InvalidProfile("A JSON template is a list of objects")
    for record in records:
        yield {str(key): "" if value is None else str(value) for key, value in record.items()}


def _xml_records(text: str) -> Iterator[Mapping[str, str]]:
    if "<!" in text.replace("<!--", ""):
        raise InvalidProfile("An XML template has no document type and no entities")
    try:
        root = ET.fromstring(text)  # noqa: S314 - without entities, refused above
    except ET.ParseError:
        raise InvalidProfile("The template is no XML") from None
    for item in root:
        yield {child.tag: child.text or "" for child in item} | dict(item.attrib)


def _override(  # noqa: PLR0911 - one return per outcome
    row: _Row, chosen: tuple[Option, ...]
) -> dict[str, str] | str | None:
    """Return the rule that a row makes, why it makes none, or nothing where the table says it."""
    letter = _letter(row, chosen)
    if letter is None:
        return "its action is none of X, Z, D, K, C and U"
    try:
        tag, mask = read_tag(_plain(row.pattern))
    except InvalidProfile:
        return "its pattern is not a tag with X for any digit"
    if mask == 0xFFFFFFFF and tag in IDENTITY_TAGS:
        return f"{tag_text(tag)} is written by the identity templates"
    if tag >> 16 & 1:
        return "a private element is named by its creator"
    if _says_the_table(tag, letter, chosen):
        return None
    rule = {"tag": _plain(row.pattern), "action": letter}
    if mask == 0xFFFFFFFF and keyword(tag):
        rule = {"keyword": keyword(tag), "action": letter}
    try:
        read_overrides([rule])
    except InvalidProfile as error:
        return str(error.detail).removeprefix("override 1: ")
    return rule


def _plain(pattern: str) -> str:
    """Return a pattern with ``X`` for every class of hexadecimal digits."""
    return _ANY_DIGIT.sub(lambda found: "X" * int(found[1] or 1), pattern.strip("^$"))


def _letter(row: _Row, chosen: tuple[Option, ...]) -> str | None:
    """Return the letter that decides: an option's first, and of several the strictest."""
    filled = [row.cells[option] for option in chosen[1:] if option in row.cells]
    basic = row.cells.get(Option.BASIC) or row.action
    offered = filled or [basic]
    letters = {letter for cell in offered for letter in re.findall(r"[A-Z]", cell.upper())}
    known = [letter for letter in _LETTERS if letter in letters]
    return known[0] if known and letters <= set(_LETTERS) else None


def _says_the_table(tag: int, letter: str, chosen: tuple[Option, ...]) -> bool:
    cell = rulebook_of(chosen).cells.get(tag)
    if cell is not None:
        return cell.action.value == letter
    row = table_row(tag)
    return row is not None and letter in row.basic.replace("U*", "U").split("/")
