"""The tokeniser: where each element of a Part 10 stream lies, and no value decoded.

Reads preamble, File Meta and the data set up to Pixel Data into *datasets of spans*, keeps the
pixel value's place without reading it, and takes up again behind it. Nothing is interpreted that
no rule needs.
"""

import struct
import zlib
from dataclasses import dataclass, field

from app.dicom import bigendian
from app.dicom.elements import (
    IMPLICIT_KEYS,
    LONG_VRS,
    PIXEL_TAGS,
    SHORT_VRS,
    UNDEFINED_LENGTH,
    key_tag,
    path_text,
    vr_code,
)
from app.dicom.source import MemorySource, Source
from app.errors import (
    GatewayError,
    LimitExceeded,
    MalformedDicom,
    NotDicom,
    Truncated,
    UnsupportedTransferSyntax,
)

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BE = "1.2.840.10008.1.2.2"

_U64 = struct.Struct("<Q").unpack_from
_U32 = struct.Struct("<I").unpack_from
_PAIR = struct.Struct("<II").unpack_from

_ITEM = 0xE000FFFE
_ITEM_END = 0xE00DFFFE
_SEQUENCE_END = 0xE0DDFFFE

_SHORT, _LONG, _SEQUENCE, _UNKNOWN = 0, 1, 2, 3
_KINDS = (
    dict.fromkeys(map(vr_code, SHORT_VRS), _SHORT)
    | dict.fromkeys(map(vr_code, LONG_VRS), _LONG)
    | {vr_code("SQ"): _SEQUENCE, vr_code("UN"): _UNKNOWN}
)
_SQ_CODE = vr_code("SQ")
_UN_BITS = vr_code("UN") << 32
_LO_BITS = vr_code("LO") << 32
_UL_BITS = vr_code("UL") << 32
_PIXEL_NUMBERS = frozenset(tag >> 16 | (tag & 0xFFFF) << 16 for tag in PIXEL_TAGS)
_FIRST_WINDOW = 64 * 1024
_ENDLESS = 1 << 62


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one instance; what passes one is refused.

    Args:
        max_header_bytes: everything but the pixel value.
        max_elements: elements and items together, also pixel fragments.
        max_depth: nested sequences.
        max_converted_bytes: size of a data set after inflation or conversion.
    """

    max_header_bytes: int = 64 * 1024 * 1024
    max_elements: int = 1_000_000
    max_depth: int = 32
    max_converted_bytes: int = 512 * 1024 * 1024


class Dataset:
    """The elements of one data set or item, as places in the buffer.

    Attributes:
        keys: one key per element, in the order of the stream.
        starts: where each element begins; it ends where the next begins, the last at ``stop``.
        sequences: element index → its items, for elements that hold items.
        stop: end of the last element.
        explicit: whether element headers carry a VR.
        begin: for an item, where its item tag begins.
        after: for an item, the first byte behind it, its delimiter included.
        delimited: for an item, whether its length is undefined.
    """

    __slots__ = ("after", "begin", "delimited", "explicit", "keys", "sequences", "starts", "stop")

    def __init__(self, *, explicit: bool) -> None:
        self.keys: list[int] = []
        self.starts: list[int] = []
        self.sequences: dict[int, Items] = {}
        self.stop = 0
        self.explicit = explicit
        self.begin = 0
        self.after = 0
        self.delimited = False

    def span(self, index: int) -> tuple[int, int]:
        """Return begin and end of an element, header included."""
        following = index + 1
        starts = self.starts
        return starts[index], starts[following] if following < len(starts) else self.stop

    def value_span(self, index: int) -> tuple[int, int]:
        """Return begin and end of an element's value."""
        start, stop = self.span(index)
        long_header = self.explicit and _KINDS[self.keys[index] >> 32] != _SHORT
        return start + (12 if long_header else 8), stop


