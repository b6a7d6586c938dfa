"""The same instance twice, flattened: as pydicom reads it and as our tokens lay it out.

An outline maps the place of each element to its VRs and its raw bytes. Nothing is converted that
pydicom does not have to convert to look inside a sequence.
"""

import warnings
from collections.abc import Iterator
from io import BytesIO

from pydicom import config
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset as PydicomDataset
from pydicom.dataset import FileDataset
from pydicom.filereader import dcmread
from pydicom.hooks import raw_element_vr

from app.dicom.elements import UNDEFINED_LENGTH, key_tag, key_vr, path_text, tag_text
from app.dicom.tokens import Dataset, Tokens
from tests.dicom.building import PIXEL_DATA, WIDTHS, Outline, Outlined, Place, swapped

CHARSET = 0x00080005


def read_with_pydicom(data: bytes, *, force: bool = False) -> FileDataset:
    """Read with pydicom, quietly; its warnings quote values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dcmread(BytesIO(data), force=force)


def pydicom_outline(dataset: PydicomDataset) -> Outline:
    """Outline what pydicom read."""
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        return dict(_pydicom_elements(dataset, ()))


def _pydicom_elements(
    dataset: PydicomDataset, place: Place
) -> Iterator[tuple[tuple[Place, int], Outlined]]:
    for tag, element in list(dataset._dict.items()):
        vrs, value = _described(element, dataset)
        if "SQ" not in vrs:
            yield (place, int(tag)), Outlined(vrs, value)
            continue
        items = dataset[tag].value or []
        yield (place, int(tag)), Outlined(vrs, value, len(items))
        for number, item in enumerate(items):
            yield from _pydicom_elements(item, (*place, (int(tag), number)))


def _described(
    element: RawDataElement | DataElement, dataset: PydicomDataset
) -> tuple[frozenset[str], bytes | None]:
    """Return the VRs and the bytes of an element; its bytes with the byte order of little endian.

    What is written counts as well as what pydicom makes of an UN.
    """
    if not isinstance(element, RawDataElement):
        if element.VR == "SQ":
            return frozenset({"SQ", "UN"}), None  # of undefined length
        # Specific Character Set is the one that pydicom converts by itself.
        texts = [element.value] if isinstance(element.value, str) else element.value or []
        return frozenset({element.VR}), "\\".join(texts).encode()
    value = element.value or b""
    if element.tag.is_private and element.VR in {None, "UN"}:
        # pydicom's private dictionary would give a VR that nobody wrote; the tokeniser has none.
        return frozenset({"LO", "UL", "UN"}), value
    found: dict[str, str] = {}
    raw_element_vr(element, found, ds=dataset)
    vrs = frozenset(found["VR"].split(" or ")) | ({element.VR} if element.VR else set())
    if element.is_little_endian or "SQ" in vrs:
        return vrs, value if element.is_little_endian else None
    width = WIDTHS.get(element.VR, 1)
    if element.tag == PIXEL_DATA and element.VR == "OW":
        # Pixel cells wider than a word were written whole, most significant byte first.
        width = max(width, dataset.get("BitsAllocated", 0) // 8)
    return vrs, swapped(value, width)


def tokens_outline(tokens: Tokens) -> Outline:
    """Outline what the tokeniser found, the pixel value and what follows it included."""
    outline = dict(_elements(tokens.root, tokens.buffer, ()))
    if tokens.pixels is not None:
        pixels = tokens.pixels
        size = pixels.stop - pixels.value - (8 if pixels.length is None else 0)
        vrs = frozenset({key_vr(pixels.key >> 32)})
        value = tokens.source.read(pixels.value, size)
        outline[(), key_tag(pixels.key)] = Outlined(vrs, value)
    if tokens.tail is not None:
        outline |= dict(_elements(tokens.tail, tokens.tail_buffer, ()))
    return outline


def _elements(
    dataset: Dataset, buffer: bytes, place: Place
) -> Iterator[tuple[tuple[Place, int], Outlined]]:
    for index, key in enumerate(dataset.keys):
        tag = key_tag(key)
        start, stop = dataset.value_span(index)
        value: bytes | None = buffer[start:stop]
        items = dataset.sequences.get(index)
        undefined = buffer[start - 4 : start] == UNDEFINED_LENGTH.to_bytes(4, "little")
        if undefined and start - dataset.span(index)[0] > 8 - 4 * (not dataset.explicit):
            # pydicom leaves the delimiter away.
            value = None if items is not None else buffer[start : stop - 8]
        vrs = frozenset({key_vr(key >> 32)})
        yield (place, tag), Outlined(vrs, value, None if items is None else len(items.datasets))
        if items is not None:
            for number, item in enumerate(items.datasets):
                yield from _elements(item, buffer, (*place, (tag, number)))


def meta_differences(dataset: FileDataset, meta: dict[int, bytes]) -> list[str]:
    """Say in which File Meta elements pydicom and ``meta`` differ."""
    elements = dataset.file_meta._dict
    found = [f"{tag_text(tag)} only in one" for tag in {*map(int, elements)} ^ meta.keys()]
    for tag, element in elements.items():
        # What pydicom converts by itself, Transfer Syntax UID and the group length, it uses.
        if isinstance(element, RawDataElement) and (element.value or b"") != meta.get(int(tag)):
            found.append(f"{tag_text(int(tag))} value")
    return found


def differences(theirs: Outline, ours: Outline) -> list[str]:
    """Say where two outlines differ: places, tags and kinds of difference, never a value."""
    found = []
    for place, tag in theirs.keys() | ours.keys():
        where = path_text(place, tag)
        their, our = theirs.get((place, tag)), ours.get((place, tag))
        if their is None or our is None:
            found.append(f"{where} only in {'ours' if their is None else 'pydicom'}")
            continue
        if not their.vrs & our.vrs:
            found.append(f"{where} VR {sorted(their.vrs)} / {sorted(our.vrs)}")
        if their.items != our.items:
            found.append(f"{where} items {their.items} / {our.items}")
        if their.value is not None and our.value is not None and not _same(tag, their, our):
            found.append(f"{where} value of {len(their.value)} / {len(our.value)} bytes")
    return sorted(found)


def _same(tag: int, their: Outlined, our: Outlined) -> bool:
    if tag == CHARSET:
        return _terms(their.value or b"") == _terms(our.value or b"")
    return their.value == our.value


def _terms(value: bytes) -> list[bytes]:
    return [term.strip(b"\0 ") for term in value.split(b"\\")]
