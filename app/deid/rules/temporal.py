"""Dates and times that stay or move: DA, DT and TM values judged and shifted by whole days.

Whole days leave the time of day and the time zone as they were, so that a date and the time beside
it, in attributes of their own, move together. Source: PS3.15 2026d, E.3.6; PS3.5 2026d, 6.2.
"""

import datetime as dt
import re
from functools import lru_cache

_DAY = rb"(?P<year>[0-9]{4})(?P<dot>\.?)(?P<month>0[1-9]|1[0-2])(?P=dot)(?P<day>[0-3][0-9])"
_TIME = (
    rb"(?:[01][0-9]|2[0-3])(?:(?P<colon>:?)[0-5][0-9](?:(?P=colon)[0-6][0-9](?:\.[0-9]{1,6})?)?)?"
)
_ZONE = rb"[+-](?:0[0-9]|1[0-4])[0-5][0-9]"
# DA also in the form of ACR-NEMA 2.0, with full stops; TM also with colons.
_DA = re.compile(_DAY)
_TM = re.compile(_TIME)
_DT = re.compile(
    rb"(?P<year>[0-9]{4})(?:(?P<month>0[1-9]|1[0-2])(?:(?P<day>[0-3][0-9])"
    rb"(?:(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:[0-6][0-9](?:\.[0-9]{1,6})?)?)?)?)?)?"
    rb"(?:" + _ZONE + rb")?"
)
_PATTERNS = {"DA": _DA, "DT": _DT, "TM": _TM}
_TIMEZONE = re.compile(rb" *" + _ZONE + rb" *")
# Days that stand for none, ours among them: they stay, for nothing happened on them.
_NO_DAYS = frozenset({b"19000101", b"19000102", b"99991231"})
# The middle of a year and of a month stand for a date that names no day.
_MIDDLE_MONTH, _MIDDLE_DAY = 7, 15


def is_temporal(value: bytes, vr: str) -> bool:
    """Say whether every value of an element is one of its VR (DA, DT or TM) or empty."""
    pattern = _PATTERNS[vr]
    return all(not part or pattern.fullmatch(part) is not None for part in _parts(value))


def is_timezone(value: bytes) -> bool:
    """Say whether a value is an offset from UTC. Source: PS3.3 2026d, C.12.1.1 (0008,0201)."""
    return _TIMEZONE.fullmatch(value.strip(b"\0")) is not None


def _parts(value: bytes) -> list[bytes]:
    return [part.strip(b"\0 ") for part in value.split(b"\\")]


@lru_cache(maxsize=4096)
def shifted(value: bytes, vr: str, days: int) -> bytes | None:
    """Move every date of an element by whole days; times stay.

    A DT that ends with the year or the month keeps its precision: the middle of what it names is
    moved.

    Args:
        value: as it stands in the element, padding included; several values are moved one by one.
        vr: DA, DT or TM.
        days: signed offset, the same for every date of one subject.

    Returns:
        The value without padding, or ``None`` where one of its parts is no date of this VR or
        leaves the calendar.
    """
    moved = [_shifted_part(part, vr, days) for part in _parts(value)]
    whole = [part for part in moved if part is not None]
    return b"\\".join(whole) if len(whole) == len(moved) else None


def _shifted_part(part: bytes, vr: str, days: int) -> bytes | None:
    if not part:
        return b""
    match = _PATTERNS[vr].fullmatch(part)
    if match is None:
        return None
    if vr == "TM" or part[:8] in _NO_DAYS:
        return part
    year, month, day = match["year"], match["month"], match["day"]
    moved = _moved(int(year), int(month or _MIDDLE_MONTH), int(day or _MIDDLE_DAY), days)
    if moved is None:
        return None
    if vr == "DA":
        dot = match["dot"]
        return dot.join((b"%04d" % moved.year, b"%02d" % moved.month, b"%02d" % moved.day))
    written = b"%04d%02d%02d" % (moved.year, moved.month, moved.day)
    precision = 8 if day else 6 if month else 4
    return written[:precision] + part[precision:]


def _moved(year: int, month: int, day: int, days: int) -> dt.date | None:
    try:
        return dt.date.fromordinal(dt.date(year, month, day).toordinal() + days)
    except (ValueError, OverflowError):
        return None
