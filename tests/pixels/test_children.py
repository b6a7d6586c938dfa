"""The pool of child processes: what one does wrong harms no other task and tells nothing."""

import asyncio
import errno
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.errors import PixelWorkFailed, ResourcesUnavailable
from app.pixels.child import HANDLERS
from app.pixels.children import Children

FAULTY = (sys.executable, "-P", str(Path(__file__).with_name("faulty_child.py")))
MEMORY = 256 << 20


@pytest.fixture
def pool() -> Iterator[Children]:
    with Children(size=2, memory_bytes=MEMORY, command=FAULTY) as made:
        yield made


async def failure(pool: Children, kind: str, timeout_s: float = 30) -> PixelWorkFailed:
    with pytest.raises(PixelWorkFailed) as raised:
        await pool.ask({"kind": kind}, timeout_s=timeout_s)
    return raised.value


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def ends(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_alive(pid)


async def test_an_answer_comes_back_and_the_child_is_used_again() -> None:
    with Children(size=1) as pool:
        first = await pool.ask({"kind": "ping", "echo": "é"})
        second = await pool.ask({"kind": "ping"})
    assert first["echo"] == "é"
    assert first["pid"] == second["pid"] != os.getpid()


def test_no_process_is_started_before_the_first_task() -> None:
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text()
    with Children(size=4):
        assert children.read_text() == before


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("crash", "crashed"),
        ("huge", "message-too-large"),
        ("greedy", "out-of-memory"),
        ("speaks", "failed"),
        ("lacks", "not-installed"),
        ("babbles", "crashed"),
        ("no-such-kind", "unknown-kind"),
    ],
)
async def test_what_a_child_does_wrong_has_a_word_and_the_next_task_is_done(
    pool: Children, kind: str, reason: str
) -> None:
    found = await failure(pool, kind)
    assert found.reason == reason
    assert (await pool.ask({"kind": "ping", "echo": 7}))["echo"] == 7


async def test_the_text_of_an_exception_stays_in_the_child(
    pool: Children, capfd: pytest.CaptureFixture[str]
) -> None:
    found = await failure(pool, "speaks")
    assert "PATIENT" not in f"{found!r} {found.where} {capfd.readouterr()}"
    assert found.where.startswith("ValueError")


async def test_a_missing_package_is_named(pool: Children) -> None:
    assert (await failure(pool, "lacks")).where == "no_such_package_at_all"


async def test_a_refusal_of_a_handler_comes_back_as_its_answer(pool: Children) -> None:
    assert (await pool.ask({"kind": "refuses"}))["error"] == "unsupported-transfer-syntax"


async def test_a_child_that_hangs_is_killed_in_time(pool: Children) -> None:
    began = time.monotonic()
    assert (await failure(pool, "hang", timeout_s=0.5)).reason == "timed-out"
    assert time.monotonic() - began < 20
    assert await pool.ask({"kind": "ping"})


async def test_nothing_is_inherited_and_nothing_is_printed(
    pool: Children, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEID_SECRET_THING", "hush")
    answer = await pool.ask({"kind": "noisy"})
    assert not [name for name in answer["environment"] if name.startswith(("DEID", "DATABASE"))]
    printed = capfd.readouterr()
    assert "PATIENT" not in printed.out + printed.err


async def test_reading_stands_back_behind_other_processes() -> None:
    with Children(size=1, command=FAULTY, niceness=5) as pool:
        answer = await pool.ask({"kind": "noisy"})
    assert answer["nice"] == min(os.nice(0) + 5, 19)


async def test_descriptors_go_to_the_child_and_are_closed_there(pool: Children) -> None:
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as out:
        source.write(b"abc")
        counts = []
        for _ in range(3):
            source.seek(0)
            answer = await pool.ask({"kind": "reads"}, (source.fileno(), out.fileno()))
            counts.append(answer["open"])
        out.seek(0)
        assert out.read() == b"ABC" * 3
    assert len(set(counts)) == 1


async def test_twenty_tasks_at_once_are_each_answered_by_two_processes(pool: Children) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with tempfile.TemporaryFile() as source:
        answers = await asyncio.gather(
            *(
                pool.ask({"kind": "nap", "number": n, "seconds": 0.01}, [source.fileno()])
                for n in range(20)
            )
        )
    assert [answer["number"] for answer in answers] == list(range(20))
    assert len({answer["pid"] for answer in answers}) <= 2
    assert len(os.listdir("/proc/self/fd")) <= before + 2  # noqa: PTH208 - a socket each


async def test_one_that_crashes_among_others_harms_none(pool: Children) -> None:
    tasks = [pool.ask({"kind": "nap", "number": n, "seconds": 0.01}) for n in range(10)]
    tasks.insert(5, pool.ask({"kind": "crash"}))
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers.pop(5), PixelWorkFailed)
    assert [answer["number"] for answer in answers if isinstance(answer, dict)] == list(range(10))


