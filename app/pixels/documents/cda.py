"""HL7 CDA documents, cleaned: a new document from the elements that are known.

Of the header only what describes the document stays; people, places, ids and times are masked or
left out. Of the body structure, public codes and measured values stay, and text without what
identifies. Media, attachments, comments, processing instructions and extensions are left out.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from app.pixels.documents import Doubt, Why
from app.pixels.documents import cda_words as words
from app.pixels.documents.cda_text import Narrative, cleaned_text
from app.pixels.documents.finding import Finder, identifying, letters
from app.pixels.documents.xml_tree import Element, read_xml, written

_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_XSI_TYPE = f"{{{_XSI}}}type"
_MAX_BYTES: Final = 16 << 20
_OID = re.compile(r"[0-2](?:\.(?:0|[1-9]\d{0,14})){2,20}")
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,31}")
_NUMBER = re.compile(r"[+-]?\d{1,5}(?:\.\d{1,6})?")
_UNIT = re.compile(r"[A-Za-z0-9%/.*\[\]'_^\u00b5-]{1,24}")
# Free text in a unit. Source: UCUM, section 12.
_ANNOTATION = re.compile(r"\{[^{}]*\}")
# Symbols of units are shorter than names; codes of letters alone are written in capitals.
_LONG_WORD = re.compile(r"[A-Za-z]{6}")
_NAME_LIKE = re.compile(r"(?=.*[a-z])[A-Za-z]{5,}")
_WORDS_OF: Final = {
    "statusCode": re.compile("|".join(sorted(words.STATUSES))),
    "languageCode": re.compile(r"[a-z]{2,3}(?:-[A-Z]{2})?"),
    "realmCode": re.compile(r"[A-Z]{2}"),
}
_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    f'<ClinicalDocument xmlns="{words.CDA_NAMESPACE}" xmlns:xsi="{_XSI}">'
)
# Instance identifiers and points in time are masked. Source: HL7 V3 NullFlavor.
_MASKED: Final = {"nullFlavor": "MSK"}
_IDS = frozenset(("id", "setId"))
_TIMES = frozenset(("effectiveTime", "expectedUseTime", "availabilityTime", "time"))
_PLAIN_TEXT = frozenset(("title", "originalText", "derivationExpr"))
# What says nothing without what was taken out of it.
_HOLDERS = frozenset(("entry", "entryRelationship", "consumable", "product"))


def clean_cda(data: bytes, finder: Finder) -> tuple[bytes, set[str]]:
    """Return a clinical document without what identifies, and kinds of what was taken out.

    Args:
        data: the document, padding included.
        finder: knows the instance's identifying values.

    Raises:
        Doubt: it is none, or holds what no rule covers.
    """
    if len(data) > _MAX_BYTES:
        raise Doubt(Why.TOO_LARGE)
    root = read_xml(_without_padding(data))
    if root.namespace != words.CDA_NAMESPACE or root.name != "ClinicalDocument":
        raise Doubt(Why.CONTRADICTORY)
    cleaner = _Cleaner(finder)
    body = "".join(cleaner.header(root))
    document = f"{_HEAD}{body}</ClinicalDocument>\n"
    if identifying(finder, [letters((c, 0) for c in cleaner.all_text())]):
        raise Doubt(Why.RESIDUE)
    out = document.encode()
    return out + b"\n" * (len(out) % 2), cleaner.findings


def _without_padding(data: bytes) -> bytes:
    """Return the document without NUL behind it; in UTF-16 that is half of a character."""
    is_wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return data if is_wide else data.rstrip(b"\0")


class _Cleaner:
    """Makes the new elements of one document."""

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        self._narrative = Narrative(finder)
        self._texts: list[str] = []
        self.findings: set[str] = set()

    def all_text(self) -> str:
        """Return every text that was written, for one more look."""
        return "\n".join([*self._texts, *self._narrative.texts])

    def header(self, root: Element) -> Iterator[str]:
        """Yield the children of the new document."""
        if not any(body.name == "structuredBody" for c in root.children for body in c.children):
            raise Doubt(Why.EMPTY)
        for child in root.children:
            if child.namespace != words.CDA_NAMESPACE:
                continue
            if child.name in words.HEADER_MASKED:
                self.findings.add("person")
                yield words.HEADER_MASKED[child.name]
            elif child.name in words.HEADER_KEPT:
                made = self._of(child, in_header=True)
                yield written(made) if made is not None else ""
            elif child.name in words.HEADER_REMOVED:
                self.findings.add("person")
            else:
                raise Doubt(Why.UNKNOWN_CONTENT)

    def _of(self, element: Element, *, in_header: bool = False) -> Element | None:
        """Return what becomes of one element; None where it goes."""
        name = element.name
        if (
            element.namespace != words.CDA_NAMESPACE
            or name in words.BODY_REMOVED - words.HEADER_KEPT
        ):
            self.findings.add("removed")
            return None
        if name == "text":
            return self._text_of(element)
        if name not in words.BODY_KEPT and not (in_header and name in words.HEADER_KEPT):
            raise Doubt(Why.UNKNOWN_CONTENT)
        return self._kept(element)

    def _kept(self, element: Element) -> Element | None:
        name = element.name
        if name in _IDS or name in _TIMES:
            return Element("", name, self._masked(element))
        if name in _PLAIN_TEXT:
            return self._plain(element, {})
        if name == "typeId":
            return self._type_id(element)
        if name == "templateId":
            return self._template(element)
        if name == "versionNumber":
            return Element("", name, _number(element))
        return self._structure(element)

    def _structure(self, element: Element) -> Element | None:
        """Return an element with its children; one that holds nothing any more may go."""
        kind = _type_of(element)
        attributes = self._attributes(element, kind)
        if kind in words.TEXT_TYPES:
            return self._plain(element, attributes)
        _refuse_text(element)
        made = [self._of(child) for child in element.children]
        parts: list[Element | str] = [one for one in made if one is not None]
        if element.name in _HOLDERS and not any(_says_something(p) for p in parts):
            return None
        return Element("", element.name, attributes, parts)

    def _masked(self, element: Element) -> dict[str, str]:
        """Return what stays of an id or a time: its type, and that it is masked."""
        kind = _type_of(element)
        self.findings.add("id" if element.name in _IDS else "date")
        return ({"xsi:type": kind} if kind else {}) | _MASKED

    def _type_id(self, element: Element) -> Element:
        """Return the fixed id of the document's type. Source: HL7 CDA Release 2, 4.2.1."""
        fixed = {"root": "2.16.840.1.113883.1.3", "extension": "POCD_HD000040"}
        if dict(element.attributes) != fixed:
            raise Doubt(Why.CONTRADICTORY)
        return Element("", "typeId", fixed)

    def _template(self, element: Element) -> Element | None:
        """Return the id of a public template without its extension; others name who made them."""
        root = element.attributes.get("root", "")
        return Element("", "templateId", {"root": root}) if self._is_public(root) else None

    def _is_public(self, root: str) -> bool:
        is_public = root.startswith(words.PUBLIC_ROOTS) and bool(_OID.fullmatch(root))
        return is_public and not self._finder.values(root)

    def _attributes(self, element: Element, kind: str) -> dict[str, str]:
        """Return the attributes that stay."""
        kept: dict[str, str] = {}
        for name, value in element.attributes.items():
            if name in words.STRUCTURE:
                kept |= self._term(name, value)
            elif not (
                name.startswith("{") or name in words.CODED or name in words.DROPPED | {"ID"}
            ):
                raise Doubt(Why.UNKNOWN_CONTENT)
        if kind:
            kept["xsi:type"] = kind
        coded = self._coded(element)
        measured = _measured(element, kind)
        kept |= coded | measured
        lost = {"code", "codeSystem", "value"} & set(element.attributes) and not (coded or measured)
        return kept | _MASKED if lost else kept

    def _term(self, name: str, value: str) -> dict[str, str]:
        """Return a structural attribute if it holds a plain word that is nobody's."""
        if value not in words.TERMS or self._finder.spans(value):
            return {}
        return {name: value}

    def _coded(self, element: Element) -> dict[str, str]:
        """Return a code of a public code system, or of the fixed vocabularies, without a system."""
        given = element.attributes
        code, system = given.get("code", ""), given.get("codeSystem", "")
        if not _CODE.fullmatch(code) or self._finder.values(code):
            return {}
        if not system:
            known = _WORDS_OF.get(element.name)
            return {"code": code} if known is not None and known.fullmatch(code) else {}
        if not self._is_public(system) or _NAME_LIKE.fullmatch(code):
            return {}
        kept = {"code": code, "codeSystem": system}
        for name in ("codeSystemName", "displayName"):
            if text := cleaned_text(given.get(name, ""), self._finder):
                self._texts.append(text)
                kept[name] = text
        return kept

    def _plain(self, element: Element, attributes: Mapping[str, str]) -> Element | None:
        """Return a text without what identifies; one that refers to the narrative goes."""
        if "representation" in element.attributes or any(
            child.name not in {"reference", "thumbnail"} for child in element.children
        ):
            self.findings.add("media")
            return None
        text = "".join(part for part in element.parts if isinstance(part, str))
        cleaned = cleaned_text(text, self._finder)
        if cleaned != text:
            self.findings.add("text")
        self._texts.append(cleaned)
        return Element("", element.name, attributes, [cleaned] if cleaned else [])

    def _text_of(self, element: Element) -> Element | None:
        """Return a narrative, or the text of an act, which is plain or a reference."""
        if "representation" in element.attributes:
            self.findings.add("media")
            return None
        made = self._narrative.cleaned(element)
        if self._narrative.has_found:
            self.findings.add("text")
        return made