class Items:
    """The items of one sequence; ``delimited`` says that its length is undefined."""

    __slots__ = ("datasets", "delimited", "explicit")

    def __init__(self, *, explicit: bool, delimited: bool) -> None:
        self.datasets: list[Dataset] = []
        self.delimited = delimited
        self.explicit = explicit


@dataclass(slots=True)
class PixelValue:
    """Where the pixel value lies in the source.

    Attributes:
        key: tag and VR of the element.
        start: first byte of the element's header.
        value: first byte of the value; for encapsulated data, of its first item.
        length: length of a native value in bytes; None when encapsulated.
        fragments: offset and length of each fragment's content, the Basic Offset Table first.
        stop: first byte behind the element.
    """

    key: int
    start: int
    value: int
    length: int | None
    fragments: list[tuple[int, int]] = field(default_factory=list)
    stop: int = 0


@dataclass(slots=True, repr=False)
class Tokens:
    """One SOP Instance, tokenised.

    Attributes:
        source: where the pixel value is to be read; not the caller's after a conversion.
        buffer: the source's bytes from its beginning to at least the end of the header.
        transfer_syntax: UID of the encoding of ``source``.
        meta: File Meta values by tag, padding included.
        root: the data set up to Pixel Data.
        header_stop: end of ``root`` in the buffer.
        pixels: the pixel value, if there is one.
        tail_buffer, tail: what follows the pixel value.
        anomalies: codes of tolerated faults.
    """

    source: Source
    buffer: bytes
    transfer_syntax: str
    meta: dict[int, bytes]
    root: Dataset
    header_stop: int
    pixels: PixelValue | None
    tail_buffer: bytes
    tail: Dataset | None
    anomalies: list[str]


class _Short(Exception):
    """The window ends before the header does."""


def read(source: Source, limits: Limits) -> Tokens:
    """Tokenise one SOP Instance.

    Raises:
        NotDicom: no data set can be recognised.
        Truncated: a length points behind the end.
        MalformedDicom: the structure contradicts itself.
        LimitExceeded: a bound of ``limits`` was passed.
        UnsupportedTransferSyntax: the encoding is not taken.
    """
    anomalies: list[str] = []
    window = min(source.size, _FIRST_WINDOW)
    if isinstance(source, MemorySource):
        window = source.size
    while True:
        try:
            return _read_window(source, source.read(0, window), limits, anomalies)
        except _Short:
            if window >= source.size:
                raise Truncated from None
            if window >= limits.max_header_bytes:
                raise LimitExceeded("The header is larger than the bound") from None
            window = min(source.size, window * 8, limits.max_header_bytes)
            anomalies.clear()


def _read_window(source: Source, buffer: bytes, limits: Limits, anomalies: list[str]) -> Tokens:
    meta, begin = _read_meta(buffer, anomalies)
    syntax = meta.get(0x00020010, b"").rstrip(b"\0 ").decode("ascii", "replace")
    if syntax == DEFLATED_LE:
        anomalies.append("transfer-syntax-converted")
        inflated = _inflate(source, begin, limits)
        return _read_body(MemorySource(inflated), inflated, 0, EXPLICIT_LE, meta, limits, anomalies)
    if syntax == EXPLICIT_BE:
        anomalies.append("transfer-syntax-converted")
        if source.size - begin > limits.max_converted_bytes:
            raise LimitExceeded("The object is too large to be converted")
        swapped = bigendian.to_little_endian(
            source.read(begin, source.size - begin),
            max_depth=limits.max_depth,
            max_elements=limits.max_elements,
        )
        return _read_body(MemorySource(swapped), swapped, 0, EXPLICIT_LE, meta, limits, anomalies)
    return _read_body(source, buffer, begin, syntax, meta, limits, anomalies)


