"""What an organisation's callers get where nothing else is said, remembered for a few seconds."""

import time
from collections.abc import Callable
from typing import Final

from app.access.principals import OrganizationPolicy
from app.access.repository import OrganizationRepository
from app.db.session import Database

CACHE_LIFETIME_S: Final = 5.0
MAX_REMEMBERED: Final = 1024


class OrganizationPolicies:
    """The policies of all organisations.

    Args:
        database: where they are kept.
        clock: seconds that only grow.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._repository = OrganizationRepository(database)
        self._clock = clock
        self._known: dict[str, tuple[float, OrganizationPolicy | None]] = {}

    async def get(self, organization: str) -> OrganizationPolicy | None:
        """Return the policy of an organisation; None where there is none by that id.

        Raises:
            DatabaseUnavailable: Postgres does not answer and it was not asked lately.
        """
        now = self._clock()
        known = self._known.get(organization)
        if known is not None and known[0] > now:
            return known[1]
        policy = await self._repository.policy(organization)
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[organization] = (now + CACHE_LIFETIME_S, policy)
        return policy
