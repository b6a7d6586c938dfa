"""The last wall: an independent pass over the bytes that are about to leave.

Reads the result with a reader of its own, checks that nothing of what must go is there, and
searches the bytes for every identifying value of the original: names in parts, ids with and
without punctuation, dates, phrases and UIDs; in the declared character set, UTF-8, UTF-16 and
base64. What it finds refuses the instance.
"""

import binascii
import re
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.deid.rules.dummies import dummy_values
from app.deid.rules.text import ANYWHERE, MIN_ID, TERMS, Kind
from app.deid.searching import compile_search
from app.deid.standard import (
    REQUIRED_SOMEWHERE,
    ROWS,
    dictionary_vr,
    uid_role,
    well_known_uid,
)
from app.dicom.elements import LONG_VRS, VRS, tag_text
from app.errors import MalformedDicom, ResidualIdentifier

_HEADER = struct.Struct("<HH2sH").unpack_from
_U32 = struct.Struct("<I").unpack_from
_UNDEFINED = 0xFFFFFFFF
_LONG = frozenset(vr.encode() for vr in LONG_VRS)
_KNOWN = frozenset(vr.encode() for vr in VRS)
_GONE = frozenset(tag for tag, row in ROWS.items() if row.basic == "X") - REQUIRED_SOMEWHERE
_NUMBERS = frozenset({b"AT", b"FD", b"FL", b"SL", b"SS", b"SV", b"UL", b"US", b"UV"})
_MIN_IN_NUMBERS = 8
_MIN_IN_BULK = 6
_BULK = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"UN"})
_DUMMIES = {
    vr.encode(): frozenset(v.rstrip(b"\0 ") for v in dummy_values(0, vr)) | {b""}
    for vr in ("DA", "DT", "PN", "TM")
}
# Words of our dummy items and markers: whole values, and the same for everybody.
_DUMMY_TEXTS = frozenset(v.rstrip() for v in dummy_values(0, "LO")) | {
    *(b"CONTAINS", b"TEXT", b"PIXEL", b"POINT", b"LAYER", b"YES"),
    *(b"121106", b"DCM", b"Comment", b"99DEID", b"Removed"),
}


@dataclass(frozen=True, slots=True)
class _Leaf:
    """One element of the result that is no sequence."""

    tag: int
    vr: bytes
    start: int
    stop: int


def verify(
    data: bytes,
    *,
    explicit: bool,
    values: tuple[tuple[Kind, bytes, bytes], ...],
    uids: Iterable[str],
    own: frozenset[bytes],
) -> None:
    """Check one de-identified data set, without its pixel value.

    Args:
        data: little endian elements from the first to the last.
        explicit: whether their headers carry a VR.
        values: the original's identifying values (kind, bytes, character set).
        uids: the original's UIDs that were mapped.
        own: values that the gateway itself wrote, without padding.

    Raises:
        ResidualIdentifier: naming the tag.
    """
    try:
        leaves = _read(data, explicit=explicit)
    except (struct.error, IndexError, MalformedDicom):
        raise ResidualIdentifier("The result cannot be read back") from None
    originals = frozenset(uids)
    for leaf in leaves:
        _check_leaf(data, leaf, originals, own)
    search = compile_search(values)
    starts = [leaf.start for leaf in leaves]
    for start, stop in search.hits(data):
        index = bisect_right(starts, start) - 1
        if index >= 0 and _counts(data, leaves[index], start, stop, own):
            raise ResidualIdentifier(path=tag_text(leaves[index].tag))
    _check_uids(data, originals)
    for hidden in _hidden_texts(data):
        if any(True for _ in search.hits(hidden)) or _holds_uid(hidden, originals):
            raise ResidualIdentifier("An identifying value was left in the result, encoded")


def _read(  # noqa: C901, PLR0915 - one loop, no call per element
    data: bytes, *, explicit: bool
) -> list[_Leaf]:
    """Return every element that is no sequence, at any depth."""
    leaves: list[_Leaf] = []
    # Open containers: end (None: delimited) and whether their elements carry a VR.
    open_ends: list[int | None] = [len(data)]
    modes = [explicit]
    position = 0
    while open_ends:
        end = open_ends[-1]
        if position == end:
            open_ends.pop()
            modes.pop()
            continue
        if end is not None and position > end:
            raise MalformedDicom
        group, element, vr, short = _HEADER(data, position)
        if group == 0xFFFE:
            length = _U32(data, position + 4)[0]
            position += 8
            if element == 0xE000:
                open_ends.append(None if length == _UNDEFINED else position + length)
                modes.append(modes[-1])
            else:
                open_ends.pop()
                modes.pop()
            continue
        tag = group << 16 | element
        _check_tag(tag)
        if modes[-1]:
            if vr not in _KNOWN:
                raise MalformedDicom
            if vr in _LONG:
                length, value = _U32(data, position + 8)[0], position + 12
            else:
                length, value = short, position + 8
        else:
            length, value = _U32(data, position + 4)[0], position + 8
            vr = (dictionary_vr(tag) or "UN")[:2].encode()
        is_sequence = vr == b"SQ" or (vr == b"UN" and dictionary_vr(tag) == "SQ")
        if is_sequence or length == _UNDEFINED:
            open_ends.append(None if length == _UNDEFINED else value + length)
            modes.append(modes[-1] and vr == b"SQ")
            position = value
            continue
        position = value + length
        leaves.append(_Leaf(tag, vr, value, position))
    return leaves


