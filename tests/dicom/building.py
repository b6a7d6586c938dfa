"""Data sets as trees of elements, and their encoding in every form that the standard knows.

Builds what pydicom would not write: odd lengths, mixed length styles, sequences as UN.
"""

import array
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from app.dicom.elements import LONG_VRS

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
RLE = "1.2.840.10008.1.2.5"

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010
# Bytes per value where the byte order counts. Source: PS3.5 2026d, 6.2 and 7.3.
WIDTHS = dict.fromkeys(("AT", "OW", "SS", "US"), 2)
WIDTHS |= dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4)
WIDTHS |= dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8)

Place = tuple[tuple[int, int], ...]
Outline = dict[tuple[Place, int], "Outlined"]


@dataclass(frozen=True, slots=True, repr=False)
class Outlined:
    """One element: the VRs it may have, its bytes (None where only items are known), its items."""

    vrs: frozenset[str]
    value: bytes | None
    items: int | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One item: its elements and whether its length is undefined."""

    elements: tuple["Element", ...] = ()
    undefined: bool = False


@dataclass(frozen=True, slots=True)
class Element:
    """One element. ``items`` makes it a sequence, ``fragments`` encapsulated data.

    With VR UN a sequence is implicit inside, whatever is around it.
    """

    tag: int
    vr: str
    value: bytes = b""
    items: tuple[Item, ...] | None = None
    fragments: tuple[bytes, ...] | None = None
    undefined: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    """How element headers are written."""

    explicit: bool = True
    big_endian: bool = False

    @property
    def order(self) -> str:
        return ">" if self.big_endian else "<"


FORMS = {
    IMPLICIT_LE: Form(explicit=False),
    EXPLICIT_BE: Form(big_endian=True),
}


def form_of(syntax: str) -> Form:
    """Return how a transfer syntax writes its elements."""
    return FORMS.get(syntax, Form())


def encode(elements: Sequence[Element], form: Form) -> bytes:
    """Encode elements in the order given."""
    return b"".join(_encoded(element, form) for element in elements)


def _encoded(element: Element, form: Form) -> bytes:
    content = _content(element, form)
    length = UNDEFINED if element.undefined or element.fragments is not None else len(content)
    if element.undefined or element.fragments is not None:
        content += header(SEQUENCE_END, 0, Form(explicit=False) if element.vr == "UN" else form)
    if not form.explicit:
        return header(element.tag, length, form) + content
    group = struct.pack(f"{form.order}HH", element.tag >> 16, element.tag & 0xFFFF)
    vr = element.vr.encode()
    if element.vr in LONG_VRS:
        return group + vr + b"\0\0" + struct.pack(f"{form.order}I", length) + content
    return group + vr + struct.pack(f"{form.order}H", length) + content


def header(tag: int, length: int, form: Form) -> bytes:
    """Encode tag and 32-bit length, as items, delimiters and implicit elements have them."""
    return struct.pack(f"{form.order}HHI", tag >> 16, tag & 0xFFFF, length)


def _content(element: Element, form: Form) -> bytes:
    if element.items is not None:
        inside = Form(explicit=False) if element.vr == "UN" else form
        return b"".join(_item(item, inside) for item in element.items)
    if element.fragments is not None:
        parts = ((header(ITEM, len(part), form), part) for part in element.fragments)
        return b"".join(piece for pair in parts for piece in pair)
    return swapped(element.value, WIDTHS.get(element.vr, 1) if form.big_endian else 1)


def swapped(value: bytes, width: int) -> bytes:
    """Return numbers of ``width`` bytes in the other byte order."""
    if width == 1 or len(value) % width:
        return value
    numbers = array.array({2: "H", 4: "I", 8: "Q"}[width], value)
    numbers.byteswap()
    return numbers.tobytes()


def _item(item: Item, form: Form) -> bytes:
    content = encode(item.elements, form)
    if item.undefined:
        return header(ITEM, UNDEFINED, form) + content + header(ITEM_END, 0, form)
    return header(ITEM, len(content), form) + content


def outline(elements: Sequence[Element], place: Place = ()) -> Outline:
    """Return what the tokeniser should find in these elements."""
    return dict(_outlined(elements, place))


def _outlined(
    elements: Sequence[Element], place: Place
) -> Iterator[tuple[tuple[Place, int], Outlined]]:
    for element in elements:
        where, vrs = (place, element.tag), frozenset({element.vr})
        if element.items is not None:
            yield where, Outlined(vrs, None, len(element.items))
            for number, item in enumerate(element.items):
                yield from _outlined(item.elements, (*place, (element.tag, number)))
        elif element.fragments is not None:
            yield where, Outlined(vrs, _content(element, Form()))
        else:
            yield where, Outlined(vrs, element.value)


@dataclass(frozen=True, slots=True)
class Stream:
    """A Part 10 stream to build.

    Attributes:
        elements: the data set.
        syntax: transfer syntax that is written in the File Meta and used, but for ``form``.
        preamble: None leaves the preamble and the prefix away.
        meta: False leaves the File Meta away.
        group_length: None leaves File Meta's group length away; an offset falsifies it.
        form: how the elements are really written, where that contradicts ``syntax``.
        trailing: bytes behind the last element.
    """

    elements: tuple[Element, ...]
    syntax: str = EXPLICIT_LE
    preamble: bytes | None = bytes(128)
    meta: bool = True
    group_length: int | None = 0
    form: Form | None = None
    trailing: bytes = b""
    more_meta: tuple[Element, ...] = field(default=())

    def encode(self) -> bytes:
        """Return the stream's bytes."""
        body = encode(self.elements, self.form or form_of(self.syntax)) + self.trailing
        if self.syntax == DEFLATED_LE:
            deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            body = deflate.compress(body) + deflate.flush()
        prefix = b"" if self.preamble is None else self.preamble + b"DICM"
        return prefix + (self._meta() if self.meta else b"") + body

    def _meta(self) -> bytes:
        elements = (
            Element(0x00020001, "OB", b"\0\1"),
            Element(0x00020010, "UI", padded(self.syntax)),
            *self.more_meta,
        )
        content = encode(elements, Form())
        if self.group_length is None:
            return content
        length = struct.pack("<I", (len(content) + self.group_length) & 0xFFFFFFFF)
        return encode([Element(0x00020000, "UL", length)], Form()) + content


def padded(text: str) -> bytes:
    """Return a UID's bytes."""
    return text.encode() + b"\0" * (len(text) % 2)


def sequence(
    tag: int, *items: Sequence[Element], vr: str = "SQ", undefined: bool = False
) -> Element:
    """Return a sequence of items whose lengths are written as its own."""
    return Element(
        tag, vr, items=tuple(Item(tuple(item), undefined) for item in items), undefined=undefined
    )


CT_IMAGE = padded("1.2.840.10008.5.1.4.1.1.2")
#: The elements without which the gateway refuses every instance, all before group 0021.
IDENTITY = (
    Element(0x00080016, "UI", CT_IMAGE),
    Element(0x00080018, "UI", padded("1.2.826.0.1.3680043.10.996.4")),
    Element(0x00080060, "CS", b"CT"),
    Element(0x00100010, "PN", b"Quillonbury^Zebedee "),
    Element(0x00100020, "LO", b"PZ-7741-0093"),
    Element(0x0020000D, "UI", padded("1.2.826.0.1.3680043.10.996.1")),
    Element(0x0020000E, "UI", padded("1.2.826.0.1.3680043.10.996.2")),
)
