"""Worker processes are replaced when they end, and never outlive who started them."""

import asyncio
import io
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
import uvloop

from app import errors, telemetry
from app.cli.workers import Rhythm, Workers
from app.settings import Settings

ROOT = Path(__file__).parents[2]
QUICK = Rhythm(grace_s=5, again_s=0.01, longest_again_s=0.05, failed_s=0.01, longest_failed_s=0.05)
CHILD = """
import os, signal, sys, threading, time, uuid
sys.path.insert(0, {root!r})
from app.cli import lifeline
lifeline.ALIVE_EVERY_S = 0.05
line = lifeline.Lifeline()
settings = line.take_order()
if settings is None:
    sys.exit(9)
worker = uuid.uuid4()
{body}
"""
WORKS = "line.joined(worker); print('noise'); time.sleep(600)"


def child(body: str) -> list[str]:
    return [sys.executable, "-c", CHILD.format(root=str(ROOT), body=body)]


def is_running(pid: int) -> bool:
    try:
        state = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def until(is_so: Callable[[], object], what: str = "it did not happen") -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


class Deaths:
    """Collects the ids of workers that are no more."""

    def __init__(self) -> None:
        self.workers: list[UUID] = []

    async def __call__(self, worker: UUID) -> None:
        self.workers.append(worker)


@pytest.fixture
def deaths() -> Deaths:
    return Deaths()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", organization="NORD")


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    """What is logged as an error meanwhile."""
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers, root.level
    telemetry.configure("error", stream)
    yield stream
    root.handlers, root.level = before
    logging.captureWarnings(capture=False)


def count_open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def readable_to_others(pid: str) -> bytes:
    return b"".join(Path("/proc", pid, name).read_bytes() for name in ("cmdline", "environ"))


def noting(path: Path, body: str) -> str:
    """A child that first writes its process id into a file."""
    return f"open({str(path)!r}, 'a').write(f'{{os.getpid()}}\\n')\n{body}"


async def test_what_the_processes_count_is_known_here_and_outlives_them(
    settings: Settings, deaths: Deaths
) -> None:
    said = 'counted [["deid_x", "counter", "X.", [["deid_x_total", {}, 2.0]]]]'
    body = f"line.joined(worker); line._write({(said + chr(10)).encode()!r}); time.sleep(0.2)"
    start = child(body)

    def total() -> float:
        return sum(
            sample.value
            for family in workers.counts.collect()
            for sample in family.samples
            if sample.name == "deid_x_total"
        )

    async with Workers(settings, 1, on_death=deaths, rhythm=QUICK, start=start) as workers:
        await until(lambda: total() >= 4, "what an ended process had counted is gone")


async def test_as_many_processes_run_as_were_asked_for(
    settings: Settings, deaths: Deaths, tmp_path: Path
) -> None:
    note = tmp_path / "pids"
    start = child(noting(note, WORKS))

    async with Workers(settings, 3, on_death=deaths, rhythm=QUICK, start=start) as workers:
        await until(lambda: len(lines_of(note)) == 3)
        running = sorted(workers.pids)

    assert running == sorted(map(int, lines_of(note)))
    assert not any(map(is_running, running))


async def test_a_process_works_by_the_settings_of_its_parent(
    settings: Settings, deaths: Deaths, tmp_path: Path
) -> None:
    note = tmp_path / "organization"
    body = f"open({str(note)!r}, 'w').write(settings['organization'])\n{WORKS}"

    async with Workers(settings, 1, on_death=deaths, rhythm=QUICK, start=child(body)):
        await until(lambda: lines_of(note))

    assert lines_of(note) == ["NORD"]


async def test_a_password_is_in_no_argument_and_no_environment(
    tmp_path: Path, deaths: Deaths
) -> None:
    settings = Settings(data_dir=tmp_path, database_url="postgresql://a:planted-secret@db/deid")
    start = child(noting(tmp_path / "pids", WORKS))

    async with Workers(settings, 1, on_death=deaths, rhythm=QUICK, start=start):
        await until(lambda: lines_of(tmp_path / "pids"))
        (pid,) = lines_of(tmp_path / "pids")
        shown = readable_to_others(pid)

    assert b"take_order" in shown
    assert b"planted-secret" not in shown


