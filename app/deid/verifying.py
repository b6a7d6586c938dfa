"""The last wall: an independent pass over the bytes that are about to leave.

Reads the result with a reader of its own, checks that nothing of what must go is there, and
searches the bytes for every identifying value of the original: names in parts, ids with and
without punctuation, dates, phrases and UIDs; in the declared character set, UTF-8, UTF-16,
base64 and hexadecimal. What it finds refuses the instance.
"""

import binascii
import re
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

from app.deid.attributes import ENCAPSULATED_DOCUMENT, PIXEL_DATA
from app.deid.expecting import ElementClass, Expectation, Privates, expectation_of
from app.deid.private import NO_DECLARATIONS, Declarations
from app.deid.rulebook import BASIC, Rulebook
from app.deid.rules.dummies import dummy_values
from app.deid.rules.identifiers import (
    ANYWHERE,
    MIN_ID,
    NUMERIC,
    Identifier,
    is_ordinary,
)
from app.deid.rules.temporal import is_temporal, is_timezone
from app.deid.rules.vocabulary import CODE_STRINGS, is_unit
from app.deid.searching import SEPARATOR, Search, compile_search
from app.deid.standard import is_uid, uid_role, well_known_uid
from app.deid.substitutes import Originals
from app.dicom.elements import CHARSET_VRS, tag_text
from app.errors import MalformedDicom, ResidualIdentifier

_U64 = struct.Struct("<Q").unpack_from
_U32 = struct.Struct("<I").unpack_from
_UNDEFINED = 0xFFFFFFFF
_NUMBERS = frozenset({b"AT", b"FD", b"FL", b"SL", b"SS", b"SV", b"UL", b"US", b"UV"})
_MIN_IN_NUMBERS = 8
_MIN_IN_BULK = 6
_MAX_NUMBER = 64
_TEXT_BYTES = bytes((9, 10, 13, *range(0x20, 0x7F), *range(0x80, 0x100)))
_TEXTS = frozenset(vr.encode() for vr in CHARSET_VRS) | {b"AE", b"CS", b"UN"}
_BULK = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"UN"})
# Words of our dummy items and markers: whole values, and the same for everybody.
_DUMMY_TEXTS = frozenset(v.rstrip() for v in dummy_values(0, "LO")) | {
    *(b"CONTAINS", b"TEXT", b"PIXEL", b"POINT", b"LAYER", b"YES"),
    *(b"121106", b"DCM", b"Comment", b"99DEID", b"Removed"),
}


# One element of the result that is no sequence: value begin and end, tag, class.
_Leaf = tuple[int, int, int, ElementClass]


@dataclass(frozen=True, slots=True, repr=False)
class Texts:
    """Text values of a result, a separator between them, for a look at other spellings.

    Attributes:
        free: of attributes where no identifying value may stand.
        retained: of attributes that an option retains.
    """

    free: bytes
    retained: bytes


def verify(
    data: bytes,
    *,
    explicit: bool,
    originals: Originals,
    own: frozenset[bytes],
    rules: Rulebook = BASIC,
    declared: Declarations = NO_DECLARATIONS,
) -> Texts:
    """Check one de-identified data set, without its pixel value; return its text values.

    Args:
        data: little endian elements from the first to the last.
        explicit: whether their headers carry a VR.
        originals: what must not be found.
        own: values that the gateway itself wrote, without padding.
        rules: the profile's.
        declared: what the instance declares of its private blocks.

    Raises:
        ResidualIdentifier: naming the tag.
    """
    expected = expectation_of(rules)
    privates = Privates(expected, declared)
    try:
        leaves = _read(data, originals.uids, own | originals.written, privates, explicit=explicit)
    except (struct.error, IndexError, MalformedDicom):
        raise ResidualIdentifier("The result cannot be read back") from None
    search = compile_search(originals.values)
    for start, stop in search.hits(data):
        index = bisect_right(leaves, start, key=itemgetter(0)) - 1
        if index >= 0 and _counts(data, leaves[index], start, stop, own):
            raise ResidualIdentifier(path=tag_text(leaves[index][2]))
    retained = [leaf for leaf in leaves if leaf[3].retained]
    if retained:
        _check_retained(data, retained, compile_search(originals.others), own)
    _check_uids(data, originals.uids)
    for hidden in _hidden_texts(_without(data, own)):
        found = (span for span in search.hits(hidden) if not _is_ramp(hidden, *span))
        if any(found) or _holds_uid(hidden, originals.uids):
            raise ResidualIdentifier("An identifying value was left in the result, encoded")
    texts = [leaf for leaf in leaves if leaf[3].vr in _TEXTS and not leaf[3].temporal]
    if not retained:
        return Texts(joined([data[start:stop] for start, stop, _, _ in texts]), b"")
    return Texts(
        joined([data[start:stop] for start, stop, _, kind in texts if not kind.retained]),
        joined([data[start:stop] for start, stop, _, kind in texts if kind.retained]),
    )