async def test_a_caller_that_goes_takes_its_child_with_it() -> None:
    with Children(size=1, command=FAULTY) as pool:
        pid = (await pool.ask({"kind": "ping"}))["pid"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await pool.ask({"kind": "hang"}, timeout_s=600)
        assert await asyncio.to_thread(ends, pid)
        assert (await pool.ask({"kind": "ping"}))["pid"] != pid


async def test_a_child_killed_from_outside_is_replaced(pool: Children) -> None:
    pid = (await pool.ask({"kind": "ping"}))["pid"]
    os.kill(pid, signal.SIGKILL)
    # Its first thread may be gone before the others are; only then it can be waited for.
    await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert (await pool.ask({"kind": "ping"}))["pid"] != pid


async def test_an_idle_child_ends_and_the_next_task_does_not_notice() -> None:
    with Children(size=1, idle_s=0.05) as pool:
        pid = (await pool.ask({"kind": "ping"}))["pid"]
        assert await asyncio.to_thread(ends, pid)
        assert (await pool.ask({"kind": "ping"}))["pid"] != pid


async def test_a_closed_pool_ends_its_children_and_refuses() -> None:
    pool = Children(size=1, command=FAULTY)
    pid = (await pool.ask({"kind": "ping"}))["pid"]
    under_way = asyncio.create_task(pool.ask({"kind": "hang"}, timeout_s=600))
    await asyncio.sleep(0.2)
    await asyncio.to_thread(pool.close)
    with pytest.raises(PixelWorkFailed, match="closed"):
        await under_way
    assert (await failure(pool, "ping")).reason == "closed"
    assert await asyncio.to_thread(ends, pid)


def test_a_pool_serves_one_event_loop_after_the_other() -> None:
    with Children(size=1) as pool:
        pids = {asyncio.run(pool.ask({"kind": "ping"}))["pid"] for _ in range(2)}
    assert len(pids) == 1


@pytest.mark.parametrize("kind", ["ping", "hang"])
def test_children_die_with_their_parent(kind: str) -> None:
    program = f"""
import asyncio, os, signal, sys
from app.pixels.children import Children
async def main():
    pool = Children(size=1, command={FAULTY!r})
    print((await pool.ask({{"kind": "ping"}}))["pid"], flush=True)
    working = asyncio.create_task(pool.ask({{"kind": {kind!r}}}, timeout_s=600))
    await asyncio.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, check=False, timeout=60
    )
    assert ends(int(done.stdout))


async def test_a_command_that_is_not_there_is_a_refusal() -> None:
    with Children(size=1, command=("/no/such/program",)) as pool:
        assert (await failure(pool, "ping")).reason == "not-started"


def test_every_kind_of_task_names_a_module_of_this_package() -> None:
    assert all(target.startswith("app.pixels.") for target in HANDLERS.values())


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def left_over(number: int) -> Iterator[None]:
    """Let this process open so many more files at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# A copy of the descriptor, two ends of a socket, three for starting a process: six are needed.
@pytest.mark.parametrize("number", range(6))
async def test_without_descriptors_it_is_said_that_they_are_missing_now(number: int) -> None:
    with Children(size=1) as pool, tempfile.TemporaryFile() as file:
        before = open_files()
        with left_over(number), pytest.raises(ResourcesUnavailable):
            await pool.ask({"kind": "ping"}, [file.fileno()])
        after = open_files()

        answer = await pool.ask({"kind": "ping"}, [file.fileno()])

    assert after == before
    assert answer["sizes"] == [0]


async def test_copies_of_descriptors_that_were_made_are_closed_again() -> None:
    with Children(size=1) as pool, tempfile.TemporaryFile() as file:
        before = open_files()
        with left_over(2), pytest.raises(ResourcesUnavailable):
            await pool.ask({"kind": "ping"}, [file.fileno()] * 3)

        assert open_files() == before


async def test_without_a_thread_it_is_said_that_one_is_missing_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with Children(size=1) as pool, tempfile.TemporaryFile() as file:
        before = open_files()
        monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)

        with pytest.raises(ResourcesUnavailable):
            await pool.ask({"kind": "ping"}, [file.fileno()])

        assert open_files() == before


@pytest.mark.parametrize("want", [errno.EAGAIN, errno.ENOMEM], ids=["processes", "memory"])
async def test_a_process_that_cannot_be_started_now_is_no_refusal(
    monkeypatch: pytest.MonkeyPatch, want: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(want, os.strerror(want))

    monkeypatch.setattr(subprocess, "Popen", refuse)

    with Children(size=1) as pool, pytest.raises(ResourcesUnavailable):
        await pool.ask({"kind": "ping"})
