"""Who is measured: a command that starts anew each time, or a worker process that stays.

All take files to an empty directory; ``alternate`` lets them take turns, so that what else the
machine does hits all of them alike.
"""

import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

ROOT = Path(__file__).resolve().parent.parent
_STOP_S = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one turn took."""

    seconds: float
    cpu_s: float
    peak_kib: int
    said: Any = None


class Contestant(Protocol):
    """Something that takes files to a directory.

    Attributes:
        name: as the tables show it.
        per_round: how many of the files it is given (slow ones get fewer); None for all.
    """

    name: str
    per_round: int | None

    def run(self, files: Sequence[Path], out: Path) -> Outcome:
        """Take the files to the directory and say what it took."""

    def close(self) -> None:
        """End what was started."""


@dataclass(slots=True)
class Command:
    """A program that is started for every turn; its start-up is part of the time.

    Attributes:
        build: makes the command line from files and directory.
        prepare: what is done before the clock starts, such as copies for a tool that writes
            in place.
    """

    name: str
    build: Callable[[Sequence[Path], Path], list[str]]
    per_round: int | None = None
    prepare: Callable[[Sequence[Path], Path], object] | None = None
    allow_failure: bool = False

    def run(self, files: Sequence[Path], out: Path) -> Outcome:
        """Start the program and wait for its end."""
        if self.prepare is not None:
            self.prepare(files, out)
        return run_command(self.build(files, out), allow_failure=self.allow_failure)

    def close(self) -> None:
        """Nothing stays."""


@dataclass(slots=True)
class Worker:
    """A process that stays from turn to turn; its start-up is measured by itself.

    Attributes:
        command: starts it; it speaks as ``bench.worker`` says.
        startup_s: from the start of the process until it could begin.
    """

    name: str
    command: list[str]
    per_round: int | None = None
    startup_s: float = 0.0
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def run(self, files: Sequence[Path], out: Path) -> Outcome:
        """Hand one job over and wait for the answer."""
        process = self._started()
        answer = self._ask(process, {"files": [str(f) for f in files], "out": str(out)})
        return Outcome(answer["seconds"], answer["cpu_s"], answer["peak_kib"], answer["said"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the pipe, which ends the process."""
        if self._process is not None:
            stop(self._process)
            self._process = None

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            started = time.perf_counter()
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
            )
            self._answer(self._process)
            self.startup_s = time.perf_counter() - started
        return self._process

    def _ask(self, process: subprocess.Popen[str], job: dict[str, Any]) -> dict[str, Any]:
        if process.stdin is None:
            raise BrokenPipeError(self.name)
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        return self._answer(process)

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        line = process.stdout.readline() if process.stdout is not None else ""
        if not line:
            raise ChildProcessError(f"{self.name} ended with {process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def stop(process: subprocess.Popen[Any]) -> None:
    """End a process that was started here: its pipe closed, then asked, then made to."""
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()
    else:
        process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def run_command(command: Sequence[str], *, allow_failure: bool = False) -> Outcome:
    """Run a command to its end.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and not allow_failure:
        raise subprocess.CalledProcessError(process.returncode, command[0])
    return Outcome(seconds, usage.ru_utime + usage.ru_stime, _peak_of(usage))


def _peak_of(usage: resource.struct_rusage) -> int:
    # A child begins as a copy of this process, whose own size would count as the child's peak.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage.ru_maxrss if usage.ru_maxrss > own else 0


def copy_command() -> Command:
    """Return ``cp`` of the same files by one process."""
    return Command("cp", lambda files, out: ["cp", *map(str, files), str(out)])


Inspect = Callable[[Contestant, Path], object]


def alternate(
    contestants: Sequence[Contestant],
    files: Sequence[Path],
    *,
    rounds: int,
    scratch: Path,
    inspect: Inspect | None = None,
) -> dict[str, list[Outcome]]:
    """Let all take turns, each round beginning with another; a warm-up turn comes first.

    Args:
        contestants: who takes part.
        files: what they are given.
        rounds: how many turns each has.
        scratch: where their output directories are made, emptied after each turn.
        inspect: looks at what a contestant wrote in the warm-up turn.
    """
    taken: dict[str, list[Outcome]] = {one.name: [] for one in contestants}
    for number in range(-1, rounds):
        shift = number % len(contestants)
        for one in [*contestants[shift:], *contestants[:shift]]:
            out = scratch / "out"
            out.mkdir(mode=0o700)
            given = files[: one.per_round] if one.per_round else files
            try:
                outcome = one.run(given, out)
                if number >= 0:
                    taken[one.name].append(outcome)
                elif inspect is not None:
                    inspect(one, out)
            finally:
                shutil.rmtree(out)
    return taken


def count_given(one: Contestant, files: Sequence[Path]) -> int:
    """Return how many files a contestant gets in one turn."""
    return min(one.per_round or len(files), len(files))