def _read_meta(buffer: bytes, anomalies: list[str]) -> tuple[dict[int, bytes], int]:
    """Return the File Meta values and where the data set begins.

    The group's length element is not trusted: the group ends where another begins.
    """
    if buffer[128:132] == b"DICM":
        position = 132
    elif buffer[:4] == b"DICM":
        position = 4
        anomalies.append("preamble-missing")
    else:
        position = 0
        anomalies.append("preamble-missing")
    meta: dict[int, bytes] = {}
    while buffer[position : position + 2] == b"\x02\x00":
        if len(buffer) < position + 12:
            raise _Short
        code = buffer[position + 4] | buffer[position + 5] << 8
        kind = _KINDS.get(code)
        if kind is None:
            raise MalformedDicom("The File Meta Information is not explicit little endian")
        number = _U32(buffer, position)[0]
        if kind == _SHORT:
            value = position + 8
            length = buffer[position + 6] | buffer[position + 7] << 8
        else:
            value = position + 12
            length = _U32(buffer, position + 8)[0]
        if length == UNDEFINED_LENGTH:
            raise MalformedDicom("The File Meta Information holds an undefined length")
        if value + length > len(buffer):
            raise _Short
        meta[key_tag(number)] = buffer[value : value + length]
        position = value + length
    if not meta:
        anomalies.append("file-meta-missing")
    return meta, position


def _inflate(source: Source, begin: int, limits: Limits) -> bytes:
    """Return the inflated data set, at most ``max_converted_bytes``.

    Source: PS3.5 2026d, A.5 (raw deflate, RFC 1951).
    """
    inflater = zlib.decompressobj(-15)
    parts: list[bytes] = []
    total = 0
    position = begin
    pending = b""
    while not inflater.eof:
        if not pending:
            size = min(1 << 20, source.size - position)
            if not size:
                raise Truncated("The deflated data set ends too early")
            pending = source.read(position, size)
            position += size
        try:
            part = inflater.decompress(pending, 1 << 22)
        except zlib.error:
            raise MalformedDicom("The deflated data set is damaged") from None
        pending = inflater.unconsumed_tail
        total += len(part)
        if total > limits.max_converted_bytes:
            raise LimitExceeded("The inflated data set is larger than the bound")
        parts.append(part)
    return b"".join(parts)


def _read_body(
    source: Source,
    buffer: bytes,
    begin: int,
    syntax: str,
    meta: dict[int, bytes],
    limits: Limits,
    anomalies: list[str],
) -> Tokens:
    explicit = _encoding(buffer, begin, syntax, anomalies)
    walker = _Walker(buffer, limits)
    root = Dataset(explicit=explicit)
    pixel_start = walker.walk(root, begin, source.size, depth=0)
    if root.stop > len(buffer):
        raise _Short
    if root.stop - begin > limits.max_header_bytes:
        raise LimitExceeded("The header is larger than the bound")
    if not root.keys and pixel_start is None:
        raise NotDicom
    if not syntax:
        syntax = EXPLICIT_LE if explicit else IMPLICIT_LE
        anomalies.append("transfer-syntax-guessed")
    tokens = Tokens(
        source=source,
        buffer=buffer,
        transfer_syntax=syntax,
        meta=meta,
        root=root,
        header_stop=root.stop,
        pixels=None,
        tail_buffer=b"",
        tail=None,
        anomalies=anomalies,
    )
    if walker.padded:
        anomalies.append("trailing-bytes-removed")
    if pixel_start is not None:
        if pixel_start + 12 > len(buffer):
            raise _Short
        tokens.pixels = _pixel_value(source, buffer, pixel_start, explicit, limits)
        _read_tail(tokens, tokens.pixels.stop, limits)
    return tokens


