"""How often a caller may ask, and when repeated failures shut it out. Pure but for the clock.

Counts are of this process alone and in bounded memory: the longest known goes first.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from app.errors import LockedOut, RateLimited

MAX_COUNTED: Final = 10_000
MINUTE_S: Final = 60.0
# One address may stand for a whole building: it is shut out later than one credential from it.
ADDRESS_FACTOR: Final = 10

Name = TypeVar("Name")


class Rate:
    """So many calls a minute per name; as many may come at once.

    Source: the generic cell rate algorithm, ITU-T I.371: one number per name, no window.

    Args:
        per_minute: most calls; 0 for no bound.
        clock: seconds that only grow.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = MINUTE_S / per_minute if per_minute else 0.0
        self._clock = clock
        self._due: dict[str, float] = {}
        self._refused: set[str] = set()

    def admit(self, name: str) -> None:
        """Count one call.

        Raises:
            RateLimited: it is one too many; `is_first` since the last one that was admitted.
        """
        if not self._interval_s:
            return
        now = self._clock()
        due = max(self._due.get(name, now), now) + self._interval_s
        if due - now > MINUTE_S + self._interval_s / 2:  # half a step against rounding
            is_first = name not in self._refused
            self._refused.add(name)
            raise RateLimited(retry_after_s=math.ceil(due - now - MINUTE_S), is_first=is_first)
        if name not in self._due and len(self._due) >= MAX_COUNTED:
            self._refused.discard(_drop_oldest(self._due))
        self._due[name] = due
        if self._refused:
            self._refused.discard(name)

    def __len__(self) -> int:
        return len(self._due)


@dataclass(frozen=True, slots=True)
class Rates:
    """How often whom may ask.

    Attributes:
        requests: one caller, single instances not counted.
        uploads: one caller, single instances alone.
        anonymous: one address without a credential.
    """

    requests: Rate
    uploads: Rate
    anonymous: Rate


@dataclass(slots=True)
class _Failures:
    count: int
    until: float  # end of the window, or of the lock
    is_locked: bool = False


class _Counts(Generic[Name]):
    """Failures by name; a name is locked once it has too many in one window."""

    def __init__(self, failures: int, duration_s: float) -> None:
        self._failures = failures
        self._duration_s = duration_s
        self._by_name: dict[Name, _Failures] = {}

    def locked_for_s(self, name: Name, now: float) -> float:
        known = self._by_name.get(name)
        return known.until - now if known and known.is_locked and known.until > now else 0.0

    def note(self, name: Name, now: float) -> bool:
        """Count a failure; True when it locks."""
        known = self._by_name.get(name)
        if known is None or known.until <= now:
            if known is None and len(self._by_name) >= MAX_COUNTED:
                _drop_oldest(self._by_name)
            known = self._by_name[name] = _Failures(0, now + self._duration_s)
        known.count += 1
        if known.is_locked or known.count < self._failures:
            return False
        known.is_locked, known.until = True, now + self._duration_s
        return True

    def forget(self, name: Name) -> None:
        self._by_name.pop(name, None)

    def __len__(self) -> int:
        return len(self._by_name)


class Lockout:
    """Shuts out who fails too often: a credential from an address, and then the address.

    Args:
        failures: failures within `duration_s` that shut a credential out; 0 for never.
        duration_s: length of the window and of the lock, in seconds.
        clock: seconds that only grow.
    """

    def __init__(
        self, failures: int, duration_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._is_on = failures > 0
        self._clock = clock
        self._pairs: _Counts[tuple[str, bytes]] = _Counts(failures, duration_s)
        self._addresses: _Counts[str] = _Counts(failures * ADDRESS_FACTOR, duration_s)

    @property
    def is_idle(self) -> bool:
        """Nobody failed lately: there is nothing to look up."""
        return not len(self._addresses)

    def check(self, address: str, credential: bytes) -> None:
        """Refuse whoever is shut out.

        Raises:
            LockedOut: the credential from this address, or the address, failed too often.
        """
        now = self._clock()
        left_s = max(
            self._pairs.locked_for_s((address, credential), now),
            self._addresses.locked_for_s(address, now),
        )
        if left_s > 0:
            raise LockedOut(retry_after_s=math.ceil(left_s))

    def failed(self, address: str, credential: bytes) -> bool:
        """Count a failure; True when it shuts somebody out from now on."""
        if not self._is_on:
            return False
        now = self._clock()
        locks = self._pairs.note((address, credential), now)
        return self._addresses.note(address, now) or locks

    def succeeded(self, address: str, credential: bytes) -> None:
        """Forgive a credential; the address keeps its failures, others may be at it."""
        self._pairs.forget((address, credential))


def _drop_oldest(counted: dict[Name, object] | dict[Name, float] | dict[Name, _Failures]) -> Name:
    oldest = next(iter(counted))
    del counted[oldest]
    return oldest
