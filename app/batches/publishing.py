"""A staged chunk goes to its destination: object by object, verified, then durable.

Whether a chunk may be published, and by whom, is decided elsewhere; how a destination takes an
object is its own business.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from uuid import UUID

from app.batches.records import PublishClaim, StagedObject, object_name
from app.batches.staging import StagingArea, object_file
from app.batches.states import Priority
from app.errors import DestinationNotFound
from app.storage.destinations import Destination, open_destination
from app.storage.disk import DiskDestination
from app.storage.stores import Stores
from app.telemetry import rfc3339, utc_now

OpenDestination: TypeAlias = Callable[[str, Mapping[str, str]], Destination]
"""Opens the destination of a request for an organisation."""

CONTENT_TYPE: Final = "application/dicom"
IN_FLIGHT: Final = 8
MOST_KEPT: Final = 8


def opener(stores: Stores, area: Path) -> OpenDestination:
    """Return what opens destinations.

    Args:
        stores: named object stores.
        area: where batches without a destination of their own are published.
    """

    def open_it(organization: str, destination: Mapping[str, str]) -> Destination:
        match destination.get("kind"):
            case "staging":
                return DiskDestination(area)
            case "store":
                return open_destination(stores.destination(organization, destination["name"]))
            case "url":
                return open_destination(destination["url"])
        raise DestinationNotFound

    return open_it


class OpenDestinations:
    """Destinations that are open; clients of object stores are kept for the chunks that follow.

    Args:
        open_destination: opens one.
    """

    def __init__(self, open_destination: OpenDestination) -> None:
        self._open = open_destination
        self._kept: dict[tuple[str, frozenset[tuple[str, str]]], Destination] = {}

    @asynccontextmanager
    async def lent(
        self, organization: str, destination: Mapping[str, str]
    ) -> AsyncIterator[Destination]:
        """Lend the destination of a request.

        Raises:
            GatewayError: what opening it says.
        """
        key = (organization, frozenset(destination.items()))
        opened = self._kept.get(key)
        if opened is None:
            opened = await asyncio.to_thread(self._open, organization, destination)
        # What was put into a directory and lost its claim must not get its name by others' flush.
        is_kept = not isinstance(opened, DiskDestination)
        if is_kept:
            self._keep(key, opened)
        try:
            yield opened
        finally:
            if not is_kept:
                await opened.close()

    async def close(self) -> None:
        """Close them all."""
        while self._kept:
            _, opened = self._kept.popitem()
            await opened.close()

    def _keep(self, key: tuple[str, frozenset[tuple[str, str]]], opened: Destination) -> None:
        self._kept.setdefault(key, opened)
        while len(self._kept) > MOST_KEPT:  # whoever uses it may go on
            del self._kept[next(iter(self._kept))]


@dataclass(frozen=True, slots=True)
class Publisher:
    """What a worker process publishes chunks with."""

    staging: StagingArea
    destinations: OpenDestinations

    async def run(self, claim: PublishClaim, *, is_held: Callable[[], bool]) -> bool:
        """Publish a chunk; True when every object is there, as it was staged, durably.

        Args:
            claim: the chunk.
            is_held: asked before each object whether it is still this worker's to publish.

        Raises:
            StagedFileDamaged: a staged file is gone or damaged.
            Unavailable: the destination does not answer; to be tried again later.
            GatewayError: the destination does not take the objects.
        """
        destination = claim.request.destination
        async with self.destinations.lent(claim.organization, destination) as opened:
            return await _Run(self.staging, claim, opened, is_held).finished()


class _Run:
    """One chunk on its way."""

    def __init__(
        self,
        staging: StagingArea,
        claim: PublishClaim,
        destination: Destination,
        is_held: Callable[[], bool],
    ) -> None:
        self._claim = claim
        self._destination = destination
        self._is_held = is_held
        self._directory = staging.chunk_directory(claim.batch_id, claim.number, claim.staged_epoch)
        self._attributes = attributes_of(claim.batch_id, claim.priority)
        self._waiting = iter(claim.objects)
        self._names: list[str] = []
        self._trouble: Exception | None = None

    async def finished(self) -> bool:
        """Put every object, then make them durable."""
        lanes = min(IN_FLIGHT, len(self._claim.objects))
        async with asyncio.TaskGroup() as group:
            for _ in range(lanes):
                group.create_task(self._lane())
        if self._trouble is not None:
            raise self._trouble
        # A directory gives names only now.
        if len(self._names) < len(self._claim.objects) or not self._is_held():
            return False
        await self._destination.flush(self._names)
        return True

    async def _lane(self) -> None:
        for staged in self._left():
            try:
                await self._put(staged)
            except Exception as error:  # noqa: BLE001 - raised when the others have stopped
                self._trouble = self._trouble or error

    def _left(self) -> Iterator[StagedObject]:
        while self._trouble is None and self._is_held():
            staged = next(self._waiting, None)
            if staged is None:
                return
            yield staged

    async def _put(self, staged: StagedObject) -> None:
        claim = self._claim
        name = published_name(claim.batch_id, staged)
        await self._destination.put(
            name,
            self._directory / object_file(staged.seq),
            size=staged.size,
            sha256=staged.sha256,
            attributes=self._attributes,
            content_type=CONTENT_TYPE,
            is_resumed=not claim.is_first,
        )
        self._names.append(name)


def published_name(batch_id: UUID, staged: StagedObject) -> str:
    """Name an object at its destination."""
    name = object_name(staged.cloud_study_id, staged.series_uid, staged.sop_instance_uid)
    return f"{batch_id}/{name}"


def attributes_of(batch_id: UUID, priority: Priority) -> dict[str, str]:
    """Describe an object of a batch to its destination."""
    return {
        "batch_id": str(batch_id),
        "priority": priority.name,
        "uploaded_at": rfc3339(utc_now()),
    }
