"""``deid-gateway worker``: works, is replaced, stops when it is told, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from app.samples import write_sample_study
from tests.cli.conftest import Invoke
from tests.cli.test_serve import wait_for_workers
from tests.db.test_embedded import wait_until_gone

pytestmark = pytest.mark.db
ROOT = Path(__file__).parents[2]


class Supervisor:
    """``deid-gateway worker`` in a process of its own."""

    def __init__(self, database_url: str, data_dir: Path, *options: str, **settings: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "worker", *options],
            env={"DATABASE_URL": database_url, "DEID_DATA_DIR": str(data_dir), **settings},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def workers(self, count: int) -> list[int]:
        return wait_for_workers(self.process.pid, count)

    def end(self) -> tuple[int, str]:
        said, _ = self.process.communicate(timeout=60)
        return self.process.returncode, said


@pytest.fixture
def supervisor(database_url: str, data_dir: Path) -> Iterator[Supervisor]:
    made = Supervisor(database_url, data_dir, "--concurrency", "2")
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.communicate()


def joined(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        return connection.execute("SELECT count(*) FROM batch_workers").fetchone()[0]


def wait_until_joined(database_url: str, count: int) -> None:
    deadline = time.monotonic() + 60
    while joined(database_url) != count:
        assert time.monotonic() < deadline, "the workers did not join"
        time.sleep(0.02)


def test_a_batch_is_worked_on_and_then_there_is_an_end(
    invoke: Invoke, database_url: str, data_dir: Path, tmp_path: Path
) -> None:
    write_sample_study(tmp_path / "study")
    invoke("batch", tmp_path / "study", "--no-watch", "--to", tmp_path / "out")

    code, said = Supervisor(database_url, data_dir, "--once", "--concurrency", "2").end()

    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT state, published_files FROM batches").fetchall()
    assert code == 0, said
    assert found == [("succeeded", 7)]
    assert joined(database_url) == 0


def test_where_there_is_nothing_to_do_it_ends_at_once(database_url: str, data_dir: Path) -> None:
    code, said = Supervisor(database_url, data_dir, "--once", "--concurrency", "1").end()

    assert code == 0, said


def test_a_worker_that_dies_loses_its_place_at_once(
    supervisor: Supervisor, database_url: str
) -> None:
    killed, other = supervisor.workers(2)
    wait_until_joined(database_url, 2)
    with psycopg.connect(database_url) as connection:
        before = {row[0] for row in connection.execute("SELECT id FROM batch_workers")}

    os.kill(killed, signal.SIGKILL)
    wait_until_gone(killed)
    deadline = time.monotonic() + 5  # half of the time that a silent worker gets
    while True:
        with psycopg.connect(database_url) as connection:
            now = {row[0] for row in connection.execute("SELECT id FROM batch_workers")}
        if len(now) == 2 and now != before:
            break
        assert time.monotonic() < deadline, "the dead worker still holds its place"
        time.sleep(0.02)

    assert len(now & before) == 1
    assert other in supervisor.workers(2)


def test_being_told_to_stop_leaves_nothing(supervisor: Supervisor, database_url: str) -> None:
    workers = supervisor.workers(2)
    wait_until_joined(database_url, 2)

    supervisor.process.terminate()
    code, said = supervisor.end()

    assert code == 0
    assert joined(database_url) == 0
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    assert '"workers-stopped"' in said
    assert "Traceback" not in said


def test_being_killed_leaves_no_process(supervisor: Supervisor) -> None:
    workers = supervisor.workers(2)

    supervisor.process.kill()
    supervisor.end()

    for pid in workers:
        wait_until_gone(pid)


@pytest.mark.parametrize("delay_s", [0.4, 1.3])
def test_a_signal_during_the_start_ends_it(
    database_url: str, data_dir: Path, delay_s: float
) -> None:
    starting = Supervisor(database_url, data_dir, "--concurrency", "2")
    time.sleep(delay_s)
    children = Path(f"/proc/{starting.process.pid}/task/{starting.process.pid}/children")
    pids = list(map(int, children.read_text().split()))

    starting.process.terminate()
    code, said = starting.end()

    assert code in {0, -signal.SIGTERM}  # before anything is set up, it just ends
    assert "Traceback" not in said
    for pid in pids:
        wait_until_gone(pid)


def test_wrong_settings_are_told_in_one_line(database_url: str, data_dir: Path) -> None:
    code, said = Supervisor(database_url, data_dir, DEID_CHUNK_FILES="planted").end()

    assert code == 1
    assert said.startswith("deid-gateway: DEID_CHUNK_FILES:")
    assert "planted" not in said


def test_a_worker_process_needs_a_parent(database_url: str, data_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "worker", "--one"],
        env={"DATABASE_URL": database_url, "DEID_DATA_DIR": str(data_dir)},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=30,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert joined(database_url) == 0


@pytest.mark.parametrize(
    ("module", "alone_unwanted"), [("working", {"alembic", "mako"}), ("serving", set())]
)
def test_a_server_process_loads_nothing_that_it_does_not_need(
    module: str, alone_unwanted: set[str]
) -> None:
    unwanted = alone_unwanted | {"rich", "pygments", "numpy", "gdcm", "pylibjpeg", "pydicom.sr"}
    code = (
        "import sys; from app.cli import UNUSED_BY_SERVERS, LeftOut\n"
        "sys.meta_path[:0] = [LeftOut(), LeftOut(UNUSED_BY_SERVERS)]\n"
        f"import app.cli.{module}; from app.deid.allowing import public_words; public_words()\n"
        f"print(sorted({unwanted!r} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"


def test_a_worker_loads_no_server() -> None:
    loaded = "import sys, app.cli.working; print({'uvicorn', 'fastapi'} & sys.modules.keys())"

    done = subprocess.run(
        [sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout == "set()\n"
