"""Random data sets for hypothesis: every VR, every length style, nested, with pixels or without."""

from functools import cache

from hypothesis import strategies as st

from app.dicom.elements import IMPLICIT_KEYS, VRS, key_tag, key_vr
from tests.dicom.building import (
    CT_IMAGE,
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IDENTITY,
    IMPLICIT_LE,
    JPEG_BASELINE,
    PIXEL_DATA,
    Element,
    Item,
    Stream,
    form_of,
)
from tests.dicom.images import IMAGE, JPEG_FRAME

BITS_ALLOCATED = 0x00280100  # decides about the byte order of pixel data
_PUBLIC = range(0x00080019, 0x7FE00000)
_SEQUENCES = (0x00081110, 0x00081140, 0x00082112, 0x0040A730, 0x00400275, 0x52009230)
_BLOCKS = (0x0009, 0x0019, 0x7001)
SEQUENCE_VRS = ("SQ", "UN")


@cache
def _known() -> list[tuple[int, str]]:
    """Attributes of every VR that the dictionary has, a few of each."""
    found: dict[str, list[int]] = {}
    for key in IMPLICIT_KEYS.values():
        tag, vr = key_tag(key), key_vr(key >> 32)
        if (
            tag in _PUBLIC
            and tag != BITS_ALLOCATED
            and vr != "SQ"
            and len(found.setdefault(vr, [])) < 6
        ):
            found[vr].append(tag)
    return sorted((tag, vr) for vr, tags in found.items() for tag in tags)


def _values() -> st.SearchStrategy[bytes]:
    return st.binary(max_size=24) | st.sampled_from(
        [b"", b"A", b"\0" * 8, b"\xfe\xff\x0d\xe0" + bytes(4), b"\xfe\xff\xdd\xe0" + bytes(4)]
    )


def _plain(*, explicit: bool) -> st.SearchStrategy[Element]:
    known = st.builds(lambda a, v: Element(a[0], a[1], v), st.sampled_from(_known()), _values())
    if not explicit:
        unknown = st.builds(lambda v: Element(0x0018FFF0, "UN", v), _values())
        return known | unknown | _private(explicit=False)
    unusual = st.builds(
        Element,
        st.sampled_from([tag for tag, _ in _known()]),
        st.sampled_from(sorted(VRS - {"SQ", "UN"})),
        _values(),
    )
    return known | unusual | _private(explicit=True)


@st.composite
def _private(draw: st.DrawFn, *, explicit: bool) -> Element:
    group = draw(st.sampled_from(_BLOCKS))
    if draw(st.booleans()):
        return Element(group << 16 | 0x10, "LO", draw(_values()))
    tag = group << 16 | draw(st.integers(0x1000, 0x10FF))
    vr = draw(st.sampled_from(sorted(VRS - {"SQ"}))) if explicit else "UN"
    return Element(tag, vr, draw(_values()))


@st.composite
def _sequence(draw: st.DrawFn, *, explicit: bool, big_endian: bool, depth: int) -> Element:
    """A sequence: public or private, as SQ or as UN, of defined or undefined length."""
    private = draw(st.booleans())
    undefined = draw(st.booleans())
    vr = draw(st.sampled_from(SEQUENCE_VRS)) if explicit else "SQ"
    if private and (vr == "UN" or not explicit):
        # Without a dictionary only an undefined length says that these are items.
        vr, undefined = "UN", True
    tag = 0x00091040 + depth if private else draw(st.sampled_from(_SEQUENCES))
    inside = explicit and vr != "UN"
    items = draw(
        st.lists(
            st.builds(
                Item,
                _datasets(explicit=inside, big_endian=big_endian and inside, depth=depth - 1),
                st.booleans(),
            ),
            max_size=2,
        )
    )
    if vr == "UN" and not items:
        items = [Item()]  # an UN without items is no sequence
    return Element(tag, vr, items=tuple(items), undefined=undefined)


def _icon() -> st.SearchStrategy[Element]:
    """An icon with encapsulated pixel data inside the header."""
    parts = st.lists(st.binary(max_size=12), min_size=1, max_size=3).map(tuple)
    pixels = st.builds(lambda p: Element(PIXEL_DATA, "OB", fragments=p), parts)
    item = st.builds(
        lambda p, u: Item((Element(0x00280010, "US", b"\1\0"), p), u), pixels, st.booleans()
    )
    return st.builds(
        lambda i, u: Element(0x00880200, "SQ", items=(i,), undefined=u), item, st.booleans()
    )


