"""One piece of work of each kind, from the claim to what becomes of it.

A piece never fails its worker: trouble with a part gives it back for later, its own fault ends its
batch, and what nobody foresaw is logged and tried again a few times. Whatever happens between two
steps, the tables decide who may go on.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Final, Generic, TypeAlias, TypeVar
from uuid import UUID

from app import telemetry
from app.batches.callbacks import Callbacks
from app.batches.ending import Ending, Setbacks, pause_s
from app.batches.finishing import Finisher
from app.batches.holdings import Holdings, batch_of
from app.batches.processing import Processor, result_of
from app.batches.publishing import OpenDestinations, Publisher
from app.batches.quiet import Baton, Quiet
from app.batches.records import (
    ChunkClaim,
    CleanClaim,
    FinishClaim,
    ItemResult,
    PublishClaim,
    ScanClaim,
)
from app.batches.room import Room, RoomState
from app.batches.scanning import Scanner
from app.batches.staging import StagingArea
from app.batches.standing import Standing
from app.batches.states import ItemState, OnError
from app.batches.telling import Telling
from app.batches.tickets import Task
from app.batches.waiting import reason_of
from app.batches.work import BatchWork, Claim
from app.errors import (
    DatabaseUnavailable,
    GatewayError,
    StagingFull,
    StorageUnavailable,
    Unavailable,
)
from app.storage.staged import StagedFileDamaged

# Unforeseen failures in a row after which a batch, or the files of a chunk, are given up.
MAX_STUMBLES: Final = 4
ROOM_LOOK_S: Final = 1.0
# What must get into the tables is tried for half a minute, then once more from the claim on.
TRIES: Final = 10
LONGEST_TRY_PAUSE_S: Final = 5.0

AnyClaim = TypeVar("AnyClaim", bound=Claim)
Answer = TypeVar("Answer")
Wake: TypeAlias = Callable[[Task], None]


@dataclass(frozen=True, slots=True)
class Tools:
    """What the pieces are worked on with."""

    work: BatchWork
    staging: StagingArea
    room: Room
    scanner: Scanner
    processor: Processor
    destinations: OpenDestinations
    finisher: Finisher
    callbacks: Callbacks
    metrics: telemetry.BatchMetrics


@dataclass(frozen=True, slots=True)
class Answered(Generic[Answer]):
    """What the tables said, and whether they were asked once only."""

    value: Answer
    is_first: bool


class Pieces:
    """The work of one worker process.

    Args:
        holdings: what the worker holds.
        standing: asks the tables about this worker.
        ending: says when work is over.
        wake: tells that there may be work of a kind.

    Attributes:
        telling: the callbacks under way.
    """

    def __init__(
        self, tools: Tools, holdings: Holdings, standing: Standing, ending: Ending, wake: Wake
    ) -> None:
        self._tools = tools
        self._holdings = holdings
        self._standing = standing
        self._work = tools.work
        self._staging = tools.staging
        self._ending = ending
        self._wake = wake
        self._setbacks = Setbacks()
        self._cut_off: list[Claim] = []
        self._claiming = asyncio.Lock()
        self._computing = asyncio.Lock()
        self._quiet = Quiet()
        self.telling = Telling(tools.work, tools.callbacks, ending.is_near)
        self._publisher = Publisher(tools.staging, tools.destinations)
        self._turns: Mapping[Task, Callable[[], Awaitable[bool]]] = {
            Task.SCAN: self._scan,
            Task.PROCESS: self._process,
            Task.PUBLISH: self._publish,
            Task.FINISH: self._finish,
            Task.CLEAN: self._clean,
            Task.CALL_BACK: self.telling.turn,
        }

    async def turn(self, task: Task) -> bool:
        """Do one piece of a kind; False when there is none.

        Raises:
            Unavailable: the tables or the staging area do not answer.
        """
        return await self._turns[task]()

    async def give_all_back(self) -> None:
        """Give back what was cut off when the worker had to go."""
        for claim in (*self._cut_off, *self._holdings.claims):
            with suppress(DatabaseUnavailable):
                await self._work.give_back(claim)

    # Listing

    async def _scan(self) -> bool:
        claim = await self._work.claim_scan(self._holdings.worker, self._staging.staging_id)
        if claim is None:
            return False
        await self._guarded(Task.SCAN, claim, self._scan_batch)
        return True

    async def _scan_batch(self, claim: ScanClaim) -> None:
        if claim.is_reopening:
            await self._open_again(claim)
            return
        scanned = await self._standing.scanned_bytes(claim.batch_id) if claim.next_seq else 0
        is_whole = await self._tools.scanner.run(
            claim, scanned_bytes=scanned, may_go_on=lambda: not self._ending.is_near()
        )
        if not is_whole:
            await self._surely(lambda: self._work.give_back(claim))

    async def _open_again(self, claim: ScanClaim) -> None:
        while await self._work.open_page(claim):
            if self._ending.is_near():
                await self._surely(lambda: self._work.give_back(claim))
                return

    # De-identifying

    async def _process(self) -> bool:
        # One chunk is claimed at a time: the next one when little is left of it to be begun.
        async with Baton(self._claiming) as claiming:
            if not await self._has_room():
                return False
            claim = await self._work.claim_chunk(self._holdings.worker, self._staging.staging_id)
            if claim is None:
                return False

            async def process(claim: ChunkClaim) -> None:
                if claim.attempts == 1:
                    async with self._quiet.shared():
                        await self._process_chunk(claim, claiming.release)
                else:  # it may have killed a worker
                    async with self._quiet.alone():
                        await self._process_chunk(claim, lambda: None)

            await self._guarded(Task.PROCESS, claim, process)
        return True

    async def _process_chunk(self, claim: ChunkClaim, on_nearly_done: Callable[[], None]) -> None:
        results = await self._staged(claim, on_nearly_done)
        if results is not None:
            await self._record(claim, results)
            return
        await self._remove(claim.batch_id, claim.number, claim.epoch)
        await self._surely(lambda: self._work.give_back(claim))

    async def _staged(
        self, claim: ChunkClaim, on_nearly_done: Callable[[], None]
    ) -> Sequence[ItemResult] | None:
        """De-identify a chunk and bring it to disk, which the next one does not wait for."""
        try:
            async with Baton(self._computing) as computing:
                results = await self._tools.processor.run(
                    claim,
                    is_held=lambda: self._holds(claim),
                    on_nearly_done=on_nearly_done,
                    on_all_begun=computing.release,
                )
            on_nearly_done()
            if results is not None:
                await asyncio.to_thread(self._staging.sync)
        except BaseException:
            await self._remove(claim.batch_id, claim.number, claim.epoch)
            raise
        return results

    async def _record(self, claim: ChunkClaim, results: Sequence[ItemResult]) -> None:
        """Put the results of a chunk into the tables; they stay staged where it is accepted."""
        answer = await self._surely(
            lambda: self._work.finish_chunk(claim, results, self._staging.staging_id)
        )
        if answer.value is None:
            if answer.is_first:
                # Nobody waits for them. After a lost answer they may be what was accepted.
                await self._remove(claim.batch_id, claim.number, claim.epoch)
        else:
            states = Counter(str(result.state) for result in answer.value)
            self._tools.metrics.count_files(states, sum(result.size for result in answer.value))
            if not states[str(ItemState.SUCCEEDED)]:
                # Nothing of it is published, whose end would remove what is staged.
                await self._remove(claim.batch_id, claim.number, claim.epoch)
                self._wake(Task.FINISH)
            elif claim.on_error is OnError.SKIP:
                self._wake(Task.PUBLISH)

    async def _has_room(self) -> bool:
        """Wait until the staging area has room; False when the worker is to stop before."""
        while not self._ending.is_near():
            state = await self._tools.room.look()
            if state is RoomState.OPEN:
                return True
            await self._ending.sleep(ROOM_LOOK_S)
        return False

    # Publishing

    async def _publish(self) -> bool:
        async with self._quiet.shared():
            claim = await self._work.claim_publish(self._holdings.worker, self._staging.staging_id)
            if claim is None:
                return False
            await self._guarded(Task.PUBLISH, claim, self._publish_chunk)
        return True

    async def _publish_chunk(self, claim: PublishClaim) -> None:
        try:
            is_whole = await self._publisher.run(claim, is_held=lambda: self._holds(claim))
        except StagedFileDamaged:
            telemetry.log().error("staged-lost", batch_id=str(claim.batch_id))
            await self._surely(lambda: self._work.restage(claim))
            return
        if not is_whole:
            await self._surely(lambda: self._work.give_back(claim))
            return
        answer = await self._surely(lambda: self._work.finish_publish(claim))
        if answer.value:
            self._tools.metrics.published.inc(len(claim.objects))
            await self._remove(claim.batch_id, claim.number, claim.staged_epoch)
        self._wake(Task.FINISH)

    # The end

    async def _finish(self) -> bool:
        claim = await self._work.claim_finish(self._holdings.worker, self._staging.staging_id)
        if claim is None:
            return False
        await self._guarded(Task.FINISH, claim, self._finish_batch)
        return True

    async def _finish_batch(self, claim: FinishClaim) -> None:
        manifest = await self._tools.finisher.run(
            claim, is_held=lambda: self._standing.holds_batch(claim)
        )
        if manifest is not None:
            await self._surely(lambda: self._work.finish(claim, manifest))
        self._wake(Task.CALL_BACK)

    # What comes after

    async def _clean(self) -> bool:
        claim = await self._work.claim_clean(self._staging.staging_id)
        if claim is None:
            return False
        try:
            await self._clean_up(claim)
            await self._work.finish_clean(claim)
        except GatewayError as error:  # it comes again
            telemetry.log().warning("not-tidied-up", kind=claim.kind, code=error.code)
        return True

    async def _clean_up(self, claim: CleanClaim) -> None:
        if claim.kind == "staged":
            await asyncio.to_thread(self._staging.remove_staged, claim.batch_id)
        elif claim.kind == "upload":
            await self._clean_upload(claim)
        else:
            destination = claim.request.destination
            async with self._tools.destinations.lent(claim.organization, destination) as opened:
                await opened.remove(str(claim.batch_id))

    async def _clean_upload(self, claim: CleanClaim) -> None:
        source = claim.request.source
        if source["kind"] != "archive":
            return
        if not await self._work.is_archive_needed(claim, self._staging.staging_id):
            await asyncio.to_thread(self._staging.remove_upload, source["name"])

    # What can go wrong

    async def _guarded(
        self, task: Task, claim: AnyClaim, do: Callable[[AnyClaim], Awaitable[None]]
    ) -> None:
        """Work on a claim; whatever happens, somebody can go on with it."""
        began = perf_counter()
        what = (task, batch_of(claim))
        with self._holdings.watching(claim):
            try:
                await do(claim)
                self._setbacks.forget(what)
            except asyncio.CancelledError:
                self._cut_off.append(claim)
                raise
            except Unavailable as error:
                await self._set_back(task, claim, error)
            except GatewayError as error:
                await self._give_up(claim, error)
            except Exception as error:  # noqa: BLE001 - the worker goes on with other work
                log_unforeseen(task, error)
                if self._setbacks.add((what, "unforeseen")) >= MAX_STUMBLES:
                    await self._give_up(claim, GatewayError())
                else:
                    await self._set_back(task, claim, GatewayError())
        self._tools.metrics.pieces.labels(word(task)).observe(perf_counter() - began)

    async def _set_back(self, task: Task, claim: Claim, error: GatewayError) -> None:
        """Give a claim back, to be tried again after a pause that grows."""
        count = self._setbacks.add((task, batch_of(claim)))
        self._tools.metrics.setbacks.labels(word(task), error.code).inc()
        telemetry.log().warning(
            "work-set-back", kind=word(task), code=error.code, batch_id=str(batch_of(claim))
        )
        # The database answers again when this gets through. Publishing would count the wait as a
        # try of the destination.
        is_database = isinstance(error, DatabaseUnavailable)
        is_waiting = isinstance(claim, ChunkClaim) or not is_database
        seconds = pause_s(count) if is_waiting and not self._ending.is_near() else 0.0
        if isinstance(error, StagingFull):
            self._tools.room.overflowed()
        reason = reason_of(task, error) if seconds else ""
        await self._surely(lambda: self._work.give_back(claim, seconds, reason))

    async def _give_up(self, claim: Claim, error: GatewayError) -> None:
        if isinstance(claim, ChunkClaim):
            await self._record(claim, [result_of(file, error) for file in claim.files])
        else:
            await self._surely(lambda: self._work.fail(claim, error))

    async def _surely(self, call: Callable[[], Awaitable[Answer]]) -> Answered[Answer]:
        """Ask the tables until they answer, or work is over.

        Raises:
            DatabaseUnavailable: they do not.
        """
        for count in range(1, TRIES + 1):
            try:
                return Answered(await call(), is_first=count == 1)
            except DatabaseUnavailable:
                if count == TRIES or self._ending.is_over():
                    raise
                await asyncio.sleep(min(LONGEST_TRY_PAUSE_S, pause_s(count) / 4))
        raise AssertionError

    async def _remove(self, batch_id: UUID, number: int, epoch: int) -> None:
        try:
            await asyncio.to_thread(self._staging.remove_chunk, batch_id, number, epoch)
        except StorageUnavailable as error:  # tidied up with the batch
            telemetry.log().warning("staged-not-removed", code=error.code)

    def _holds(self, claim: ChunkClaim | PublishClaim) -> bool:
        return self._holdings.holds(claim) and not self._ending.is_over()


def word(task: Task) -> str:
    """Name a kind of work for logs and metrics."""
    return task.removeprefix("batches.")


def log_unforeseen(task: Task, error: Exception) -> None:
    """Log what nobody foresaw: where it came from, never what it says."""
    telemetry.log().error(
        "unforeseen", source=word(task), kind=type(error).__name__, where=telemetry.place_of(error)
    )
