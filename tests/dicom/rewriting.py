"""Tokens written back without a profile: what was read must come out again."""

import struct
from enum import StrEnum

from app.dicom import part10
from app.dicom.elements import encode_item, encode_text, vr_code
from app.dicom.tokens import Dataset, Items, Tokens

_ITEM = b"\xfe\xff\x00\xe0"
_ITEM_END = b"\xfe\xff\x0d\xe0" + bytes(4)
_SEQUENCE_END = b"\xfe\xff\xdd\xe0" + bytes(4)
_UNDEFINED = b"\xff" * 4
_SQ = vr_code("SQ")


class Lengths(StrEnum):
    """How lengths of sequences and items are written."""

    KEPT = "as they were"
    DEFINED = "all defined"
    UNDEFINED = "all undefined"


def rewrite(tokens: Tokens, lengths: Lengths = Lengths.KEPT) -> bytes:
    """Return preamble, a File Meta with the transfer syntax alone, and the data set."""
    syntax = encode_text(0x00020010, "UI", _written_syntax(tokens), explicit=True)
    return bytes(128) + b"DICM" + syntax + rewrite_dataset(tokens, lengths)


def rewrite_dataset(tokens: Tokens, lengths: Lengths = Lengths.KEPT) -> bytes:
    """Return the data set from its first element to the last behind the pixel value."""
    parts = [_elements(tokens.root, tokens.buffer, lengths)]
    if tokens.pixels is not None:
        pixels = tokens.pixels
        parts.append(tokens.source.read(pixels.start, pixels.stop - pixels.start))
    if tokens.tail is not None:
        parts.append(_elements(tokens.tail, tokens.tail_buffer, lengths))
    return b"".join(parts)


def _written_syntax(tokens: Tokens) -> str:
    if not tokens.root.explicit:
        return part10.IMPLICIT_LE
    syntax = tokens.transfer_syntax
    return part10.EXPLICIT_LE if syntax == part10.IMPLICIT_LE else syntax


def _elements(dataset: Dataset, buffer: bytes, lengths: Lengths) -> bytes:
    parts = []
    for index in range(len(dataset.keys)):
        start, stop = dataset.span(index)
        items = dataset.sequences.get(index)
        if items is None:
            parts.append(buffer[start:stop])
            continue
        value_start, _ = dataset.value_span(index)
        # An UN of defined length would be opaque.
        form = lengths if dataset.keys[index] >> 32 == _SQ else Lengths.KEPT
        parts += (buffer[start : value_start - 4], _items(items, buffer, form))
    return b"".join(parts)


def _items(items: Items, buffer: bytes, lengths: Lengths) -> bytes:
    """Return the length of a sequence and its items."""
    content = b"".join(_item(item, buffer, lengths) for item in items.datasets)
    if _is_delimited(lengths, kept=items.delimited):
        return _UNDEFINED + content + _SEQUENCE_END
    return struct.pack("<I", len(content)) + content


def _item(item: Dataset, buffer: bytes, lengths: Lengths) -> bytes:
    content = _elements(item, buffer, lengths)
    if _is_delimited(lengths, kept=item.delimited):
        return _ITEM + _UNDEFINED + content + _ITEM_END
    return encode_item(content)


def _is_delimited(lengths: Lengths, *, kept: bool) -> bool:
    return kept if lengths is Lengths.KEPT else lengths is Lengths.UNDEFINED
