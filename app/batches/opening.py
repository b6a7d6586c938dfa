"""Sources of the batches that are worked on: opened once and kept for the chunks that follow."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from app.errors import GatewayError
from app.storage.found import StudySource

MOST_KEPT: Final = 8
KEPT_S: Final = 60.0

OpenSource = Callable[[Mapping[str, str], str], StudySource]
"""Opens the source of a request for an organisation: ``app.storage.sources.Sources.open``."""


@dataclass(slots=True, eq=False, repr=False)
class _Kept:
    opening: asyncio.Task[StudySource]
    users: int = 0
    used_at: float = 0.0
    is_current: bool = True


class OpenSources:
    """A bounded number of open sources, each shared by all who work on its batch.

    Args:
        open_source: opens one; called in a thread.
    """

    def __init__(self, open_source: OpenSource) -> None:
        self._open = open_source
        self._kept: dict[UUID, _Kept] = {}

    @asynccontextmanager
    async def lent(
        self, batch_id: UUID, organization: str, source: Mapping[str, str]
    ) -> AsyncIterator[StudySource]:
        """Lend the source of a batch; after an error it is opened anew for the next one.

        Raises:
            GatewayError: what opening it says.
        """
        kept = self._kept.get(batch_id)
        if kept is None:
            opening = asyncio.create_task(asyncio.to_thread(self._open, source, organization))
            kept = self._kept[batch_id] = _Kept(opening)
        kept.users += 1
        try:
            yield await asyncio.shield(kept.opening)
        except BaseException:
            self._forget(batch_id, kept)
            raise
        finally:
            kept.users -= 1
            kept.used_at = asyncio.get_running_loop().time()
            if not kept.is_current and not kept.users:
                await _close(kept)
            await self.close_idle()

    async def close_idle(self, *, kept_s: float = KEPT_S) -> None:
        """Close what nobody has used for a while, and the oldest of too many."""
        now = asyncio.get_running_loop().time()
        idle = sorted(
            (item for item in self._kept.items() if not item[1].users),
            key=lambda item: item[1].used_at,
        )
        surplus = len(self._kept) - MOST_KEPT
        for place, (batch_id, kept) in enumerate(idle):
            if place < surplus or now - kept.used_at >= kept_s:
                self._forget(batch_id, kept)
                await _close(kept)

    async def close(self) -> None:
        """Close all that nobody uses."""
        await self.close_idle(kept_s=0)

    def _forget(self, batch_id: UUID, kept: _Kept) -> None:
        kept.is_current = False
        if self._kept.get(batch_id) is kept:
            del self._kept[batch_id]


async def _close(kept: _Kept) -> None:
    with suppress(GatewayError, OSError):  # it did not open, or is gone
        source = await kept.opening
        await asyncio.to_thread(source.close)
