"""How many patients one caller may look up: exact across processes, counted in PostgreSQL.

A window begins with the first look in it. Looks of one caller wait for each other, from the count
to the end of the transaction; looks of different callers do not.
"""

import datetime as dt
import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from app.errors import InvalidRequest, ReidentifyQuotaExceeded

if TYPE_CHECKING:
    import psycopg

    _Connection = psycopg.AsyncConnection[tuple[Any, ...]]

HOUR: Final = dt.timedelta(hours=1)
DAY: Final = dt.timedelta(days=1)

_BEGIN: Final = """
INSERT INTO reidentify_quotas (organization, caller, kind) VALUES (%s, %s, %s)
ON CONFLICT DO NOTHING
"""
_LOCK: Final = """
SELECT hour_used, hour_began_at, day_used, day_began_at, refused, clock_timestamp()
FROM reidentify_quotas WHERE organization = %s AND caller = %s AND kind = %s FOR UPDATE
"""
_COUNT: Final = """
UPDATE reidentify_quotas SET hour_used = %s, hour_began_at = %s, day_used = %s, day_began_at = %s,
    refused = 0
WHERE organization = %s AND caller = %s AND kind = %s
"""
_REFUSE: Final = """
UPDATE reidentify_quotas SET refused = refused + 1
WHERE organization = %s AND caller = %s AND kind = %s
"""


class Kind(StrEnum):
    """What is counted apart."""

    LOOK = "look"
    BREAK_GLASS = "break-glass"


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most looks of one caller; 0 is no bound."""

    per_hour: int
    per_day: int


@dataclass(frozen=True, slots=True)
class Window:
    """What was used since a window began."""

    length: dt.timedelta
    used: int
    began_at: dt.datetime

    def at(self, now: dt.datetime) -> "Window":
        """Return the window of a moment: this one, or a new one that begins then."""
        if now - self.began_at < self.length:
            return self
        return Window(self.length, 0, now)

    def left_s(self, now: dt.datetime) -> int:
        """Seconds until it ends."""
        return math.ceil((self.began_at + self.length - now).total_seconds())


async def charge(
    connection: "_Connection",
    bounds: Bounds,
    *,
    organization: int,
    caller: str,
    kind: Kind = Kind.LOOK,
    count: int = 1,
) -> None:
    """Count looks within the caller's transaction; it must be committed after a refusal as well.

    Raises:
        ReidentifyQuotaExceeded: they are too many just now; none of them is counted.
        InvalidRequest: they are more than the quota ever allows at once.
    """
    name = (organization, caller, str(kind))
    await connection.execute(_BEGIN, name)
    row = await (await connection.execute(_LOCK, name)).fetchone()
    if row is None:
        raise LookupError("a quota vanished")
    hour_used, hour_began_at, day_used, day_began_at, refused, now = row
    hour = Window(HOUR, hour_used, hour_began_at).at(now)
    day = Window(DAY, day_used, day_began_at).at(now)
    waits = list(_waits(((hour, bounds.per_hour), (day, bounds.per_day)), count, now))
    if waits:
        await connection.execute(_REFUSE, name)
        raise ReidentifyQuotaExceeded(retry_after_s=max(waits), is_first=refused == 0)
    used = (hour.used + count, hour.began_at, day.used + count, day.began_at)
    await connection.execute(_COUNT, (*used, *name))


def _waits(windows: tuple[tuple[Window, int], ...], count: int, now: dt.datetime) -> Iterator[int]:
    """Yield, for each window that has no room, the seconds until it has."""
    for window, bound in windows:
        if not bound:
            continue
        if count > bound:
            raise InvalidRequest(f"These are more than the {bound} looks of the whole quota")
        if window.used + count > bound:
            yield window.left_s(now)