def _check_tag(tag: int) -> None:
    group = tag >> 16
    odd_one = group & 1 or group < 8 or not tag & 0xFFFF
    if odd_one or tag in _GONE or 0x5000 <= group <= 0x501E or 0x6000 <= group <= 0x601E:
        raise ResidualIdentifier("An element that must go is in the result", path=tag_text(tag))


def _check_leaf(data: bytes, leaf: _Leaf, uids: frozenset[str], own: frozenset[bytes]) -> None:
    allowed = _DUMMIES.get(leaf.vr)
    if allowed is not None:
        value = data[leaf.start : leaf.stop].rstrip(b"\0 ")
        if value not in allowed and value not in own:
            raise ResidualIdentifier("A name, date or time was left", path=tag_text(leaf.tag))
    elif leaf.vr == b"UI":
        for uid in data[leaf.start : leaf.stop].decode("latin-1").split("\\"):
            bare = uid.strip("\0 ")
            if bare in uids or not (
                not bare
                or bare.startswith("2.25.")
                or well_known_uid(bare)
                or uid_role(leaf.tag) == "keep"
            ):
                raise ResidualIdentifier("A UID was left", path=tag_text(leaf.tag))


def _counts(data: bytes, leaf: _Leaf, start: int, stop: int, own: frozenset[bytes]) -> bool:
    """Say whether a match is one: not across elements, not a number by chance, not our own text."""
    if stop > leaf.stop or leaf.vr == b"UI":
        return False
    if leaf.vr in _NUMBERS:
        return stop - start >= _MIN_IN_NUMBERS
    if leaf.vr in _BULK:
        return stop - start >= _MIN_IN_BULK
    value = data[leaf.start : leaf.stop]
    begin = value.rfind(b"\\", 0, start - leaf.start) + 1
    end = value.find(b"\\", stop - leaf.start)
    component = value[begin : end if end >= 0 else None].strip(b"\0 ")
    if component in own or component in _DUMMY_TEXTS:
        return False
    if leaf.vr in {b"DS", b"IS"}:
        return stop - start == len(component) and len(component) > ANYWHERE
    return not (leaf.vr == b"CS" and component.decode("latin-1") in TERMS)


_UID_RUN = re.compile(rb"[0-2](?:\.[0-9]+){3,}")
_FEW = 24


def _check_uids(data: bytes, uids: frozenset[str]) -> None:
    if len(uids) <= _FEW:
        found = any(_stands_alone(data, uid.encode("ascii", "replace")) for uid in uids)
    else:
        found = _holds_uid(data, uids)
    if found:
        raise ResidualIdentifier("A UID was left")


def _stands_alone(data: bytes, uid: bytes) -> bool:
    """Say whether a UID stands in the data and is not merely the digits of a longer number."""
    position = data.find(uid) if len(uid) > MIN_ID else -1
    while position >= 0:
        after = data[position + len(uid) : position + len(uid) + 1]
        if not after.isdigit() and not data[max(position - 1, 0) : position].isdigit():
            return True
        position = data.find(uid, position + 1)
    return False


def _holds_uid(data: bytes, uids: frozenset[str]) -> bool:
    return any(run.decode() in uids for run in _UID_RUN.findall(data))


_BASE64 = bytes(
    0x41 if chr(b).isascii() and (chr(b).isalnum() or chr(b) in "+/-_") else 0x20
    for b in range(256)
)
_WIDE = bytes(0x41 if 0x20 <= b < 0x7F else 0x30 if b == 0 else 0x20 for b in range(256))
_MIN_BASE64 = 20
_MIN_WIDE = 5


def _hidden_texts(data: bytes) -> Iterator[bytes]:
    """Yield what base64 and UTF-16 runs in the data say."""
    mask = data.translate(_BASE64)
    position = mask.find(b"A" * _MIN_BASE64)
    while position >= 0:
        stop = mask.find(b" ", position)
        stop = len(mask) if stop < 0 else stop
        run = data[position:stop].translate(bytes.maketrans(b"-_", b"+/"))
        if not run.isdigit():
            for skip in range(4):
                yield binascii.a2b_base64(run[skip : skip + (len(run) - skip) // 4 * 4])
        position = mask.find(b"A" * _MIN_BASE64, stop)
    mask = data.translate(_WIDE)
    if b"A0" * _MIN_WIDE in mask or b"0A" * _MIN_WIDE in mask:
        for wide in re.finditer(rb"(?:A0){4,}A?|(?:0A){4,}", mask):
            yield data[wide.start() : wide.end()].replace(b"\0", b"")