async def test_a_killed_process_is_reported_and_replaced(
    settings: Settings, deaths: Deaths, tmp_path: Path
) -> None:
    note = tmp_path / "ids"
    start = child(f"line.joined(worker); open({str(note)!r}, 'a').write(f'{{worker}}\\n')\n{WORKS}")

    async with Workers(settings, 1, on_death=deaths, rhythm=QUICK, start=start) as workers:
        await until(lambda: lines_of(note))
        os.kill(workers.pids[0], signal.SIGKILL)
        await until(lambda: len(lines_of(note)) == 2, "it was not replaced")

        assert [str(worker) for worker in deaths.workers] == lines_of(note)[:1]


@pytest.mark.parametrize("ending", ["sys.exit(0)", "sys.exit(1)", "os.abort()"])
async def test_a_process_is_replaced_whatever_it_ended_of(
    settings: Settings, deaths: Deaths, ending: str
) -> None:
    start = child(f"line.joined(worker); {ending}")

    async with Workers(settings, 1, on_death=deaths, rhythm=QUICK, start=start):
        await until(lambda: len(set(deaths.workers)) >= 2, "it was not replaced")


async def test_a_process_that_cannot_start_is_tried_again(
    settings: Settings, deaths: Deaths, tmp_path: Path
) -> None:
    note = tmp_path / "pids"
    start = child(noting(note, "sys.exit(1)"))

    async with Workers(settings, 1, on_death=deaths, rhythm=QUICK, start=start):
        await until(lambda: len(lines_of(note)) >= 3, "it was not tried again")

    assert deaths.workers == []


