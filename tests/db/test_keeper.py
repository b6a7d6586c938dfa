"""A server that is lost while processes use it comes back by itself."""

import os
import shutil
import signal
import subprocess
import sys
import time

import psycopg
import pytest

from app.db import keeper
from app.db.embedded import EmbeddedPostgres
from app.db.keeper import KeptPostgres
from tests.db.test_embedded import execute, guardian_pid, postmaster_pid, wait_until_gone

pytestmark = pytest.mark.db

USER = """
import sys
from pathlib import Path
from app.db.embedded import EmbeddedPostgres
from app.db.keeper import KeptPostgres
root = Path(sys.argv[1])
kept = KeptPostgres(EmbeddedPostgres(root, fsync=False, reachable_dir=root.parent / "reachable"))
kept.start()
print("started", flush=True)
sys.stdin.read()
kept.stop()
"""


@pytest.fixture
def server(reachable_path):
    root = reachable_path / "postgres"
    return EmbeddedPostgres(root, fsync=False, reachable_dir=reachable_path / "reachable")


@pytest.fixture
def kept(server):
    made = KeptPostgres(server, look_every_s=0.05)
    yield made
    made.stop()


def execute_patiently(url: str, statement: str) -> list[tuple]:
    deadline = time.monotonic() + 20
    while True:
        try:
            return execute(url, statement)
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "the server did not come back"
            time.sleep(0.02)


def test_a_killed_server_comes_back_with_everything_committed(server, kept):
    url = kept.start()
    execute(url, "CREATE TABLE committed AS SELECT 'kept' AS value")
    killed = postmaster_pid(server)

    os.kill(killed, signal.SIGKILL)
    wait_until_gone(killed)

    assert execute_patiently(url, "SELECT value FROM committed") == [("kept",)]
    assert postmaster_pid(server) != killed


def test_a_server_whose_guardian_was_killed_comes_back(server, kept):
    url = kept.start()
    killed = guardian_pid(server)

    os.kill(killed, signal.SIGKILL)
    wait_until_gone(killed)
    deadline = time.monotonic() + 20
    while server.is_lost():
        assert time.monotonic() < deadline, "nobody guards the server"
        time.sleep(0.02)

    assert execute_patiently(url, "SELECT 1") == [(1,)]


def test_a_server_that_is_killed_again_and_again_comes_back_every_time(server, kept):
    url = kept.start()
    killed = set()

    for _ in range(3):
        pid = postmaster_pid(server)
        os.kill(pid, signal.SIGKILL)
        wait_until_gone(pid)
        killed.add(pid)
        execute_patiently(url, "SELECT 1")

    assert len(killed) == 3


def test_two_processes_that_keep_one_server_start_it_once(server, kept):
    url = kept.start()
    other = subprocess.Popen(
        [sys.executable, "-c", USER, str(server.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    other.stdout.readline()
    pid = postmaster_pid(server)

    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    first = execute_patiently(url, "SELECT pg_postmaster_start_time()")
    time.sleep(3 * keeper.LOOK_EVERY_S)
    second = execute(url, "SELECT pg_postmaster_start_time()")
    other.communicate("")

    assert first == second
    assert execute(url, "SELECT 1") == [(1,)]


def test_a_kept_server_ends_with_its_last_user(server, kept):
    kept.start()
    pid = postmaster_pid(server)

    kept.stop()

    wait_until_gone(pid)


def test_a_deleted_cluster_is_not_made_anew(server, kept):
    kept.start()
    pid = postmaster_pid(server)

    shutil.rmtree(server.root)
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    time.sleep(0.3)

    assert not server.root.exists()


def test_a_start_that_fails_is_tried_again(server, kept):
    url = kept.start()
    control = server.data_dir / "global" / "pg_control"
    pid = postmaster_pid(server)
    away = control.rename(control.with_name("away"))
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    deadline = time.monotonic() + 20
    while "pg_control" not in server.log_path.read_text():
        assert time.monotonic() < deadline, "nobody tried to start the server"
        time.sleep(0.02)

    away.rename(control)

    assert execute_patiently(url, "SELECT 1") == [(1,)]


def test_stopping_what_was_never_started_does_nothing(kept):
    kept.stop()
