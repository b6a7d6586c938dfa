"""XML read into a small tree, without anything that reaches outside of the document.

A document type, which is where entities come from, is refused; comments and processing
instructions are not taken over. Source: XML 1.0; Namespaces in XML 1.0.
"""

# Entities and external references are impossible here: documents that declare any are refused.
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from app.pixels.documents import Doubt, Why

_MAX_DEPTH: Final = 100
_MAX_ELEMENTS = 200_000
_MAX_TEXT = 2 << 20
_SEPARATOR = "\n"  # stands in no name and no URI


@dataclass(slots=True, repr=False)
class Element:
    """An element and what it holds; an element of another namespace than ours has no name.

    Attributes:
        namespace: its URI.
        name: the local part.
        attributes: without a namespace by their name, others as ``{uri}name``.
        parts: texts and elements in their order.
    """

    namespace: str
    name: str
    attributes: Mapping[str, str]
    parts: list["Element | str"] = field(default_factory=list)

    @property
    def children(self) -> list["Element"]:
        """The elements among the parts."""
        return [part for part in self.parts if isinstance(part, Element)]


def read_xml(data: bytes) -> Element:
    """Return the root of a document.

    Raises:
        Doubt: it is no well-formed XML, has a document type, or is larger than the bounds.
    """
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
    parser.buffer_text = True
    parser.ordered_attributes = True
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.ExternalEntityRefHandler = _refuse_reference
    parser.UnparsedEntityDeclHandler = _refuse
    parser.SkippedEntityHandler = _refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError):
        raise Doubt(Why.BROKEN) from None
    if reader.root is None:
        raise Doubt(Why.BROKEN)
    return reader.root


def _refuse(*_: object) -> None:
    raise Doubt(Why.UNKNOWN_CONTENT)


def _refuse_reference(*_: object) -> int:
    raise Doubt(Why.UNKNOWN_CONTENT)


class _Reader:
    """Builds the tree."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._elements = self._characters = 0

    def start(self, name: str, attributes: list[str]) -> None:
        self._elements += 1
        if self._elements > _MAX_ELEMENTS or len(self._open) >= _MAX_DEPTH:
            raise Doubt(Why.TOO_LARGE)
        namespace, local = _split(name)
        pairs = zip(attributes[::2], attributes[1::2], strict=True)
        element = Element(namespace, local, {_attribute_name(n): value for n, value in pairs})
        if self._open:
            self._open[-1].parts.append(element)
        else:
            self.root = element
        self._open.append(element)

    def end(self, _name: str) -> None:
        self._open.pop()

    def text(self, text: str) -> None:
        self._characters += len(text)
        if self._characters > _MAX_TEXT:
            raise Doubt(Why.TOO_LARGE)
        if self._open:
            self._open[-1].parts.append(text)


def _split(name: str) -> tuple[str, str]:
    namespace, _, local = name.rpartition(_SEPARATOR)
    return namespace, local


def _attribute_name(name: str) -> str:
    namespace, local = _split(name)
    return f"{{{namespace}}}{local}" if namespace else local


_TEXT = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_ATTRIBUTE = _TEXT | {'"': "&quot;", "\n": "&#10;", "\t": "&#9;"}
_TEXT_TABLE, _ATTRIBUTE_TABLE = str.maketrans(_TEXT), str.maketrans(_ATTRIBUTE)


def written(element: Element) -> str:
    """Return an element as it is written, without declarations of namespaces."""
    pieces: list[str] = []
    _write(element, pieces)
    return "".join(pieces)


def escaped(text: str) -> str:
    """Return text as it is written inside of an element."""
    return text.translate(_TEXT_TABLE)


def _write(element: Element, pieces: list[str]) -> None:
    head = "".join(
        f' {name}="{value.translate(_ATTRIBUTE_TABLE)}"'
        for name, value in element.attributes.items()
    )
    if not element.parts:
        pieces.append(f"<{element.name}{head}/>")
        return
    pieces.append(f"<{element.name}{head}>")
    for part in element.parts:
        if isinstance(part, Element):
            _write(part, pieces)
        else:
            pieces.append(escaped(part))
    pieces.append(f"</{element.name}>")
