"""Files through the pipeline: finds them, keeps several in flight, writes what comes out.

One chunk of paths is worked on by one process. Several instances are in flight at once so that
their mapping rows share a commit.
"""

import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app import errors, pipeline, telemetry
from app.dicom.source import FileSource, write_all
from app.pipeline.explaining import Explanation, explained
from app.pipeline.reporting import report_json
from app.vault.service import Vault

IN_FLIGHT: Final = 16
PART_SUFFIX: Final = ".part"


@dataclass(frozen=True, slots=True)
class Task:
    """What is done with every file of one run."""

    context: pipeline.Context
    actor: pipeline.Actor
    output: Path
    with_counts: bool = False
    reports: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file; the input path is the caller's own and shown to him alone."""

    input: str
    code: str = ""
    reason: str = ""
    path: str = ""
    quarantine_id: str = ""
    output: str = ""
    cloud_study_id: str = ""
    warnings: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    bytes_in: int = 0
    bytes_out: int = 0

    @property
    def is_done(self) -> bool:
        """Whether a de-identified object was written."""
        return not self.code


def find(paths: Iterable[Path], *, outside: Path) -> Iterator[Path]:
    """Yield files as given and all files below folders, sorted; links to folders are not followed.

    Args:
        paths: files and folders.
        outside: the output directory; what lies in it is not taken as input.
    """
    excluded = outside.resolve()
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders.sort()
            here = Path(folder)
            if here.resolve().is_relative_to(excluded):
                folders.clear()
                continue
            yield from (here / name for name in sorted(names))


async def run_chunk(paths: Sequence[Path], task: Task, vault: Vault) -> list[Outcome]:
    """De-identify several files; every one ends in an outcome, in the order given."""
    places = asyncio.Semaphore(IN_FLIGHT)

    async def one(path: Path) -> Outcome:
        async with places:
            return await _run_one(path, task, vault)

    return await asyncio.gather(*map(one, paths))


async def _run_one(path: Path, task: Task, vault: Vault) -> Outcome:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return Outcome(str(path), code="unreadable-file", reason=error.strerror or "unreadable")
    try:
        source = FileSource(fd)
        done = await pipeline.run(source, task.context, vault=vault, actor=task.actor)
        output = write(done, task.output)
        if task.reports is not None:
            write_report(explained(source, task.context, done), task.reports)
        return Outcome(
            str(path),
            output=str(output),
            cloud_study_id=done.replacements.cloud_study_id,
            warnings=tuple(map(str, done.warnings)),
            counts=done.plan.report()["counts"] if task.with_counts else {},
            bytes_in=source.size,
            bytes_out=done.size,
        )
    except errors.GatewayError as error:
        if isinstance(error, errors.Unavailable) and not isinstance(error, errors.QuarantineFull):
            raise  # not this file's fault: the run stops
        held = error.quarantine_id if isinstance(error, errors.Quarantined) else ""
        return Outcome(
            str(path),
            code=error.code,
            reason=error.detail,
            path=error.path or "",
            quarantine_id=held,
        )
    except Exception as error:  # noqa: BLE001 - one file must not end the run of all others
        reason = f"internal error: {type(error).__name__} in {telemetry.place_of(error)}"
        fault = errors.GatewayError()
        await pipeline.record_refusal(fault, task.context, vault=vault, actor=task.actor)
        return Outcome(str(path), code=errors.GatewayError.code, reason=reason)
    finally:
        os.close(fd)


def write(done: pipeline.Deidentified, directory: Path) -> Path:
    """Write one object under its pseudonyms; it appears whole or not at all.

    Raises:
        errors.StorageUnavailable: the directory cannot be written.
    """
    relative = _name(done, ".dcm")
    _write_whole(directory / relative, done.write_to)
    return relative


def write_report(explanation: Explanation, directory: Path) -> Path:
    """Write the report on one object under the object's pseudonyms; it holds no value.

    Raises:
        errors.StorageUnavailable: the directory cannot be written.
    """
    relative = _name(explanation.done, ".json")

    def into(fd: int) -> None:
        for piece in report_json(explanation):
            write_all(fd, piece)

    _write_whole(directory / relative, into)
    return relative


def _name(done: pipeline.Deidentified, suffix: str) -> Path:
    names = done.replacements
    return Path(names.cloud_study_id, names.series_uid, f"{names.sop_instance_uid}{suffix}")


def _write_whole(target: Path, write_into: Callable[[int], None]) -> None:
    part = target.with_name(f".{target.name}.{next(_serial)}-{os.getpid()}{PART_SUFFIX}")
    try:
        fd = _create(part)
        try:
            write_into(fd)
        finally:
            os.close(fd)
        part.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise errors.StorageUnavailable(f"The output cannot be written: {error.strerror}") from None
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


_serial = itertools.count()


def _create(part: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(part, flags, 0o666)
    except FileNotFoundError:
        part.parent.mkdir(parents=True, exist_ok=True)
        return os.open(part, flags, 0o666)