async def test_a_program_that_is_not_there_is_tried_again_until_the_end(
    settings: Settings, deaths: Deaths, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    note = tmp_path / "note"

    async with Workers(settings, 1, on_death=deaths, rhythm=QUICK, start=[str(program)]):
        await asyncio.sleep(0.1)
        script = program.with_name("part")
        script.write_text(f"#!/bin/sh\necho there >> {note}\n")
        script.chmod(0o755)
        script.rename(program)
        await until(lambda: lines_of(note))


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_processes_that_end_at_once_leave_nothing_open(
    settings: Settings,
    deaths: Deaths,
    tmp_path: Path,
    logs: io.StringIO,
    new_loop: Callable[[], object],
) -> None:
    note = tmp_path / "pids"
    start = ["/bin/sh", "-c", f"echo $$ >> {note}; exec true"]
    open_files: list[int] = []

    async def replace_often() -> None:
        open_files.append(count_open_files())
        async with Workers(settings, 2, on_death=deaths, rhythm=QUICK, start=start):
            await until(lambda: len(lines_of(note)) >= 30)
        open_files.append(count_open_files())

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(replace_often())

    assert open_files[1] <= open_files[0] + 1
    assert logs.getvalue() == ""


async def test_a_report_that_fails_does_not_end_the_supervision(
    settings: Settings, tmp_path: Path
) -> None:
    async def fail(_worker: UUID) -> None:
        raise errors.DatabaseUnavailable

    note = tmp_path / "pids"
    start = child(noting(note, "line.joined(worker); sys.exit(1)"))

    async with Workers(settings, 1, on_death=fail, rhythm=QUICK, start=start):
        await until(lambda: len(lines_of(note)) >= 2, "it was not replaced")


async def test_a_process_that_hangs_is_killed_and_replaced(
    settings: Settings, deaths: Deaths, tmp_path: Path
) -> None:
    note = tmp_path / "pids"
    # A regular expression holds the interpreter: no thread of the process gets a turn.
    hangs = "line.joined(worker); import re; re.match('(a|aa)+$', 'a' * 100 + 'b')"
    rhythm = Rhythm(grace_s=5, silent_after_s=0.2, again_s=0.01)

    async with Workers(
        settings, 1, on_death=deaths, rhythm=rhythm, start=child(noting(note, hangs))
    ):
        await until(lambda: len(lines_of(note)) >= 2, "it was not replaced")

    assert not is_running(int(lines_of(note)[0]))


async def test_a_process_that_is_only_busy_is_left_alone(
    settings: Settings, deaths: Deaths, tmp_path: Path
) -> None:
    note = tmp_path / "pids"
    busy = "end = time.monotonic() + 600\nwhile time.monotonic() < end: pass"
    rhythm = Rhythm(grace_s=5, silent_after_s=0.5, again_s=0.01)

    async with Workers(
        settings, 1, on_death=deaths, rhythm=rhythm, start=child(noting(note, busy))
    ) as workers:
        await until(lambda: lines_of(note))
        await asyncio.sleep(2)

        assert list(map(str, workers.pids)) == lines_of(note)


async def test_stopping_lets_a_process_finish(
    settings: Settings, deaths: Deaths, tmp_path: Path
) -> None:
    note = tmp_path / "pids"
    body = (
        "finish = threading.Event(); signal.signal(signal.SIGTERM, lambda *_: finish.set())\n"
        f"line.joined(worker)\n{noting(note, 'finish.wait(); time.sleep(0.3)')}\n"
        f"open({str(note)!r}, 'a').write('finished')"
    )

    async with Workers(settings, 1, on_death=deaths, rhythm=QUICK, start=child(body)):
        await until(lambda: lines_of(note))

    assert lines_of(note)[1:] == ["finished"]


async def test_a_process_that_does_not_stop_is_killed_after_its_grace(
    settings: Settings, deaths: Deaths, tmp_path: Path
) -> None:
    note = tmp_path / "pids"
    stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + noting(note, WORKS)
    rhythm = Rhythm(grace_s=0.2)

    async with Workers(settings, 1, on_death=deaths, rhythm=rhythm, start=child(stubborn)):
        await until(lambda: lines_of(note))

    assert not is_running(int(lines_of(note)[0]))


async def test_stopping_while_processes_start_leaves_none(
    settings: Settings, deaths: Deaths
) -> None:
    async with Workers(settings, 3, on_death=deaths, rhythm=QUICK, start=child(WORKS)) as workers:
        await asyncio.sleep(0)
        stopping = asyncio.create_task(workers.stop())
        await until(stopping.done)

        assert workers.pids == []


PARENT = """
import asyncio, sys
sys.path.insert(0, {root!r})
from app.cli.workers import Workers
from app.settings import Settings
async def nothing(worker): pass
async def main():
    async with Workers(Settings(), 2, on_death=nothing, start={start!r}):
        await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_processes_end_with_their_parent_however_it_ends(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + noting(note, WORKS)
    code = PARENT.format(root=str(ROOT), start=child(stubborn))
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=tmp_path)
    await until(lambda: len(lines_of(note)) == 2)

    parent.kill()
    await parent.wait()

    pids = list(map(int, lines_of(note)))
    await until(lambda: not any(map(is_running, pids)), "an orphan is left")


def test_a_process_whose_parent_is_gone_before_it_gets_its_order_ends(tmp_path: Path) -> None:
    done = subprocess.run(
        child(noting(tmp_path / "pids", WORKS)), stdin=subprocess.DEVNULL, check=False
    )

    assert done.returncode == 9
    assert not (tmp_path / "pids").exists()


async def test_ctrl_c_reaches_the_parent_alone(
    settings: Settings, deaths: Deaths, tmp_path: Path
) -> None:
    note = tmp_path / "pids"
    start = child(noting(note, WORKS))

    async with Workers(settings, 1, on_death=deaths, rhythm=QUICK, start=start):
        await until(lambda: lines_of(note))

        assert os.getpgid(int(lines_of(note)[0])) != os.getpgid(0)
