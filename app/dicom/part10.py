"""The tokeniser: where each element of a Part 10 stream lies, and no value decoded.

Reads preamble, File Meta and the data set up to Pixel Data into *datasets of spans*, keeps the
pixel value's place without reading it, and takes up again behind it. Nothing is interpreted that
no rule needs.
"""

import struct
import zlib

from app.dicom import bigendian
from app.dicom.elements import (
    IMPLICIT_KEYS,
    UNDEFINED_LENGTH,
    key_tag,
    path_text,
)
from app.dicom.source import MemorySource, Source
from app.dicom.tokens import Dataset, Limits, PixelValue, Tokens
from app.dicom.walker import ITEM, KINDS, SEQUENCE_END, SHORT, HeaderEndsEarly, Walker
from app.errors import (
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

_FIRST_WINDOW = 64 * 1024
# Large objects have long headers; the first look grows with them and stays a small part.
_SHARE = 512
# A longer header is walked again from its beginning.
_GROWTH = 16


def read(source: Source, limits: Limits) -> Tokens:
    """Tokenise one SOP Instance.

    Raises:
        NotDicom: no data set can be recognised.
        Truncated: a length points behind the end.
        MalformedDicom: the structure contradicts itself.
        LimitExceeded: a bound of ``limits`` was passed.
        UnsupportedTransferSyntax: the encoding is not taken.
    """
    window = min(source.size, max(_FIRST_WINDOW, source.size // _SHARE))
    if isinstance(source, MemorySource):
        window = source.size
    while True:
        try:
            return _Reader(limits).read(source, source.read(0, window))
        except HeaderEndsEarly:
            if window >= source.size:
                raise Truncated from None
            if window >= limits.max_header_bytes:
                raise LimitExceeded("The header is larger than the bound") from None
            window = min(source.size, window * _GROWTH, limits.max_header_bytes)


class _Reader:
    """One attempt to tokenise with the bytes at hand; raises HeaderEndsEarly if they are few."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.anomalies: list[str] = []

    def read(self, source: Source, buffer: bytes) -> Tokens:
        """Tokenise ``source``, of which ``buffer`` is the beginning."""
        meta, begin = self._meta(buffer)
        if len(buffer) < min(begin + 8, source.size):
            raise HeaderEndsEarly
        syntax = meta.get(0x00020010, b"").rstrip(b"\0 ").decode("ascii", "replace")
        if syntax in {DEFLATED_LE, EXPLICIT_BE}:
            self.anomalies.append("transfer-syntax-converted")
            convert = _inflated if syntax == DEFLATED_LE else _little_endian
            buffer = convert(source, begin, self.limits)
            try:
                return self._body(MemorySource(buffer), buffer, 0, EXPLICIT_LE, meta)
            except HeaderEndsEarly:  # all of it is here: a larger window holds no more
                raise Truncated from None
        return self._body(source, buffer, begin, syntax, meta)

    def _meta(self, buffer: bytes) -> tuple[dict[int, bytes], int]:
        """Return the File Meta values and where the data set begins.

        The group's length element is not trusted: the group ends where another begins.
        """
        has_prefix = buffer[128:132] == b"DICM" and not _begins_with_element(buffer)
        position = 132 if has_prefix else 4 if buffer[:4] == b"DICM" else 0
        if position != 132:
            self.anomalies.append("preamble-missing")
        meta: dict[int, bytes] = {}
        for _ in range(self.limits.max_elements):
            if buffer[position : position + 2] != b"\x02\x00":
                break
            tag, value, length = _meta_header(buffer, position)
            position = value + length
            if position > len(buffer):
                raise HeaderEndsEarly
            meta[tag] = buffer[value:position]
        else:
            raise LimitExceeded("There are more File Meta elements than the bound allows")
        if not meta:
            self.anomalies.append("file-meta-missing")
        return meta, position

    def _body(
        self, source: Source, buffer: bytes, begin: int, syntax: str, meta: dict[int, bytes]
    ) -> Tokens:
        limits, anomalies = self.limits, self.anomalies
        explicit = _encoding(buffer, begin, syntax, anomalies)
        walker = Walker(buffer, limits)
        root = Dataset(explicit=explicit)
        pixel_start = walker.walk(root, begin, source.size, depth=0)
        if root.stop > len(buffer):
            raise HeaderEndsEarly
        if root.stop - begin > limits.max_header_bytes:
            raise LimitExceeded("The header is larger than the bound")
        if not root.keys and pixel_start is None:
            raise NotDicom
        if not syntax:
            syntax = EXPLICIT_LE if explicit else IMPLICIT_LE
            anomalies.append("transfer-syntax-guessed")
        if walker.padded:
            anomalies.append("trailing-bytes-removed")
        tokens = Tokens(
            source=source,
            buffer=buffer,
            transfer_syntax=syntax,
            meta=meta,
            root=root,
            anomalies=anomalies,
        )
        if pixel_start is not None:
            if pixel_start + (12 if explicit else 8) > len(buffer):
                raise HeaderEndsEarly
            tokens.pixels = _pixel_value(source, buffer, pixel_start, explicit, limits)
            _read_tail(tokens, tokens.pixels.stop, limits)
        return tokens


def _begins_with_element(buffer: bytes) -> bool:
    """Say whether File Meta or a data set begins where the preamble should, in explicit VR.

    The four letters of the prefix are then part of a value.
    """
    return buffer[:2] in {b"\x02\0", b"\x08\0"} and buffer[4] | buffer[5] << 8 in KINDS


def _meta_header(buffer: bytes, position: int) -> tuple[int, int, int]:
    """Return tag, place of the value and length of a File Meta element."""
    if len(buffer) < position + 12:
        raise HeaderEndsEarly
    kind = KINDS.get(buffer[position + 4] | buffer[position + 5] << 8)
    if kind is None:
        raise MalformedDicom("The File Meta Information is not explicit little endian")
    tag = key_tag(_U32(buffer, position)[0])
    if kind == SHORT:
        return tag, position + 8, buffer[position + 6] | buffer[position + 7] << 8
    length = _U32(buffer, position + 8)[0]
    if length == UNDEFINED_LENGTH:
        raise MalformedDicom("The File Meta Information holds an undefined length")
    return tag, position + 12, length


def _little_endian(source: Source, begin: int, limits: Limits) -> bytes:
    """Return a big endian data set in little endian."""
    if source.size - begin > limits.max_converted_bytes:
        raise LimitExceeded("The object is too large to be converted")
    return bigendian.to_little_endian(
        source.read(begin, source.size - begin),
        max_depth=limits.max_depth,
        max_elements=limits.max_elements,
    )


def _inflated(source: Source, begin: int, limits: Limits) -> bytes:
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
            pending = source.read(position, size)
            position += size
        try:
            part = inflater.decompress(pending, 1 << 22)
        except zlib.error:
            raise MalformedDicom("The deflated data set is damaged") from None
        # Without input the inflater may still hold output that the last call had no room for.
        if not pending and not part and not inflater.eof:
            raise Truncated("The deflated data set ends too early")
        pending = inflater.unconsumed_tail
        total += len(part)
        if total > limits.max_converted_bytes:
            raise LimitExceeded("The inflated data set is larger than the bound")
        parts.append(part)
    return b"".join(parts)


def _encoding(buffer: bytes, begin: int, syntax: str, anomalies: list[str]) -> bool:
    """Say whether the data set is explicit VR, by its transfer syntax and its first element."""
    if len(buffer) < begin + 8:
        if len(buffer) == begin and begin:
            raise Truncated("There is no data set behind the File Meta Information")
        raise NotDicom
    group = buffer[begin] | buffer[begin + 1] << 8
    looks_explicit = buffer[begin + 4] | buffer[begin + 5] << 8 in KINDS
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
        if number == SEQUENCE_END:
            pixels.stop = position
            return pixels
        if number != ITEM or length == UNDEFINED_LENGTH:
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
    walker = Walker(buffer, limits)
    tail = Dataset(explicit=tokens.root.explicit)
    if not _looks_like_element(buffer, explicit=tail.explicit):
        tokens.anomalies.append("trailing-bytes-removed")
        return
    try:
        stopped = walker.walk(tail, 0, size, depth=0)
    except HeaderEndsEarly:
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
        return buffer[4] | buffer[5] << 8 in KINDS
    length: int = _PAIR(buffer, 0)[1]
    return length == UNDEFINED_LENGTH or length <= len(buffer) - 8