def joined(texts: list[bytes]) -> bytes:
    """Return texts as one, told apart by a separator that stands in none of them."""
    text = SEPARATOR.join(texts)
    if text.count(SEPARATOR) >= max(len(texts), 1):
        return SEPARATOR.join([one.replace(SEPARATOR, b"") for one in texts])
    return text


def holds_identifiers(document: bytes, identifiers: Iterable[Identifier]) -> bool:
    """Say whether an identifying value stands in the bytes of an encapsulated document.

    In a text every match counts, in other bytes those that are too long to be there by chance.
    """
    values = dict.fromkeys((one.kind, one.text.encode(), b"ISO_IR 192") for one in identifiers)
    search = compile_search(tuple(values))
    if any(_stands_in(document, start, stop) for start, stop in search.hits(document)):
        return True
    return any(
        not _is_ramp(hidden, *span)
        for hidden in _hidden_texts(document)
        for span in search.hits(hidden)
    )


def check_stream(data: bytes, originals: Originals, least: int) -> None:
    """Search a part of a compressed stream, in which texts are there by chance if they are short.

    Args:
        data: the part.
        originals: what must not be found.
        least: bytes that a match has at least.

    Raises:
        ResidualIdentifier: naming Pixel Data.
    """
    for start, stop in compile_search(originals.values).hits(data):
        if stop - start >= least and not _is_ramp(data, start, stop):
            raise ResidualIdentifier(path=tag_text(PIXEL_DATA))
    _check_uids(data, originals.uids)


def _stands_in(document: bytes, start: int, stop: int) -> bool:
    first = max(start - _MAX_NUMBER, 0)
    around = document[first : stop + _MAX_NUMBER]
    if is_ordinary(around.decode("latin-1").lower(), start - first, stop - first):
        return False
    if _is_text(around):
        return True
    return stop - start >= _MIN_IN_BULK and not _is_ramp(document, start, stop)


def _is_text(data: bytes) -> bool:
    """Say whether bytes are text: no control characters but those that lay it out."""
    return not data.translate(None, _TEXT_BYTES)


def _check_retained(
    data: bytes, leaves: list[_Leaf], search: Search, own: frozenset[bytes]
) -> None:
    """Refuse a retained attribute that holds more than its own value."""
    for leaf in leaves:
        begin, end, tag, _ = leaf
        for start, stop in search.hits(data[begin:end]):
            if _is_residue(data, leaf, begin + start, begin + stop, own):
                raise ResidualIdentifier(path=tag_text(tag))


def _read(  # noqa: C901, PLR0912, PLR0915 - one loop, no call per element
    data: bytes,
    uids: frozenset[str],
    own: frozenset[bytes],
    privates: Privates,
    *,
    explicit: bool,
) -> list[_Leaf]:
    """Return every element that is no sequence, at any depth; refuse what must not be there."""
    leaves: list[_Leaf] = []
    add = leaves.append
    expected = privates.expected
    known, classify, has_paths = expected.known, expected.of, expected.has_paths
    # Open containers: end (None: delimited), whether their elements carry a VR, their beginning,
    # what is expected in them.
    outer: list[tuple[int | None, bool, int, Expectation]] = []
    here = 0
    end: int | None = len(data)
    position = 0
    while True:
        if position == end:
            if not outer:
                return leaves
            end, explicit, here, expected = outer.pop()
            if has_paths:
                known, classify = expected.known, expected.of
            continue
        if end is not None and position > end:
            raise MalformedDicom
        word = _U64(data, position)[0]
        if word & 0xFFFF == 0xFFFE:
            position += 8
            if word >> 16 & 0xFFFF == 0xE000:
                outer.append((end, explicit, here, expected))
                here = position
                length = word >> 32
                end = None if length == _UNDEFINED else position + length
            else:
                end, explicit, here, expected = outer.pop()
                if has_paths:
                    known, classify = expected.known, expected.of
            continue
        key = word & 0xFFFFFFFFFFFF if explicit else word & 0xFFFFFFFF
        kind = known.get(key) or (
            privates.of(key, data, position, here) if word & 1 else classify(key)
        )
        if not explicit:
            length = word >> 32
        elif kind.is_long:
            length = _U32(data, position + 8)[0]
        else:
            length = word >> 48
        position += kind.header
        if kind.is_sequence or length == _UNDEFINED:
            outer.append((end, explicit, here, expected))
            end = None if length == _UNDEFINED else position + length
            explicit = kind.explicit
            if has_paths:
                expected = expected.inside((word & 0xFFFF) << 16 | word >> 16 & 0xFFFF)
                known, classify = expected.known, expected.of
            continue
        start, position = position, position + length
        tag = (word & 0xFFFF) << 16 | word >> 16 & 0xFFFF
        add((start, position, tag, kind))
        if kind.allowed is not None:
            value = data[start:position].rstrip(b"\0 ")
            if value not in kind.allowed and value not in own:
                raise ResidualIdentifier("An original value was left", path=tag_text(tag))
        elif kind.vr == b"UI":
            _check_ui(data[start:position], tag, uids, keeps=kind.keeps_uid)
        elif kind.temporal:
            _check_temporal(data[start:position], tag, kind.temporal)


