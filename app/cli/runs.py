"""One run over many files: in this process, or shared between several."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from app import bootstrap, errors, pipeline, telemetry
from app.bootstrap.profiles import text_of
from app.cli.files import Outcome, Task, run_chunk
from app.cli.options import Settings, operating_system_user
from app.deid.profile import Profile, profile_from_text

CHUNK_FILES: Final = 64
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Job:
    """What every process of one run works by."""

    settings: Settings
    organization: str
    profile: Profile
    output: Path
    with_counts: bool
    reports: Path | None = None

    def task(self, gateway: bootstrap.Gateway) -> Task:
        """Bind the job to the opened parts of this process."""
        context = gateway.contexts.of(self.organization, self.profile)
        actor = pipeline.Actor(f"cli:{operating_system_user()}")
        return Task(context, actor, self.output, with_counts=self.with_counts, reports=self.reports)


def chosen_profile(settings: Settings, name: str) -> Profile:
    """Return a profile by its name, or from a file where the text names one.

    Raises:
        errors.ProfileNotFound, errors.InvalidProfile: see ``app.deid.profile``.
    """
    path, known = Path(name), bootstrap.profiles_of(settings)
    if path.suffix in bootstrap.PROFILE_SUFFIXES and path.is_file():
        return known.as_used(profile_from_text(text_of(path)))
    return known.get(name)


def run_here(job: Job, files: Sequence[Path], advance: Advance) -> list[Outcome]:
    """Work in this process."""

    async def run() -> list[Outcome]:
        outcomes: list[Outcome] = []
        async with bootstrap.opened(job.settings) as gateway:
            await gateway.organizations.require(job.organization)
            task = job.task(gateway)
            for chunk in _chunks(files):
                outcomes += await run_chunk(chunk, task, gateway.vault)
                advance(len(chunk))
        return outcomes

    return asyncio.run(run())


def run_apart(job: Job, files: Sequence[Path], jobs: int, advance: Advance) -> list[Outcome]:
    """Share the work between processes; this one holds the database open for them.

    Raises:
        errors.StorageUnavailable: a process died; run again, what is done is written over.
    """
    with bootstrap.database(job.settings) as url:
        held = replace(
            job, settings=job.settings.model_copy(update={"database_url": SecretStr(url)})
        )
        run_here(held, [], advance)  # schema and organisation are there before the processes start
        pool = ProcessPoolExecutor(
            jobs, mp_context=get_context("spawn"), initializer=_open_worker, initargs=(held,)
        )
        with pool:
            futures = [pool.submit(_work, chunk) for chunk in _chunks(files)]
            try:
                for future in as_completed(futures):
                    advance(len(future.result()))
            except BrokenProcessPool:
                raise errors.StorageUnavailable("A worker process died; run again") from None
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [outcome for future in futures for outcome in future.result()]


class _Worker:
    """The opened parts of one worker process, kept from chunk to chunk."""

    def __init__(self, job: Job) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._runner.run(self._open(job))

    async def _open(self, job: Job) -> None:
        self._gateway = await self._stack.enter_async_context(bootstrap.opened(job.settings))
        self._task = job.task(self._gateway)

    def work(self, paths: Sequence[Path]) -> list[Outcome]:
        """De-identify one chunk."""
        return self._runner.run(run_chunk(paths, self._task, self._gateway.vault))

    def close(self) -> None:
        """Give the connections back."""
        self._runner.run(self._stack.aclose())
        self._runner.close()


_workers: list[_Worker] = []


def _open_worker(job: Job) -> None:
    telemetry.configure("error")
    worker = _Worker(job)
    _workers.append(worker)
    Finalize(worker, worker.close, exitpriority=10)


def _work(paths: Sequence[Path]) -> list[Outcome]:
    return _workers[0].work(paths)


def _chunks(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    return (files[first : first + CHUNK_FILES] for first in range(0, len(files), CHUNK_FILES))
