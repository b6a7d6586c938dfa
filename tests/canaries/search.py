"""Finds planted texts in the bytes of an output, however they are written there."""

import base64
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress

from ahocorasick_rs import BytesAhoCorasick
from pydicom.uid import DeflatedExplicitVRLittleEndian

_ESCAPES = re.compile(rb"\x1b(?:\$?[()-]?[A-Z0-9])")


# What a zlib stream, a gzip member and a deflated file of a ZIP archive begin with.
_PACKED = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08|PK\x03\x04", re.DOTALL)
_ZIP_HEADER = struct.Struct("<26xHH")


def searchable(data: bytes) -> bytes:
    """Give the object in lower case, inflated where it is deflated, what is packed in it behind."""
    length = struct.unpack_from("<I", data, 140)[0] if data[128:132] == b"DICM" else 0
    body = 144 + length
    if DeflatedExplicitVRLittleEndian.encode() in data[132:body]:
        data = data[:body] + zlib.decompress(data[body:], wbits=-zlib.MAX_WBITS)
    return unpacked(unpacked(data)).lower()


def unpacked(data: bytes) -> bytes:
    """Append what streams inside the data inflate to."""
    return b"\0".join([data, *filter(None, _streams(data))])


def _streams(data: bytes) -> Iterator[bytes]:
    for match in _PACKED.finditer(data):
        start, wbits = match.start(), zlib.MAX_WBITS | 32
        if match.group() == b"PK\x03\x04" and len(data) >= start + 30:
            start, wbits = start + 30 + sum(_ZIP_HEADER.unpack_from(data, start)), -zlib.MAX_WBITS
        with suppress(zlib.error):
            yield zlib.decompressobj(wbits).decompress(data[start:])


def found(texts: Iterable[str], data: bytes, *codecs: str) -> list[str]:
    """Name the texts that stand in ``data``, as ``searchable`` gave it.

    Looks for each in ASCII or UTF-8, UTF-16 in both byte orders, the given character sets, base64
    at every alignment and hexadecimal.
    """
    needles = {needle: text for text in texts for needle in _needles(text, codecs)}
    automaton = BytesAhoCorasick(list(needles))
    names = list(needles.values())
    hits = automaton.find_matches_as_indexes(data, overlapping=True)
    standing = {names[index] for index, *span in hits if _stands(data, *span)}
    return [text for text in dict.fromkeys(names) if text in standing]


def _stands(data: bytes, start: int, stop: int) -> bool:
    """Say whether a match is one; digits have to stand alone."""
    if not data[start:stop].isdigit():
        return True
    # One digit may follow: the next element's group, such as 0032, begins with a byte like one.
    before, after = data[max(start - 1, 0) : start], data[stop : stop + 2]
    return not (before.isdigit() or before == b"." or (len(after) == 2 and after.isdigit()))


def _needles(text: str, codecs: Iterable[str]) -> Iterator[bytes]:
    for variant in dict.fromkeys((text, text.lower(), text.upper(), text.title())):
        yield from _base64(variant.encode())
        yield variant.encode().hex().encode()
        if variant != text and text.isascii():
            continue  # the data are in lower case
        for codec in dict.fromkeys(("utf-8", "utf-16-le", "utf-16-be", *codecs)):
            coded = variant.encode(codec, "ignore")
            bare = _ESCAPES.sub(b"", coded)
            if len(bare) > 3:
                yield bare.lower()


def _base64(raw: bytes) -> Iterator[bytes]:
    for shift in range(3):
        whole = base64.b64encode(bytes(shift) + raw).rstrip(b"=")
        # Characters that carry bits of what stands beside the text cannot be told.
        last = len(whole) - (1 if (shift + len(raw)) % 3 else 0)
        needle = whole[(0, 2, 3)[shift] : last].lower()
        if len(needle) > 5:
            yield needle
