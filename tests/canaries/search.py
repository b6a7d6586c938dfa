"""Finds planted texts in the bytes of an output, however they are written there."""

import base64
import re
import struct
import zlib
from collections.abc import Iterable, Iterator

from pydicom.uid import DeflatedExplicitVRLittleEndian

_ESCAPES = re.compile(rb"\x1b(?:\$?[()-]?[A-Z0-9])")


def searchable(data: bytes) -> bytes:
    """Give the object in lower case, with its data set inflated where it is deflated."""
    length = struct.unpack_from("<I", data, 140)[0]
    body = 144 + length
    if DeflatedExplicitVRLittleEndian.encode() in data[132:body]:
        data = data[:body] + zlib.decompress(data[body:], wbits=-zlib.MAX_WBITS)
    return data.lower()


def found(texts: Iterable[str], data: bytes, *codecs: str) -> list[str]:
    """Name the texts that stand in ``data``, as ``searchable`` gave it.

    Looks for each in ASCII or UTF-8, UTF-16 in both byte orders, the given character sets and
    base64 at every alignment.
    """
    return [text for text in texts if any(_stands(n, data) for n in _needles(text, codecs))]


def _stands(needle: bytes, data: bytes) -> bool:
    if not needle.isdigit():
        return needle in data
    # One digit may follow: the next element's group, such as 0032, begins with a byte like one.
    return re.search(rb"(?<![0-9.])%s(?![0-9]{2})" % needle, data) is not None


def _needles(text: str, codecs: Iterable[str]) -> Iterator[bytes]:
    for variant in dict.fromkeys((text, text.lower(), text.upper(), text.title())):
        yield from _base64(variant.encode())
        if variant != text and text.isascii():
            continue  # the data are in lower case
        for codec in dict.fromkeys(("utf-8", "utf-16-le", "utf-16-be", *codecs)):
            coded = variant.encode(codec, "ignore")
            bare = _ESCAPES.sub(b"", coded)
            if len(bare) > 3:
                yield bare.lower()


def _base64(raw: bytes) -> Iterator[bytes]:
    for shift in range(3):
        whole = base64.b64encode(bytes(shift) + raw)
        # What shares a character with its neighbours cannot be told.
        yield whole[4 if shift else 0 : len(whole) // 4 * 4 - 4].lower()