def _check_temporal(value: bytes, tag: int, vr: str) -> None:
    if not value.strip(b"\0 "):
        return
    if not (is_timezone(value) if vr == "SH" else is_temporal(value, vr)):
        raise ResidualIdentifier("This is no date or time", path=tag_text(tag))


def _check_ui(value: bytes, tag: int, uids: frozenset[str], *, keeps: bool) -> None:
    if value.startswith(b"2.25.") and b"\\" not in value:
        if value.rstrip(b"\0 ").decode("latin-1") in uids:
            raise ResidualIdentifier("A UID was left", path=tag_text(tag))
        return
    for uid in value.decode("latin-1").split("\\"):
        bare = uid.strip("\0 ")
        if bare in uids or not (
            bare.startswith("2.25.")
            or not bare
            or well_known_uid(bare)
            or uid_role(tag) == "keep"
            or (keeps and is_uid(bare))
        ):
            raise ResidualIdentifier("A UID was left", path=tag_text(tag))


def _counts(data: bytes, leaf: _Leaf, start: int, stop: int, own: frozenset[bytes]) -> bool:
    """Say whether a match is one; what may hold nothing else was checked as a whole."""
    begin, end, tag, kind = leaf
    if kind.retained or kind.temporal or kind.allowed is not None:
        return False
    if tag == ENCAPSULATED_DOCUMENT and data[begin:end].rstrip(b"\0 ") in own:
        return False  # a cleaned one, searched when it came
    return _is_residue(data, leaf, start, stop, own)


def _is_residue(  # noqa: PLR0911 - a table
    data: bytes, leaf: _Leaf, start: int, stop: int, own: frozenset[bytes]
) -> bool:
    """Say whether a match is one: not across elements, not a number by chance, not our own text."""
    begin, end, tag, kind = leaf
    vr = kind.vr
    if stop > end:
        return False
    first = max(start - _MAX_NUMBER, begin)
    around = data[first : min(stop + _MAX_NUMBER, end)].decode("latin-1").lower()
    if is_ordinary(around, start - first, stop - first):
        return False
    if vr == b"UI":
        # Digits of a mapped UID mean nothing; a kept one may be somebody's number.
        coding = uid_role(tag) == "keep" and not data.startswith(b"2.25.", begin)
        return coding and not well_known_uid(data[begin:end].rstrip(b"\0 ").decode("latin-1"))
    if vr in _NUMBERS:
        return stop - start >= _MIN_IN_NUMBERS
    if vr in _BULK:
        return stop - start >= _MIN_IN_BULK and not _is_ramp(data, start, stop)
    begin = max(data.rfind(b"\\", begin, start) + 1, begin)
    behind = data.find(b"\\", stop, end)
    component = data[begin : behind if behind >= 0 else end].strip(b"\0 ")
    if component in own or component in _DUMMY_TEXTS:
        return False
    is_short = len(component) <= _MAX_NUMBER
    if is_short and vr in {b"DS", b"IS"} and NUMERIC.fullmatch(component.decode("latin-1")):
        return stop - start == len(component) and len(component) > ANYWHERE
    text = component.decode("latin-1")
    return not ((vr == b"CS" and text in CODE_STRINGS) or is_unit(tag, text))


def _is_ramp(data: bytes, start: int, stop: int) -> bool:
    """Say whether a match such as ``123456`` is part of rising or falling values in a table."""
    steps = {after - before for before, after in pairwise(data[start:stop])}
    if steps not in ({1}, {-1}):
        return False
    step = steps.pop()
    rises_to = start > 0 and data[start] - data[start - 1] == step
    return rises_to or (stop < len(data) and data[stop] - data[stop - 1] == step)


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
_MAPPED_UID = re.compile(rb"2\.25\.[0-9]+")
_MIN_BASE64 = 12
_MIN_WIDE = 5


def _without(data: bytes, own: frozenset[bytes]) -> bytes:
    """Return the data without mapped UIDs and what the gateway wrote: runs of letters, too."""
    for value in own:
        if len(value) >= _MIN_BASE64:
            data = data.replace(value, b" ")
    return _MAPPED_UID.sub(b" ", data)


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