def _encoding(buffer: bytes, begin: int, syntax: str, anomalies: list[str]) -> bool:
    """Say whether the data set is explicit VR, by its transfer syntax and its first element."""
    if len(buffer) < begin + 8:
        if len(buffer) == begin and begin:
            raise Truncated("There is no data set behind the File Meta Information")
        raise NotDicom
    group = buffer[begin] | buffer[begin + 1] << 8
    looks_explicit = buffer[begin + 4] | buffer[begin + 5] << 8 in _KINDS
    if not syntax:
        # Without File Meta only the first element can tell; a stream that is not DICOM ends here.
        if not 0 < group <= 0x0040 or group % 2:
            raise NotDicom
        number, length = _PAIR(buffer, begin)
        if not looks_explicit and number not in IMPLICIT_KEYS and (number >> 16 or length != 4):
            raise NotDicom
        return looks_explicit
    if not syntax.startswith("1.2.840.10008.1.2") and not syntax.startswith("1.2.840.10008.1."):
        raise UnsupportedTransferSyntax
    declared = syntax != IMPLICIT_LE
    if declared != looks_explicit:
        anomalies.append("transfer-syntax-contradicted")
    return looks_explicit


def _unknown_vr(number: int) -> int:
    """Return the VR bits of an element that implicit VR leaves unnamed and no dictionary knows."""
    if not number >> 16:
        return _UL_BITS  # group length
    if number & 1 and 0x10 <= number >> 16 <= 0xFF:
        return _LO_BITS  # private creator
    return _UN_BITS


