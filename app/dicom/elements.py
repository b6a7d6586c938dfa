"""Tags, keys, paths and the encoding of single elements.

A *key* is one element's identity as one integer, laid out as the first six bytes of an explicit
little endian header read as a number: group in bits 0-15, element in 16-31, VR in 32-47. A *tag*
is ``group << 16 | element`` as everywhere else.
"""

import struct
from collections.abc import Iterable
from functools import cache, lru_cache

from pydicom._dicom_dict import DicomDictionary

UNDEFINED_LENGTH = 0xFFFFFFFF

# VRs whose explicit header has a 32-bit length. Source: PS3.5 2026d, 7.1.2.
LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
SHORT_VRS = frozenset(
    {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT"}
    | {"PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US"}
)
VRS = LONG_VRS | SHORT_VRS
# VRs whose text follows Specific Character Set. Source: PS3.5 2026d, 6.1.2.3.
CHARSET_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
TEXT_VRS = CHARSET_VRS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}

PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})

_SHORT = struct.Struct("<HH2sH").pack
_LONG = struct.Struct("<HH2sHI").pack
_IMPLICIT = struct.Struct("<HHI").pack


def vr_code(vr: str) -> int:
    """Return the VR's two letters as they stand in a key."""
    return ord(vr[0]) | ord(vr[1]) << 8


def make_key(tag: int, vr: str) -> int:
    """Return the key of ``tag`` with ``vr``."""
    return tag >> 16 | (tag & 0xFFFF) << 16 | vr_code(vr) << 32


@cache
def key_vr(code: int) -> str:
    """Return the two letters of a key's VR bits (``key >> 32``)."""
    return chr(code & 0xFF) + chr(code >> 8)


def key_tag(key: int) -> int:
    """Return the tag of a key."""
    return (key & 0xFFFF) << 16 | key >> 16 & 0xFFFF


@lru_cache(maxsize=16_384)  # tags are the sender's choice: not without bound
def tag_text(tag: int) -> str:
    """Return ``(gggg,eeee)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def path_text(path: Iterable[tuple[int, int]], tag: int | None = None) -> str:
    """Return a path of (sequence tag, item number from 0) pairs as text.

    Example: ``(0040,A730)[3].(0040,A160)``.
    """
    steps = [f"{tag_text(sequence)}[{item}]" for sequence, item in path]
    if tag is not None:
        steps.append(tag_text(tag))
    return ".".join(steps)


def pad(value: bytes, vr: str) -> bytes:
    """Return ``value`` with the padding that makes its length even."""
    if len(value) % 2 == 0:
        return value
    return value + (b"\0" if vr in {"UI", "OB", "UN"} else b" ")


def encode_element(tag: int, vr: str, value: bytes, *, explicit: bool) -> bytes:
    """Return one little endian element of defined length.

    Source: PS3.5 2026d, 7.1. Args: value: even length, already encoded.
    """
    group, element, length = tag >> 16, tag & 0xFFFF, len(value)
    if not explicit:
        return _IMPLICIT(group, element, length) + value
    if vr in LONG_VRS:
        return _LONG(group, element, vr.encode(), 0, length) + value
    return _SHORT(group, element, vr.encode(), length) + value


def encode_text(tag: int, vr: str, text: str, *, explicit: bool) -> bytes:
    """Return one element with an ASCII value."""
    return encode_element(tag, vr, pad(text.encode("ascii"), vr), explicit=explicit)


def encode_item(content: bytes) -> bytes:
    """Return ``content`` as one sequence item of defined length."""
    return _IMPLICIT(0xFFFE, 0xE000, len(content)) + content


def value_offset(key: int, *, explicit: bool) -> int:
    """Return how many bytes the header of an element with this key takes."""
    return 12 if explicit and key >> 32 in LONG_CODES else 8


def _dictionary_keys() -> dict[int, int]:
    """Return for implicit VR: tag as read (little endian number) → key with its VR."""
    keys = {}
    for tag, (vr, *_rest) in DicomDictionary.items():
        if tag >> 16 in {0x0000, 0xFFFE}:  # no elements of a data set: commands and delimiters
            continue
        # ``US or SS``: the first; ``OB or OW``: implicit VR always means OW (PS3.5 2026d, A.1).
        known = "OW" if vr.startswith("OB or") else vr[:2]
        if known in VRS:
            keys[tag >> 16 | (tag & 0xFFFF) << 16] = make_key(tag, known)
    return keys


LONG_CODES = frozenset(vr_code(vr) for vr in LONG_VRS)
SHORT_CODES = frozenset(vr_code(vr) for vr in SHORT_VRS)
IMPLICIT_KEYS = _dictionary_keys()
