"""A chunk of files through the pipeline into the staging area; every file ends in a result.

Several instances are in flight at once, so that their mapping rows share a commit. Memory is
bounded by them, not by the chunk. What a chunk is, and who gets it, is decided elsewhere.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol, TypeVar

from app import pipeline, telemetry
from app.batches.fullness import Fullness
from app.batches.opening import OpenSources
from app.batches.publishing import OpenDestinations
from app.batches.records import ChunkClaim, ItemResult, SourceFile
from app.batches.staging import StagingArea, object_file
from app.batches.states import ItemState
from app.batches.writing import Writers
from app.dicom.source import Source
from app.errors import (
    GatewayError,
    InvalidInput,
    MediaDirectory,
    MissingReferencedFile,
    NotDicom,
    ProfileNotFound,
    Quarantined,
    QuarantineFull,
    Refused,
    Unavailable,
    UnreadableFile,
)
from app.pipeline import Context, Deidentified
from app.pixels.rulings import SourceKind
from app.storage.found import StudySource
from app.vault.service import Vault

# Most of a chunk of ordinary slices: the more there are, the fewer commits they take.
IN_FLIGHT: Final = 128
# Those whose pixels may have to be read wait for child processes, each with several files open.
IN_FLIGHT_PIXELS: Final = 40
# Larger ones hold more memory, and a thread each.
LARGE_IN_FLIGHT: Final = 2
THREADS: Final = 16
# When so little of a chunk is not begun, it is time to look for the next one.
NEARLY_FILES: Final = 48
NEARLY_BYTES: Final = 24 << 20
# Small objects that become large ones are inflated as long as all together grew by less than this.
SWOLLEN_BYTES: Final = 64 << 20
# What is done of a chunk is not thrown away for a moment's trouble with a part that is needed.
PAUSES_S: Final = (0.3, 1.0, 2.0)

_IGNORED: Final = (NotDicom, MediaDirectory)
_FAILED: Final = (UnreadableFile, MissingReferencedFile)
# Kinds of sources that are read from a disk, and so without waiting for a network.
_NEAR: Final = frozenset({"directory", "archive"})

Answer = TypeVar("Answer")


class Contexts(Protocol):
    """Gives the pipeline what one organisation and profile need."""

    def get(self, organization: str, profile: str, domain: str = "") -> Context:
        """Return it; raise ProfileNotFound for a name that nobody defined."""


class OutOfMemory(Unavailable):
    """This process has no memory left for an object; later it may."""


@dataclass(frozen=True, slots=True)
class Processor:
    """What a worker process de-identifies chunks with; made inside of its event loop.

    Attributes:
        inline_bytes: objects up to this size are treated in the event loop, others in a thread.
        executor: threads for large objects and slow sources.
        writers: threads that write results.
    """

    sources: OpenSources
    destinations: OpenDestinations
    contexts: Contexts
    vault: Vault
    staging: StagingArea
    inline_bytes: int
    executor: Executor
    writers: Writers
    lanes: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(IN_FLIGHT))
    pixel_lanes: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(IN_FLIGHT_PIXELS)
    )
    large: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LARGE_IN_FLIGHT))
    swelling: "Swelling" = field(default_factory=lambda: Swelling())  # noqa: PLW0108 - stands below
    fullness: Fullness = field(default_factory=Fullness)

    async def run(
        self,
        claim: ChunkClaim,
        *,
        is_held: Callable[[], bool],
        on_nearly_done: Callable[[], None] = lambda: None,
        on_all_begun: Callable[[], None] = lambda: None,
    ) -> Sequence[ItemResult] | None:
        """Take a chunk through the pipeline; what it stages is not brought to disk here.

        Args:
            claim: the chunk.
            is_held: asked before each file whether to go on.
            on_nearly_done: called when little is left; perhaps several times, or never.
            on_all_begun: called when nothing is left to be begun; likewise.

        Returns:
            The results in the order of the files; None when it was told to stop.

        Raises:
            Unavailable: a part that is needed does not answer; the chunk is to be given back.
        """
        chunk = (claim.batch_id, claim.number)
        try:
            context = self._context(claim)
            await self.fullness.require_room(chunk, context)
            source = claim.request.source
            async with self.sources.lent(claim.batch_id, claim.organization, source) as opened:
                directory = await asyncio.to_thread(
                    self.staging.make_chunk, claim.batch_id, claim.number, claim.epoch
                )
                place = _Place(f"{directory}/", await self._may_be_direct(claim))
                watch = _Watch(is_held, on_nearly_done, on_all_begun)
                work = _Run(self, claim, opened, context, place, watch)
                try:
                    return await work.results()
                except QuarantineFull as error:
                    self.fullness.met(chunk, error)
                    raise
        except Unavailable:
            raise
        except GatewayError as error:  # the source or the profile: no file can be worked on
            return [result_of(file, error) for file in claim.files]

    async def in_thread(self, work: Callable[[], Answer]) -> Answer:
        """Run blocking work beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.executor, work)

    async def _may_be_direct(self, claim: ChunkClaim) -> bool:
        """Say whether what is staged will be linked, not read, when it is published."""
        if not self.staging.is_direct:
            return False
        try:
            destination = claim.request.destination
            async with self.destinations.lent(claim.organization, destination) as opened:
                return await opened.links(self.staging.path)
        except (GatewayError, OSError):  # it is told when something is to be published
            return False

    def _context(self, claim: ChunkClaim) -> Context:
        """Return the context with the very version of the profile that the batch came with."""
        domain = claim.request.destination.get("domain", "")
        context = self.contexts.get(claim.organization, claim.profile, domain)
        if context.profile.version != claim.profile_version:
            raise ProfileNotFound("The profile has another version at this worker")
        return context


