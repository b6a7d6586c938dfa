"""ICC profiles without what only people read: names, comments, serial numbers and the date.

What tells colours apart stays: matrices, curves, tables and white points. Source: ISO 15076-1
(ICC.1:2010), 7.2 and clauses 9 and 10; PS3.3 2026d, C.11.15.
"""

import struct
from collections.abc import Iterator

_HEADER, _ENTRY = 128, 12
_MOST_TAGS = 100
_U32 = struct.Struct(">I")
_SIGNATURE = slice(36, 40)
# Tags that colours are computed by, and the types of their content: numbers only.
_TAGS = frozenset(
    b"rXYZ gXYZ bXYZ rTRC gTRC bTRC kTRC wtpt bkpt chad lumi A2B0 A2B1 A2B2 B2A0 B2A1 B2A2 "
    b"D2B0 D2B1 D2B2 D2B3 B2D0 B2D1 B2D2 B2D3 gamt pre0 pre1 pre2 meas view".split()
)
_TYPES = frozenset((b"XYZ ", b"curv", b"para", b"sf32", b"mft1", b"mft2", b"mAB ", b"mBA "))
_TYPES |= {b"meas", b"view", b"mpet"}
# In the header: the version's reserved bytes, date and time, platform, manufacturer, model,
# creator, and the digest with the reserved bytes behind it.
_CLEARED = ((4, 8), (10, 12), (40, 44), (48, 56), (80, 128))
_DATE = (24, struct.pack(">6H", 2000, 1, 1, 0, 0, 0))
_NAME, _RIGHTS = "Removed", "None"


def without_text(profile: bytes) -> bytes | None:
    """Return a profile with the same colours and no text; None where it is no ICC profile."""
    if len(profile) < _HEADER + 4 or profile[_SIGNATURE] != b"acsp":
        return None
    tags = list(_numbers(profile))
    if not tags:
        return None
    version = profile[8]
    tags += [(b"desc", _text(_NAME, version)), (b"cprt", _rights(version))]
    offset = _HEADER + 4 + _ENTRY * len(tags)
    table, contents, places = _U32.pack(len(tags)), b"", dict[bytes, int]()
    for signature, content in tags:
        place = places.get(content)
        if place is None:
            place = places[content] = offset + len(contents)
            contents += content + bytes(-len(content) % 4)
        table += struct.pack(">4sII", signature, place, len(content))
    header = bytearray(profile[:_HEADER])
    for start, stop in _CLEARED:
        header[start:stop] = bytes(stop - start)
    header[_DATE[0] : _DATE[0] + len(_DATE[1])] = _DATE[1]
    made = bytes(header) + table + contents
    return _U32.pack(len(made)) + made[4:]


def _numbers(profile: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield signature and content of the tags that colours are computed by, each once."""
    count = min(_U32.unpack_from(profile, _HEADER)[0], _MOST_TAGS)
    seen: set[bytes] = set()
    for number in range(count):
        entry = _HEADER + 4 + _ENTRY * number
        if entry + _ENTRY > len(profile):
            return
        signature, offset, size = struct.unpack_from(">4sII", profile, entry)
        content = profile[offset : offset + size]
        if signature in _TAGS - seen and len(content) == size and content[:4] in _TYPES:
            seen.add(signature)
            yield signature, content[:4] + bytes(4) + content[8:]


def _text(text: str, version: int) -> bytes:
    """Return a description as the profile's version has it: ``mluc``, or ``desc`` before 4."""
    if version >= 4:
        coded = text.encode("utf-16-be")
        return b"mluc" + struct.pack(">4xII2s2sII", 1, 12, b"en", b"US", len(coded), 28) + coded
    plain = text.encode() + b"\0"
    return b"desc" + struct.pack(">4xI", len(plain)) + plain + bytes(78)


def _rights(version: int) -> bytes:
    if version >= 4:
        return _text(_RIGHTS, version)
    return b"text" + bytes(4) + _RIGHTS.encode() + b"\0"