def _type_of(element: Element) -> str:
    """Return the data type that an element declares, without a prefix."""
    kind = element.attributes.get(_XSI_TYPE, "").rpartition(":")[2]
    if kind and kind not in words.ALL_TYPES:
        raise Doubt(Why.UNKNOWN_CONTENT)
    return kind


def _measured(element: Element, kind: str) -> dict[str, str]:
    """Return a number with its unit: short, so that it is no date, id or telephone number."""
    value, given = element.attributes.get("value", ""), element.attributes.get("unit", "")
    is_measure = bool(given) or kind in words.NUMBER_TYPES
    unit = _ANNOTATION.sub("", given)
    if unit.startswith("/"):
        unit = f"1{unit}"
    is_known = _UNIT.fullmatch(unit) and not _LONG_WORD.search(unit)
    if not is_measure or not _NUMBER.fullmatch(value) or (unit and not is_known):
        return {}
    return {"value": value} | ({"unit": unit} if unit else {})


def _number(element: Element) -> dict[str, str]:
    value = element.attributes.get("value", "")
    return {"value": value} if re.fullmatch(r"\d{1,3}", value) else dict(_MASKED)


def _says_something(part: Element | str) -> bool:
    return isinstance(part, Element) and part.name not in {"templateId", "id", "sequenceNumber"}


def _refuse_text(element: Element) -> None:
    """Refuse text where the format has elements only."""
    if any(isinstance(part, str) and part.strip() for part in element.parts):
        raise Doubt(Why.UNKNOWN_CONTENT)
