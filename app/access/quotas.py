"""How much an organisation may use: single instances a day, batches at once.

Instances are counted in memory and added up in the database every few seconds, together with those
of other processes: a quota may be overrun by what arrives meanwhile, and costs the upload nothing.
"""

import asyncio
import datetime as dt
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from app import telemetry
from app.access.policies import OrganizationPolicies
from app.access.repository import UsageRepository
from app.db.session import Database
from app.errors import DatabaseUnavailable, OrganizationNotFound, QuotaExceeded

ADDED_UP_AFTER_S: Final = 5.0
# Batches end when their work is done, which nobody knows beforehand.
BATCH_RETRY_S: Final = 60


@dataclass(slots=True)
class _Used:
    """What one organisation used on one day."""

    day: dt.date
    number: int
    added_at: dt.datetime
    everywhere: int = 0
    here: int = 0  # not added up yet
    is_refused: bool = False


class Quotas:
    """The quotas of every organisation, as this process knows them.

    Args:
        database: where uses are added up.
        policies: what organisations may use.
        now: the time with its zone.
    """

    def __init__(
        self,
        database: Database,
        policies: OrganizationPolicies,
        *,
        now: Callable[[], dt.datetime] = telemetry.utc_now,
    ) -> None:
        self._repository = UsageRepository(database)
        self._policies = policies
        self._now = now
        self._used: dict[str, _Used] = {}
        self._adding: dict[str, asyncio.Task[None]] = {}
        self._beginning = asyncio.Lock()

    async def admit_object(self, organization: str) -> None:
        """Count one instance.

        Raises:
            QuotaExceeded: it is one too many today.
            DatabaseUnavailable: what was used today is not known yet, and cannot be asked.
        """
        policy = await self._policies.get(organization)
        if policy is None or policy.objects_per_day is None:
            return
        used = await self._today(organization, policy.number)
        if used.everywhere + used.here >= policy.objects_per_day:
            is_first, used.is_refused = not used.is_refused, True
            raise QuotaExceeded(
                "The organisation has sent as many instances today as it may",
                retry_after_s=_until_midnight_s(self._now()),
                is_first=is_first,
            )
        used.here += 1

    async def admit_batch(self, organization: str) -> None:
        """Check that one more batch may be open.

        Raises:
            QuotaExceeded: as many batches are open as may be.
            OrganizationNotFound: there is none by that id.
            DatabaseUnavailable: Postgres does not answer.
        """
        policy = await self._policies.get(organization)
        if policy is None:
            raise OrganizationNotFound
        if policy.open_batches is None:
            return
        if await self._repository.open_batches(policy.number) >= policy.open_batches:
            raise QuotaExceeded(
                "The organisation has as many open batches as it may",
                retry_after_s=BATCH_RETRY_S,
                is_first=True,
            )

    async def close(self) -> None:
        """Add up what was counted; what cannot be is lost."""
        for task in [*self._adding.values()]:
            await asyncio.wait([task])
        for organization, used in self._used.items():
            with suppress(DatabaseUnavailable):
                await self._add_up(organization, used)

    async def _today(self, organization: str, number: int) -> _Used:
        now = self._now()
        used = self._used.get(organization)
        if used is None or used.day != now.date():
            async with self._beginning:
                return await self._begun(organization, number, now.date())
        if (now - used.added_at).total_seconds() >= ADDED_UP_AFTER_S:
            self._start(organization, used)
        return used

    async def _begun(self, organization: str, number: int, today: dt.date) -> _Used:
        """Begin a day with what other processes have counted already."""
        used = self._used.get(organization)
        if used is not None and used.day == today:  # somebody else began it meanwhile
            return used
        if used is not None:
            await self._add_up(organization, used)
        used = _Used(today, number, self._now())
        await self._add_up(organization, used)
        self._used[organization] = used
        return used

    def _start(self, organization: str, used: _Used) -> None:
        if organization not in self._adding:
            task = asyncio.create_task(self._add_up_beside(organization, used))
            self._adding[organization] = task

    async def _add_up_beside(self, organization: str, used: _Used) -> None:
        try:
            await self._add_up(organization, used)
        except DatabaseUnavailable:
            telemetry.log().warning("usage-not-added-up", organization=organization)
        finally:
            del self._adding[organization]

    async def _add_up(self, organization: str, used: _Used) -> None:
        used.added_at = self._now()
        count, used.here = used.here, 0
        used.everywhere += count
        try:
            total = await self._repository.add(organization, used.number, used.day, count)
        except BaseException:
            used.everywhere, used.here = used.everywhere - count, used.here + count
            raise
        used.everywhere = total
        used.is_refused = used.is_refused and count == 0


def _until_midnight_s(now: dt.datetime) -> int:
    tomorrow = (now + dt.timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return math.ceil((tomorrow - now).total_seconds())