class _Walker:
    """One pass over the header; counts what it meets against the bounds."""

    __slots__ = ("budget", "buffer", "max_depth", "padded", "path")

    def __init__(self, buffer: bytes, limits: Limits) -> None:
        self.buffer = buffer
        self.budget = limits.max_elements
        self.max_depth = limits.max_depth
        self.path: list[tuple[int, int]] = []
        self.padded = False

    def walk(self, dataset: Dataset, begin: int, end: int | None, *, depth: int) -> int | None:
        """Fill ``dataset`` from ``begin`` to ``end`` (None: to its item delimiter).

        Returns where Pixel Data begins, at depth 0 only.
        """
        try:
            if dataset.explicit:
                return self._explicit(dataset, begin, end, depth)
            return self._implicit(dataset, begin, end, depth)
        except struct.error:
            raise _Short from None

    def _explicit(self, dataset: Dataset, begin: int, end: int | None, depth: int) -> int | None:
        buffer, kinds, u64 = self.buffer, _KINDS, _U64
        keys, starts = dataset.keys, dataset.starts
        add_key, add_start = keys.append, starts.append
        position = begin
        # At depth 0 fewer than eight bytes at the end are no element; ``_finish`` judges them.
        limit = _ENDLESS if end is None else end if depth else end - 7
        for _ in range(self.budget):
            if position >= limit:
                break
            word = u64(buffer, position)[0]
            kind = kinds.get(word >> 32 & 0xFFFF)
            if kind == 0:
                add_key(word & 0xFFFFFFFFFFFF)
                add_start(position)
                position += 8 + (word >> 48)
                continue
            number = word & 0xFFFFFFFF
            if kind is None:
                if number == _ITEM_END and end is None:
                    self._close(dataset, position)
                    return None
                if self._is_padding(position, depth):
                    break
                raise self._malformed("An element has no valid VR", number)
            length = _U32(buffer, position + 8)[0]
            if number in _PIXEL_NUMBERS and depth == 0:
                self._finish(dataset, position, None)
                return position
            add_key(word & 0xFFFFFFFFFFFF)
            add_start(position)
            position = self._long(dataset, kind, number, position + 12, length, depth)
        else:
            raise LimitExceeded("There are more elements than the bound allows")
        self._finish(dataset, position, end)
        return None

    def _implicit(self, dataset: Dataset, begin: int, end: int | None, depth: int) -> int | None:
        buffer, pair, known = self.buffer, _PAIR, IMPLICIT_KEYS
        add_key, add_start = dataset.keys.append, dataset.starts.append
        position = begin
        # At depth 0 fewer than eight bytes at the end are no element; ``_finish`` judges them.
        limit = _ENDLESS if end is None else end if depth else end - 7
        for _ in range(self.budget):
            if position >= limit:
                break
            number, length = pair(buffer, position)
            key = known.get(number)
            if key is None:
                if number == _ITEM_END and end is None:
                    self._close(dataset, position)
                    return None
                if number & 0xFFFF == 0xFFFE or not number & 0xFFFF:
                    if self._is_padding(position, depth):
                        break
                    raise self._malformed("A delimiter stands where an element should", number)
                key = number | _unknown_vr(number)
            elif number in _PIXEL_NUMBERS and depth == 0:
                self._finish(dataset, position, None)
                return position
            add_key(key)
            add_start(position)
            if key >> 32 == _SQ_CODE:
                position = self._long(dataset, _SEQUENCE, number, position + 8, length, depth)
            elif length == UNDEFINED_LENGTH:
                position = self._long(dataset, _UNKNOWN, number, position + 8, length, depth)
            else:
                position += 8 + length
        else:
            raise LimitExceeded("There are more elements than the bound allows")
        self._finish(dataset, position, end)
        return None

    def _long(
        self, dataset: Dataset, kind: int, number: int, value: int, length: int, depth: int
    ) -> int:
        """Return the end of an element that may hold items or have an undefined length."""
        if kind == _LONG:
            if length != UNDEFINED_LENGTH:
                return value + length
            return self._fragments(number, value)
        explicit = dataset.explicit and kind == _SEQUENCE
        if length == UNDEFINED_LENGTH:
            return self._items(dataset, number, value, None, explicit=explicit, depth=depth)
        known = IMPLICIT_KEYS.get(number, 0)
        if kind == _UNKNOWN and (known >> 32 != _SQ_CODE or not length):
            return value + length
        # A public sequence that someone wrote as UN is implicit inside (PS3.5 2026d, 6.2.2).
        return self._items(dataset, number, value, value + length, explicit=explicit, depth=depth)

    def _items(
        self,
        dataset: Dataset,
        number: int,
        position: int,
        end: int | None,
        *,
        explicit: bool,
        depth: int,
    ) -> int:
        """Read the items of a sequence; return the first byte behind it."""
        if depth >= self.max_depth:
            raise LimitExceeded(
                "Sequences are nested deeper than the bound", path=path_text(self.path[:3])
            )
        items = Items(explicit=explicit, delimited=end is None)
        dataset.sequences[len(dataset.keys) - 1] = items
        buffer, path, tag = self.buffer, self.path, key_tag(number)
        self.budget -= len(dataset.keys)
        path.append((tag, 0))
        while end is None or position < end:
            start, length = _PAIR(buffer, position)
            if start == _SEQUENCE_END and (end is None or position + 8 == end):
                position += 8
                end = position
                break
            if start != _ITEM:
                raise self._malformed("A sequence holds something that is no item", number)
            self.budget -= 1
            if self.budget <= 0:
                raise LimitExceeded("There are more elements than the bound allows")
            item = Dataset(explicit=explicit)
            item.begin = position
            if length == UNDEFINED_LENGTH:
                item.delimited = True
                self.walk(item, position + 8, None, depth=depth + 1)
            else:
                stop = position + 8 + length
                if end is not None and stop > end:
                    raise self._malformed("An item is longer than its sequence", number)
                self.walk(item, position + 8, stop, depth=depth + 1)
                item.after = stop
            self.budget -= len(item.keys)
            position = item.after
            items.datasets.append(item)
            path[-1] = (tag, len(items.datasets))
        path.pop()
        self.budget += len(dataset.keys)
        if position != end:
            raise self._malformed("The items do not fill their sequence", number)
        return position

    def _fragments(self, number: int, position: int) -> int:
        """Return the end of encapsulated data inside the header, such as an icon's."""
        while True:
            start, length = _PAIR(self.buffer, position)
            position += 8
            if start == _SEQUENCE_END:
                return position
            self.budget -= 1
            if start != _ITEM or length == UNDEFINED_LENGTH or self.budget <= 0:
                raise self._malformed("Encapsulated data is damaged", number)
            position += length

    def _close(self, dataset: Dataset, position: int) -> None:
        dataset.stop = position
        dataset.after = position + 8

    def _finish(self, dataset: Dataset, position: int, end: int | None) -> None:
        if end is not None and position > end:
            # At depth 0 the end is the file's: what is missing was cut off.
            if not self.path:
                raise _Short
            raise self._malformed("An element is longer than what holds it", dataset.keys[-1])
        if end is not None and position < end and not self.padded:
            if self.buffer[position:end].strip(b"\0 \r\n"):
                raise _Short
            self.padded = True
        dataset.stop = position

    def _is_padding(self, position: int, depth: int) -> bool:
        """Say whether nothing but zeros follows at depth 0: trailing padding, to be dropped."""
        if depth or self.buffer[position : position + 8].strip(b"\0"):
            return False
        self.padded = not self.buffer[position:].strip(b"\0")
        return self.padded

    def _malformed(self, reason: str, number: int) -> GatewayError:
        return MalformedDicom(reason, path=path_text(self.path, key_tag(number & 0xFFFFFFFF)))