class Swelling:
    """Bounds what is inflated at the same time: a few bytes can become very many."""

    def __init__(self) -> None:
        self._grown: dict[asyncio.Task[object] | None, int] = {}
        self._ended = asyncio.Event()

    async def work(self, size: int, work: Callable[[], Deidentified]) -> Deidentified:
        """Do the work on an object of that size as soon as others hold little that is swollen."""
        while sum(self._grown.values()) >= SWOLLEN_BYTES:
            self._ended.clear()
            await self._ended.wait()
        done = work()
        if done.size > size:
            self._grown[asyncio.current_task()] = done.size - size
        return done

    def end(self) -> None:
        """Let others go on, if it was this task that held them up."""
        if self._grown.pop(asyncio.current_task(), 0):
            self._ended.set()


@dataclass(frozen=True, slots=True)
class _Watch:
    """What is asked and told while a chunk is under way."""

    is_held: Callable[[], bool]
    on_nearly_done: Callable[[], None]
    on_all_begun: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where results are staged.

    Attributes:
        prefix: of the paths of files.
        is_direct: whether the files may be written past the page cache.
    """

    prefix: str
    is_direct: bool


class _Run:
    """One chunk under way."""

    def __init__(
        self,
        parts: Processor,
        claim: ChunkClaim,
        source: StudySource,
        context: Context,
        place: _Place,
        watch: _Watch,
    ) -> None:
        self._parts = parts
        self._files = claim.files
        self._source = source
        self._context = context
        self._place = place
        self._watch = watch
        self._is_held = watch.is_held
        self._actor = pipeline.Actor(
            claim.actor, request_id=claim.request_id, kind=SourceKind.BATCH
        )
        cleans = context.profile.cleans_pixels
        self._lanes = parts.pixel_lanes if cleans else parts.lanes
        self._most = IN_FLIGHT_PIXELS if cleans else IN_FLIGHT
        self._is_near = claim.request.source["kind"] in _NEAR
        self._waiting = deque(claim.files)
        self._left_bytes = sum(file.size for file in claim.files)
        self._done: dict[int, ItemResult] = {}
        self._trouble: Unavailable | None = None

    async def results(self) -> Sequence[ItemResult] | None:
        """Work until every file has its result."""
        for pause_s in (*PAUSES_S, None):
            await self._work()
            if self._trouble is None:
                break
            if pause_s is None or isinstance(self._trouble, QuarantineFull):
                raise self._trouble
            self._trouble = None
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
        if self._waiting:
            return None
        return [self._done[file.seq] for file in self._files]

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as lanes:
            for _ in range(min(self._most, len(self._waiting))):
                lanes.create_task(self._lane())

    async def _lane(self) -> None:
        while self._waiting:
            async with self._lanes:
                if not self._waiting or self._trouble is not None or not self._is_held():
                    return
                await self._next()

    async def _next(self) -> None:
        """Work on the next file."""
        file = self._waiting.popleft()
        self._left_bytes -= file.size
        if len(self._waiting) < NEARLY_FILES and self._left_bytes < NEARLY_BYTES:
            self._watch.on_nearly_done()
        if not self._waiting:
            self._watch.on_all_begun()
        try:
            self._done[file.seq] = await self._result(file)
        except Unavailable as error:
            self._trouble = error
            self._waiting.append(file)
        except BaseException:
            self._waiting.append(file)
            raise

    async def _result(self, file: SourceFile) -> ItemResult:
        if file.code:
            return ItemResult(file, file.state, file.code)
        try:
            return await self._staged(file)
        except Unavailable:
            raise
        except GatewayError as error:
            return result_of(file, error)
        except MemoryError:
            raise OutOfMemory from None
        except Exception as error:  # noqa: BLE001 - one file must not end the work of all others
            where, kind = telemetry.place_of(error), type(error).__name__
            telemetry.log().error("object-not-processed", kind=kind, where=where)
            await pipeline.record_refusal(
                GatewayError(), self._context, vault=self._parts.vault, actor=self._actor
            )
            return ItemResult(file, ItemState.FAILED, GatewayError.code, GatewayError.title)

    async def _staged(self, file: SourceFile) -> ItemResult:
        """De-identify one file into the staging area."""
        parts = self._parts
        if file.size <= parts.inline_bytes and self._is_near:
            with self._source.lend(file.name) as source:
                if source.size <= parts.inline_bytes:
                    return await self._written(file, source)
        elif file.size <= parts.inline_bytes:
            with ExitStack() as stack:
                source = await self._lent(file, stack)
                if source.size <= parts.inline_bytes:
                    return await self._written(file, source)
        async with parts.large:
            with ExitStack() as stack:
                return await self._written_apart(file, await self._lent(file, stack))

    async def _lent(self, file: SourceFile, stack: ExitStack) -> Source:
        """Open a file in a thread, because that takes long where it is far away or large."""
        return await self._parts.in_thread(
            lambda: stack.enter_context(self._source.lend(file.name))
        )

    async def _written(self, file: SourceFile, source: Source) -> ItemResult:
        """Treat a small object in the event loop."""
        swelling = self._parts.swelling
        try:
            done = await pipeline.run(
                source,
                self._context,
                vault=self._parts.vault,
                actor=self._actor,
                offload=partial(swelling.work, source.size),
            )
            path = self._path(file)
            sha256 = await self._parts.writers.write(done, path, is_direct=self._place.is_direct)
            return _success(file, done, sha256)
        finally:
            swelling.end()

    async def _written_apart(self, file: SourceFile, source: Source) -> ItemResult:
        """Treat a large object in threads, so that the event loop lives."""
        in_thread = self._parts.in_thread
        done = await pipeline.run(
            source,
            self._context,
            vault=self._parts.vault,
            actor=self._actor,
            offload=in_thread,
        )
        path, write = self._path(file), self._parts.writers.write_here
        sha256 = await in_thread(lambda: write(done, path, is_direct=self._place.is_direct))
        return _success(file, done, sha256)

    def _path(self, file: SourceFile) -> str:
        return self._place.prefix + object_file(file.seq)


def result_of(file: SourceFile, error: GatewayError) -> ItemResult:
    """Say what an error makes of a file."""
    return ItemResult(
        file,
        state=state_of(type(error)),
        code=error.code,
        detail=error.detail,
        element_path=error.path or "",
        quarantine_id=error.quarantine_id if isinstance(error, Quarantined) else "",
    )


def state_of(error: type[GatewayError]) -> ItemState:
    """Say what becomes of a file with such an error."""
    if issubclass(error, _IGNORED):
        return ItemState.IGNORED
    if issubclass(error, Quarantined):
        return ItemState.IN_REVIEW
    if issubclass(error, InvalidInput | Refused) and not issubclass(error, _FAILED):
        return ItemState.REFUSED
    return ItemState.FAILED


def _success(file: SourceFile, done: Deidentified, sha256: bytes) -> ItemResult:
    names = done.replacements
    return ItemResult(
        file,
        state=ItemState.SUCCEEDED,
        warnings=tuple(map(str, done.warnings)),
        cloud_study_id=names.cloud_study_id,
        cloud_patient_id=names.cloud_patient_id,
        patient_id=names.patient_id,
        study_uid=names.study_uid,
        series_uid=names.series_uid,
        sop_instance_uid=names.sop_instance_uid,
        sop_class_uid=done.sop_class_uid,
        modality=done.modality,
        size=done.size,
        sha256=sha256,
    )
