"""What the header says of an image, for the ladder: a picture out of an instance's root."""

from collections.abc import Iterator
from math import isfinite

from app.dicom.elements import key_tag
from app.dicom.text import decode
from app.dicom.tokens import Dataset
from app.pipeline.root import RootValues
from app.pixels.model import Box, Palette, Picture
from app.pixels.signatures import MAX_VALUE, OTHERS

_IMAGE_TYPE, _MODALITY, _CONVERSION = 0x00080008, 0x00080060, 0x00080064
_MANUFACTURER, _MODEL, _SOFTWARE = 0x00080070, 0x00081090, 0x00181020
_SAMPLES, _PHOTOMETRIC, _PLANAR, _FRAMES = 0x00280002, 0x00280004, 0x00280006, 0x00280008
_ROWS, _COLUMNS = 0x00280010, 0x00280011
_ALLOCATED, _STORED, _HIGH, _SIGNED = 0x00280100, 0x00280101, 0x00280102, 0x00280103
_BURNED_IN, _RECOGNIZABLE = 0x00280301, 0x00280302
_CENTRE, _WIDTH = 0x00281050, 0x00281051
_INTERCEPT, _SLOPE = 0x00281052, 0x00281053
_REGIONS = 0x00186011
_CORNERS = (0x00186018, 0x0018601A, 0x0018601C, 0x0018601E)
_PALETTE_DESCRIPTOR, _COLOURS = 0x00281101, (0x00281201, 0x00281202, 0x00281203)
_MOST_ENTRIES = 65_536


def picture_of(root: RootValues, sop_class: str) -> Picture:
    """Return the picture of an instance that has pixels; nothing is refused here."""
    number, places = root.number, root.places
    return Picture(
        sop_class=sop_class,
        transfer_syntax=root.tokens.transfer_syntax,
        modality=_upper(root, _MODALITY),
        rows=number(_ROWS),
        columns=number(_COLUMNS),
        frames=root.integer(_FRAMES) or 1,
        samples=number(_SAMPLES) or 1,
        bits_allocated=number(_ALLOCATED),
        bits_stored=number(_STORED),
        high_bit=number(_HIGH),
        signed=number(_SIGNED) == 1,
        photometric=_upper(root, _PHOTOMETRIC),
        planar=number(_PLANAR),
        image_type=_parts(_upper(root, _IMAGE_TYPE)),
        burned_in=_upper(root, _BURNED_IN),
        recognizable=_upper(root, _RECOGNIZABLE),
        conversion=_upper(root, _CONVERSION),
        manufacturer=_text(root, _MANUFACTURER),
        model=_text(root, _MODEL),
        software=_parts(_text(root, _SOFTWARE)),
        regions=tuple(_regions(root)) if _REGIONS in places else (),
        has_regions=_REGIONS in places,
        window=_pair(root, _CENTRE, _WIDTH) if _CENTRE in places else None,
        rescale=(_pair(root, _SLOPE, _INTERCEPT) if _SLOPE in places else None) or (1.0, 0.0),
        palette=_palette(root) if _PALETTE_DESCRIPTOR in places else None,
        attributes=tuple(
            (name, text)
            for name, tag in OTHERS.items()
            if tag in places and (text := _text(root, tag))
        ),
    )


def _text(root: RootValues, tag: int) -> str:
    index = root.places.get(tag)
    if index is None:
        return ""
    start, stop = root.tokens.root.value_span(index)
    return decode(root.tokens.buffer[start:stop], root.charset).strip("\0 ")[:MAX_VALUE]


def _upper(root: RootValues, tag: int) -> str:
    return _text(root, tag).upper()


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("\\")) if text else ()


def _regions(root: RootValues) -> Iterator[Box]:
    """Yield the rectangles of (0018,6011); one without all of its corners is empty.

    Source: PS3.3 2026d, C.8.5.5: both corners belong to a region.
    """
    items = root.tokens.root.sequences.get(root.places[_REGIONS])
    for item in items.datasets if items else ():
        left, top, right, bottom = (_corner(root.tokens.buffer, item, tag) for tag in _CORNERS)
        if left is None or top is None or right is None or bottom is None:
            yield Box(0, 0, 0, 0)
        else:
            yield Box(left, top, right + 1, bottom + 1)


def _corner(buffer: bytes, item: Dataset, tag: int) -> int | None:
    for index, key in enumerate(item.keys):
        if key_tag(key) == tag:
            start, stop = item.value_span(index)
            return int.from_bytes(buffer[start:stop], "little") if stop - start == 4 else None
    return None


def _pair(root: RootValues, *tags: int) -> tuple[float, float] | None:
    """Return the first values of two numbers; None where they are none."""
    try:
        first, second = (float(root.text(tag).split("\\")[0]) for tag in tags)
    except ValueError:
        return None
    return (first, second) if isfinite(first) and isfinite(second) else None


def _palette(root: RootValues) -> Palette | None:
    raw = root.raw(_PALETTE_DESCRIPTOR)
    entries, first, bits = (int.from_bytes(raw[n : n + 2], "little") for n in (0, 2, 4))
    red, green, blue = (root.raw(tag) for tag in _COLOURS)
    if not red or bits not in {8, 16}:
        return None
    return Palette(entries or _MOST_ENTRIES, first, bits, red, green, blue)