def _pixel_value(
    source: Source, buffer: bytes, start: int, explicit: bool, limits: Limits
) -> PixelValue:
    """Find the extent of the pixel value without reading it."""
    if explicit:
        key = _U64(buffer, start)[0] & 0xFFFFFFFFFFFF
        length, value = _U32(buffer, start + 8)[0], start + 12
    else:
        number, length = _PAIR(buffer, start)
        key, value = IMPLICIT_KEYS[number], start + 8
    if length != UNDEFINED_LENGTH:
        if value + length > source.size:
            raise Truncated("The pixel data ends too early")
        return PixelValue(key=key, start=start, value=value, length=length, stop=value + length)
    pixels = PixelValue(key=key, start=start, value=value, length=None)
    position = value
    for _ in range(limits.max_elements):
        if position + 8 > source.size:
            raise Truncated("The encapsulated pixel data ends too early")
        number, length = _PAIR(source.read(position, 8), 0)
        position += 8
        if number == _SEQUENCE_END:
            pixels.stop = position
            return pixels
        if number != _ITEM or length == UNDEFINED_LENGTH:
            raise MalformedDicom(
                "The encapsulated pixel data is damaged", path=path_text((), key_tag(key))
            )
        pixels.fragments.append((position, length))
        position += length
    raise LimitExceeded("There are more pixel fragments than the bound allows")


def _read_tail(tokens: Tokens, begin: int, limits: Limits) -> None:
    """Tokenise what follows the pixel value; what is no element there is dropped, and said."""
    size = tokens.source.size - begin
    if not size:
        return
    if size > limits.max_header_bytes:
        raise LimitExceeded("There is more behind the pixel data than the bound allows")
    buffer = tokens.source.read(begin, size)
    walker = _Walker(buffer, limits)
    tail = Dataset(explicit=tokens.root.explicit)
    if not _looks_like_element(buffer, explicit=tail.explicit):
        tokens.anomalies.append("trailing-bytes-removed")
        return
    try:
        stopped = walker.walk(tail, 0, size, depth=0)
    except _Short:
        raise Truncated("What follows the pixel data is incomplete") from None
    if stopped is not None:
        raise MalformedDicom("There is more than one Pixel Data element")
    if walker.padded:
        tokens.anomalies.append("trailing-bytes-removed")
    tokens.tail_buffer, tokens.tail = buffer, tail


def _looks_like_element(buffer: bytes, *, explicit: bool) -> bool:
    """Say whether a plausible element header behind Pixel Data begins here."""
    if len(buffer) < 8 or key_tag(_U32(buffer, 0)[0]) <= 0x7FE00010:
        return False
    if explicit:
        return buffer[4] | buffer[5] << 8 in _KINDS
    length: int = _PAIR(buffer, 0)[1]
    return length == UNDEFINED_LENGTH or length <= len(buffer) - 8
