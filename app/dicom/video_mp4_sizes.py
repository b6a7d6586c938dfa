"""How long boxes of MP4 are by what they say, and which bytes of them mean nothing.

Source: ISO/IEC 14496-12, 8; ISO/IEC 14496-15, 5.3.3 and 8.3.3.
"""

from collections.abc import Iterator
from typing import Final

from app.errors import MalformedDicom

# Boxes with a number of entries: bytes before the entries, and of an entry in version 0 and 1.
_TABLES: Final = {
    b"stts": (8, 8, 8),
    b"ctts": (8, 8, 8),
    b"stss": (8, 4, 4),
    b"stsc": (8, 12, 12),
    b"stco": (8, 4, 4),
    b"co64": (8, 8, 8),
    b"elst": (8, 12, 20),
}
# Other boxes of one length, in version 0 and 1; those without versions have one length.
_FIXED: Final = {b"vmhd": (12, 12), b"cslg": (24, 44)}
_PLAIN: Final = {b"pasp": 8, b"btrt": 12, b"fiel": 2, b"clap": 32}
_TIMED: Final = {b"mvhd": (100, 112), b"tkhd": (84, 96), b"mdhd": (24, 36)}
# Bytes that are reserved: begin and end, in version 0; in version 1 times are longer.
_RESERVED: Final[dict[bytes, tuple[tuple[int, int], ...]]] = {
    b"mvhd": ((26, 36), (72, 96)),
    b"tkhd": ((16, 20), (24, 32)),
    b"mdhd": (),
}
_LONGER_TIMES, _LONGER_DURATION = 8, 4
#: Bytes at the beginning of a box that say how long its content is.
HEAD_BYTES: Final = 12
_BRANDS: Final = frozenset(
    (
        *(b"isom", b"iso2", b"iso3", b"iso4", b"iso5", b"iso6", b"iso7", b"iso8", b"iso9"),
        *(b"mp41", b"mp42", b"avc1", b"hvc1", b"hev1", b"dash", b"qt  ", b"M4V ", b"f4v "),
        *(b"MSNV", b"dby1", b"mmp4", b"3gp4", b"3gp5", b"3gp6"),
    )
)
_USUAL_BRAND: Final = b"isom"
# Profiles of H.264 whose configuration tells more of the samples.
_HIGH: Final = frozenset((44, 83, 86, 100, 110, 118, 122, 128, 144, 244))


def content_bytes(kind: bytes, head: bytes) -> int | None:
    """Return how many bytes a box holds by its first ones; None where nothing says so."""
    version = head[:1] == b"\1"
    if kind in _TABLES:
        before, *entry = _TABLES[kind]
        return before + entry[version] * int.from_bytes(head[4:8], "big")
    if kind == b"stsz":
        each, count = head[4:8], int.from_bytes(head[8:12], "big")
        return 12 + (0 if any(each) else 4 * count)
    if kind in _FIXED:
        return _FIXED[kind][version]
    return _PLAIN.get(kind)


def nothing_in(kind: bytes, head: bytes, size: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of what means nothing in a box of times.

    Raises:
        MalformedDicom: it is too short.
    """
    version = head[:1] == b"\1"
    if size < _TIMED[kind][version]:
        raise MalformedDicom("A box of a video ends too early")
    for begin, end in _RESERVED[kind]:
        # Behind the times; in a track's header one field stands before the duration.
        is_before = kind == b"tkhd" and end <= 20
        shift = (_LONGER_TIMES + (0 if is_before else _LONGER_DURATION)) * version
        yield begin + shift, end + shift
    yield _TIMED[kind][version], size


def known_brands(body: bytes) -> bytes:
    """Return a box of brands in which unknown ones are a usual one."""
    found = [body[at : at + 4] for at in range(0, len(body), 4)]
    made = [one if one in _BRANDS or at == 1 else _USUAL_BRAND for at, one in enumerate(found)]
    made[1:2] = [bytes(4)] if len(found) > 1 else []
    return b"".join(made)[: len(body)]


def h_264_units(body: bytes) -> tuple[list[tuple[int, int]], int]:
    """Return where the parameter sets of an ``avcC`` box are, and where its content ends."""
    units: list[tuple[int, int]] = []
    at = _units_at(body, 6, body[5] & 0x1F, units)
    at = _units_at(body, at + 1, body[at], units)
    if body[1] in _HIGH and len(body) >= at + 4:
        at = _units_at(body, at + 4, body[at + 3], units)
    return units, at


def h_265_units(body: bytes) -> tuple[list[tuple[int, int]], int]:
    """Return where the units of an ``hvcC`` box are, and where its content ends."""
    units: list[tuple[int, int]] = []
    at = 23
    for _ in range(body[22]):
        at = _units_at(body, at + 3, int.from_bytes(body[at + 1 : at + 3], "big"), units)
    return units, at


def _units_at(body: bytes, at: int, count: int, units: list[tuple[int, int]]) -> int:
    """Add so many units, each behind its length; return where they end."""
    for _ in range(count):
        start = at + 2
        at = start + int.from_bytes(body[at:start], "big")
        if at > len(body) or at == start:
            raise MalformedDicom("The configuration of a video ends too early")
        units.append((start, at))
    return at