def _group_length(elements: list[Element]) -> list[Element]:
    return [Element(0x00280000, "UL", b"\x10\0\0\0"), *elements]


@st.composite
def _datasets(
    draw: st.DrawFn, *, explicit: bool, big_endian: bool, depth: int
) -> tuple[Element, ...]:
    """Elements by ascending tag, each tag once."""
    parts = draw(st.lists(_plain(explicit=explicit), max_size=5))
    if depth > 0:
        nested = _sequence(explicit=explicit, big_endian=big_endian, depth=depth)
        parts += draw(st.lists(nested, max_size=2))
    if explicit and not big_endian and draw(st.booleans()):
        parts.append(draw(_icon()))
    if draw(st.booleans()):
        parts = _group_length(parts)
    return tuple({element.tag: element for element in sorted(parts, key=lambda e: e.tag)}.values())


@st.composite
def _pixels(draw: st.DrawFn, *, explicit: bool, encapsulated: bool, whole: bool) -> Element:
    """Pixel data: native of any length, float, double float, or encapsulated.

    ``whole`` is an image of 4 by 4 bytes.
    """
    if encapsulated and whole:
        return Element(PIXEL_DATA, "OB", fragments=(b"", JPEG_FRAME))
    if whole:
        return Element(PIXEL_DATA, "OW", bytes(range(16)))
    if encapsulated:
        fragments = draw(st.lists(st.binary(max_size=40), min_size=1, max_size=4))
        table = draw(st.sampled_from([b"", b"\0\0\0\0"]))
        return Element(PIXEL_DATA, "OB", fragments=(table, *fragments))
    native = [(PIXEL_DATA, "OW"), (0x7FE00008, "OF"), (0x7FE00009, "OD")]
    if explicit:
        native.append((PIXEL_DATA, "OB"))
    tag, vr = draw(st.sampled_from(native))
    return Element(tag, vr, draw(st.binary(max_size=64)))


def _tail(*, explicit: bool) -> st.SearchStrategy[tuple[Element, ...]]:
    private = (
        Element(0x7FE10010, "LO", b"MAKER "),
        Element(0x7FE11001, "OB" if explicit else "UN", b"\1\2\3"),
    )
    padding = (Element(0xFFFCFFFC, "OB", bytes(10)),)
    signature = Element(0x04000100, "UI", b"1.2\0")
    signatures = (Element(0xFFFAFFFA, "SQ", items=(Item((signature,)),)),)
    return st.sampled_from([(), private, padding, signatures, private + signatures + padding])


@st.composite
def streams(draw: st.DrawFn, *, damageable: bool = False) -> Stream:
    """A valid Part 10 stream in any form; ``damageable`` ones would be de-identified if whole."""
    syntax = draw(
        st.sampled_from([IMPLICIT_LE, EXPLICIT_LE, DEFLATED_LE, EXPLICIT_BE, JPEG_BASELINE])
    )
    form = form_of(syntax)
    encapsulated = syntax == JPEG_BASELINE
    first = (*IDENTITY, *IMAGE) if damageable else (Element(0x00080016, "UI", CT_IMAGE),)
    body = draw(_datasets(explicit=form.explicit, big_endian=form.big_endian, depth=2))
    elements = {element.tag: element for element in (*body, *first)}
    ordered = tuple(sorted(elements.values(), key=lambda element: element.tag))
    # A group length before it would leave a stream without File Meta unrecognisable.
    if draw(st.booleans()) or encapsulated:
        pixels = _pixels(explicit=form.explicit, encapsulated=encapsulated, whole=damageable)
        ordered += (draw(pixels),)
        ordered += draw(_tail(explicit=form.explicit))
    has_meta = draw(st.booleans()) or syntax not in {IMPLICIT_LE, EXPLICIT_LE}
    return Stream(
        elements=ordered,
        syntax=syntax,
        preamble=draw(st.sampled_from([bytes(128), b"II*\0".ljust(128, b"\1"), None])),
        meta=has_meta,
        group_length=draw(st.sampled_from([0, None, 2, -4])),
    )
