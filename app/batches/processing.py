"""A chunk of files through the pipeline into the staging area; every file ends in a result.

Several instances are in flight at once, so that their mapping rows share a commit. Memory is
bounded by them, not by the chunk. What a chunk is, and who gets it, is decided elsewhere.
"""

import asyncio
import hashlib
import os
import random
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, TypeVar

from app import pipeline, telemetry
from app.batches.fullness import Fullness
from app.batches.opening import OpenSources
from app.batches.records import ChunkClaim, ItemResult, SourceFile
from app.batches.staging import StagingArea, create, object_file, storage_error
from app.batches.states import ItemState
from app.dicom.source import Source, write_all
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

IN_FLIGHT: Final = 40
# Larger ones hold more memory, and a thread each.
LARGE_IN_FLIGHT: Final = 2
THREADS: Final = 16
PIECE_BYTES: Final = 1 << 20
# When so little of a chunk is not begun, it is time to look for the next one.
NEARLY_FILES: Final = 48
NEARLY_BYTES: Final = 24 << 20
# A small object that makes a result of more than this was inflated: one at a time.
SWOLLEN_BYTES: Final = 16 << 20
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
    """

    sources: OpenSources
    contexts: Contexts
    vault: Vault
    staging: StagingArea
    inline_bytes: int
    executor: Executor
    large: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LARGE_IN_FLIGHT))
    swelling: "Swelling" = field(default_factory=lambda: Swelling())  # noqa: PLW0108 - stands below
    fullness: Fullness = field(default_factory=Fullness)

    async def run(
        self,
        claim: ChunkClaim,
        *,
        is_held: Callable[[], bool],
        on_nearly_done: Callable[[], None] = lambda: None,
    ) -> Sequence[ItemResult] | None:
        """Take a chunk through the pipeline; what it stages is not brought to disk here.

        Args:
            claim: the chunk.
            is_held: asked before each file whether to go on.
            on_nearly_done: called when little is left; perhaps several times, or never.

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
                watch = _Watch(is_held, on_nearly_done)
                work = _Run(self, claim, opened, context, directory, watch)
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

    def _context(self, claim: ChunkClaim) -> Context:
        """Return the context with the very version of the profile that the batch came with."""
        domain = claim.request.destination.get("domain", "")
        context = self.contexts.get(claim.organization, claim.profile, domain)
        if context.profile.version != claim.profile_version:
            raise ProfileNotFound("The profile has another version at this worker")
        return context


class Swelling:
    """Keeps objects from being inflated at the same time: a few bytes can become very many."""

    def __init__(self) -> None:
        self._holder: asyncio.Task[object] | None = None
        self._ended = asyncio.Event()

    async def work(self, work: Callable[[], Deidentified]) -> Deidentified:
        """Do the work as soon as no other task holds something swollen."""
        while self._holder is not None:
            await self._ended.wait()
        done = work()
        if done.size > SWOLLEN_BYTES:
            self._holder = asyncio.current_task()
            self._ended.clear()
        return done

    def end(self) -> None:
        """Let others go on, if it was this task that held them up."""
        if self._holder is not None and self._holder is asyncio.current_task():
            self._holder = None
            self._ended.set()


@dataclass(frozen=True, slots=True)
class _Watch:
    """What is asked and told while a chunk is under way."""

    is_held: Callable[[], bool]
    on_nearly_done: Callable[[], None]


class _Run:
    """One chunk under way."""

    def __init__(
        self,
        parts: Processor,
        claim: ChunkClaim,
        source: StudySource,
        context: Context,
        directory: Path,
        watch: _Watch,
    ) -> None:
        self._parts = parts
        self._files = claim.files
        self._source = source
        self._context = context
        self._directory = f"{directory}/"
        self._is_held = watch.is_held
        self._on_nearly_done = watch.on_nearly_done
        self._actor = pipeline.Actor(
            claim.actor, request_id=claim.request_id, kind=SourceKind.BATCH
        )
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
            for _ in range(min(IN_FLIGHT, len(self._waiting))):
                lanes.create_task(self._lane())

    async def _lane(self) -> None:
        while self._waiting and self._trouble is None and self._is_held():
            file = self._waiting.popleft()
            self._left_bytes -= file.size
            if len(self._waiting) < NEARLY_FILES and self._left_bytes < NEARLY_BYTES:
                self._on_nearly_done()
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
            return ItemResult(file, ItemState.FAILED, GatewayError.code, GatewayError.title)

    async def _staged(self, file: SourceFile) -> ItemResult:
        """De-identify one file into the staging area."""
        parts = self._parts
        if file.size <= parts.inline_bytes:
            with ExitStack() as stack:
                source = await self._lent(file, stack)
                if source.size <= parts.inline_bytes:
                    return await self._written(file, source)
        async with parts.large:
            with ExitStack() as stack:
                source = await parts.in_thread(
                    lambda: stack.enter_context(self._source.lend(file.name))
                )
                return await self._written_apart(file, source)

    async def _lent(self, file: SourceFile, stack: ExitStack) -> Source:
        if self._is_near:
            return stack.enter_context(self._source.lend(file.name))
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
                offload=swelling.work,
            )
            return _success(file, done, write(done, self._path(file)))
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
        return _success(file, done, await in_thread(lambda: write(done, self._path(file))))

    def _path(self, file: SourceFile) -> str:
        return self._directory + object_file(file.seq)


def write(done: Deidentified, path: str) -> bytes:
    """Write one result to a new file and return its SHA-256; every byte is read once for both.

    Raises:
        StorageUnavailable: it cannot be written.
        InvalidInput, Unavailable: the source does not give all of its bytes any more.
    """
    digest = hashlib.sha256()
    fd = create(path)
    try:
        try:
            for piece in done.chunks(PIECE_BYTES):
                digest.update(piece)
                _append(fd, piece)
        finally:
            _close(fd)
    except BaseException:
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108 - paths are texts here for the sake of speed
        raise
    return digest.digest()


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


def _append(fd: int, piece: bytes | memoryview) -> None:
    try:
        write_all(fd, piece)
    except OSError as error:
        raise storage_error(error) from None


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError as error:  # where a network file system says that it had no room
        raise storage_error(error) from None
