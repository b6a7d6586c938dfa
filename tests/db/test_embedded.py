"""The embedded server lives exactly as long as it has users, and never harms a bystander."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from app import errors
from app.db import guardian
from app.db.cluster import cluster_name
from app.db.embedded import EmbeddedPostgres
from app.db.installation import choose_account, copy_installation, installation_of_wheel
from app.db.orphans import is_server_of

pytestmark = pytest.mark.db
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root drops privileges")

USER = """
import json, sys, time
from pathlib import Path
import psycopg
from app.db.embedded import EmbeddedPostgres
root, statement, binaries = sys.argv[1:]
reachable = Path(root).parent / "reachable"
given = Path(binaries) if binaries else None
server = EmbeddedPostgres(Path(root), fsync=False, reachable_dir=reachable, binaries=given)
url = server.start()
with psycopg.connect(url, autocommit=True) as connection:
    if statement:
        connection.execute(statement)
    pid = connection.execute("SELECT pg_postmaster_start_time()::text").fetchone()[0]
print(json.dumps({"url": url, "started": pid}), flush=True)
sys.stdin.read()
server.stop()
"""
NAMELESS_UID = 54321


class User:
    """Another process that uses the cluster until it is told to leave, or is killed."""

    def __init__(self, root: Path, statement="", *, prefix=(), binaries="") -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-c", USER, str(root), statement, str(binaries)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self.answer = json.loads(self.process.stdout.readline())
        except ValueError:
            self.leave()
            raise

    def leave(self) -> None:
        self.process.communicate("")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def root(reachable_path):
    return reachable_path / "postgres"


@pytest.fixture
def server(root, reachable_path):
    made = EmbeddedPostgres(root, fsync=False, reachable_dir=reachable_path / "reachable")
    yield made
    made.stop()


def postmaster_pid(server: EmbeddedPostgres) -> int:
    return int((server.data_dir / "postmaster.pid").read_text().splitlines()[0])


def guardian_pid(server: EmbeddedPostgres) -> int:
    status = Path("/proc", str(postmaster_pid(server)), "status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid"))


def wait_until_stopped(server: EmbeddedPostgres) -> None:
    deadline = time.monotonic() + 20
    while (server.data_dir / "postmaster.pid").exists() or is_guarded(server):
        assert time.monotonic() < deadline, "the server is still there"
        time.sleep(0.02)


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while Path("/proc", str(pid)).exists():
        assert time.monotonic() < deadline, "the process is still there"
        time.sleep(0.02)


def is_guarded(server: EmbeddedPostgres) -> bool:
    with (server.root / "guardian.lock").open("r+b") as file:
        return guardian.lock_of_others(file) is not None


def execute(url: str, statement: str) -> list[tuple]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_the_first_start_makes_a_cluster_that_answers(server):
    url = server.start()

    assert execute(url, "SELECT current_database(), current_setting('server_encoding')") == [
        ("deid_gateway", "UTF8")
    ]


def test_the_second_start_is_fast_and_keeps_the_data(server):
    execute(server.start(), "CREATE TABLE kept AS SELECT 7 AS value")
    server.stop()

    began = time.monotonic()
    url = server.start()

    assert time.monotonic() - began < 3
    assert execute(url, "SELECT value FROM kept") == [(7,)]


def test_the_server_listens_on_no_network(server):
    assert execute(server.start(), "SHOW listen_addresses") == [("",)]


def test_writes_are_synchronised_unless_a_test_asks_otherwise(root, reachable_path):
    server = EmbeddedPostgres(root, reachable_dir=reachable_path / "reachable")

    settings = execute(server.start(), "SELECT current_setting('fsync')")
    server.stop()

    assert settings == [("on",)]


def test_two_processes_share_one_server_and_the_last_one_ends_it(server):
    server.start()
    other = User(server.root)

    started = execute(server.url("postgres"), "SELECT pg_postmaster_start_time()::text")
    assert [(other.answer["started"],)] == started

    server.stop()
    assert execute(other.answer["url"], "SELECT 1") == [(1,)]

    other.leave()
    assert not is_guarded(server)


def test_processes_that_start_at_the_same_moment_get_one_server(root):
    with ThreadPoolExecutor(3) as executor:
        users = list(executor.map(User, [root] * 3))

    for user in users:
        user.leave()

    assert len({user.answer["started"] for user in users}) == 1


@as_root
def test_a_start_that_was_killed_before_it_gave_its_directories_away_is_repaired(server):
    (server.root / "cluster").mkdir(parents=True, mode=0o700)  # still root's

    assert execute(server.start(), "SELECT 1") == [(1,)]


def test_a_killed_process_leaves_no_server_and_loses_no_data(server):
    User(server.root, "CREATE TABLE committed AS SELECT 'kept' AS value").kill()

    wait_until_stopped(server)

    assert execute(server.start(), "SELECT value FROM committed") == [("kept",)]


def test_a_killed_process_does_not_take_the_server_from_the_others(server):
    first = User(server.root)
    url = server.start()

    first.kill()
    time.sleep(3 * guardian.POLL_S)

    assert execute(url, "SELECT 1") == [(1,)]


def test_a_killed_guardian_takes_the_server_along_and_a_new_start_repairs_it(server):
    execute(server.start(), "CREATE TABLE committed AS SELECT 1 AS value")

    guarding = guardian_pid(server)
    os.kill(guarding, signal.SIGKILL)
    wait_until_gone(guarding)

    assert execute(server.start(), "SELECT value FROM committed") == [(1,)]


def test_a_killed_server_recovers_at_the_next_start(server):
    execute(server.start(), "CREATE TABLE committed AS SELECT 1 AS value")

    os.kill(postmaster_pid(server), signal.SIGKILL)

    assert execute(server.start(), "SELECT value FROM committed") == [(1,)]


def test_a_guardian_that_is_told_to_stop_waits_for_the_users_of_the_server(server):
    url = server.start()

    os.kill(guardian_pid(server), signal.SIGTERM)
    time.sleep(3 * guardian.POLL_S)
    answer = execute(url, "SELECT 1")
    server.stop()

    assert answer == [(1,)]
    assert "database system is shut down" in server.log_path.read_text()


def test_a_pid_file_that_names_a_bystander_is_not_believed(server):
    server.start()
    server.stop()
    account = choose_account()
    bystander = subprocess.Popen(["sleep", "60"], user=account.uid)
    pid_file = server.data_dir / "postmaster.pid"
    pid_file.write_text(f"{bystander.pid}\n{server.data_dir}\n1\n5432\n\n\n0 0\nready\n")

    url = server.start()
    harmed = bystander.poll()
    bystander.kill()
    bystander.wait()

    assert execute(url, "SELECT 1") == [(1,)]
    assert harmed is None


def test_an_unreadable_pid_file_does_not_keep_the_server_from_starting(server):
    server.start()
    server.stop()
    (server.data_dir / "postmaster.pid").write_text("")

    assert execute(server.start(), "SELECT 1") == [(1,)]


def test_a_cluster_is_made_whole_or_not_at_all(server):
    half = server.root / "cluster" / "new-killed"
    half.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(half.parent, choose_account().uid, choose_account().gid)

    server.start()

    assert not half.exists()


def test_a_cluster_of_another_version_is_named_and_left_alone(server):
    server.start()
    server.stop()
    (server.data_dir / "PG_VERSION").write_text("12\n")

    with pytest.raises(errors.Misconfigured, match="made by PostgreSQL 12"):
        server.start()


def test_a_directory_without_a_cluster_is_refused(server):
    server.start()
    server.stop()
    (server.data_dir / "PG_VERSION").unlink()

    with pytest.raises(errors.Misconfigured, match="not a database cluster"):
        server.start()


def test_a_damaged_cluster_says_what_the_server_found(server):
    server.start()
    server.stop()
    (server.data_dir / "global" / "pg_control").unlink()

    with pytest.raises(errors.DatabaseUnavailable, match="pg_control"):
        server.start()


def test_a_failed_start_leaves_no_process_and_can_be_repeated(server):
    server.start()
    server.stop()
    control = server.data_dir / "global" / "pg_control"
    kept = control.rename(control.with_name("kept"))
    with pytest.raises(errors.DatabaseUnavailable):
        server.start()

    kept.rename(control)

    assert execute(server.start(), "SELECT 1") == [(1,)]


def test_a_long_path_gets_a_short_private_socket_directory(reachable_path):
    deep = reachable_path / ("d" * 60) / ("e" * 60)
    server = EmbeddedPostgres(deep, fsync=False, reachable_dir=reachable_path / "reachable")

    url = server.start()
    (directory,) = execute(url, "SHOW unix_socket_directories")[0]
    found = Path(directory).stat()
    server.stop()
    Path(directory).rmdir()

    assert not directory.startswith(str(deep))
    assert stat.S_IMODE(found.st_mode) == 0o700


def test_a_socket_directory_of_somebody_else_is_refused(server):
    stranger = server.root / "cluster" / "run"
    stranger.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(stranger, NAMELESS_UID, NAMELESS_UID)
    else:
        stranger.rmdir()
        stranger.symlink_to(server.root)

    with pytest.raises(errors.Misconfigured, match="somebody else"):
        server.start()


def test_the_log_tells_no_value_of_a_failing_statement(server):
    url = server.start()
    execute(url, "CREATE TABLE patients (name text PRIMARY KEY)")
    execute(url, "INSERT INTO patients VALUES ('Planted^Name')")

    with pytest.raises(psycopg.errors.UniqueViolation):
        execute(url, "INSERT INTO patients VALUES ('Planted^Name')")

    log = server.log_path.read_text()
    assert "duplicate key" in log
    assert "Planted" not in log


def test_stopping_twice_or_before_the_start_does_nothing(server):
    server.stop()
    server.start()
    server.stop()

    server.stop()


def test_a_machine_whose_binaries_do_not_run_is_told_so(root, reachable_path):
    broken = reachable_path / "pginstall99" / "bin"
    broken.mkdir(parents=True)
    (broken / "postgres").write_text("not a program")
    server = EmbeddedPostgres(root, binaries=broken.parent)

    with pytest.raises(errors.Misconfigured, match="does not run on this machine"):
        server.start()


@as_root
def test_root_runs_the_server_as_an_unprivileged_user(server):
    server.start()

    owner = Path("/proc", str(postmaster_pid(server))).stat().st_uid

    assert owner == choose_account().uid != 0


def test_a_cluster_lives_below_a_closed_home_and_goes_with_it(reachable_path):
    home = reachable_path / "home"
    home.mkdir(mode=0o700)
    server = EmbeddedPostgres(
        home / "data" / "postgres", fsync=False, reachable_dir=reachable_path / "reachable"
    )

    url = server.start()
    execute(url, "CREATE TABLE kept AS SELECT 1 AS value")
    server.stop()
    moved = home.rename(reachable_path / "moved") / "data" / "postgres"
    again = EmbeddedPostgres(moved, fsync=False, reachable_dir=reachable_path / "reachable")
    answer = execute(again.start(), "SELECT value FROM kept")
    again.stop()

    assert answer == [(1,)]


def test_a_server_is_known_by_its_name_where_its_process_may_not_be_looked_into(
    server, monkeypatch
):
    server.start()

    def closed(_path):
        raise PermissionError

    monkeypatch.setattr(Path, "readlink", closed)

    name = cluster_name(server.root)
    assert is_server_of(postmaster_pid(server), server.data_dir, name)
    assert not is_server_of(os.getpid(), server.data_dir, name)


def test_a_directory_that_was_deleted_under_the_server_does_not_hold_the_gateway_up(server):
    server.start()
    guarded = guardian_pid(server)
    shutil.rmtree(server.root)

    server.stop()

    wait_until_gone(guarded)


@as_root
def test_binaries_below_a_closed_home_are_copied_to_where_the_server_reaches_them(reachable_path):
    package = installation_of_wheel().parent
    site = reachable_path / "home" / "site-packages"
    for source in (installation_of_wheel(), package.with_name(f"{package.name}.libs")):
        shutil.copytree(source, site / source.relative_to(package.parent), symlinks=True)
    (reachable_path / "home").chmod(0o700)
    server = EmbeddedPostgres(
        reachable_path / "postgres",
        fsync=False,
        reachable_dir=reachable_path / "reachable",
        binaries=site / package.name / installation_of_wheel().name,
    )

    url = server.start()
    answer = execute(url, "SELECT 1")
    program = Path("/proc", str(postmaster_pid(server)), "exe").readlink()
    server.stop()

    assert answer == [(1,)]
    assert program.is_relative_to(reachable_path / "reachable")


@as_root
def test_a_user_without_a_name_in_the_user_database_can_run_the_server(reachable_path):
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) is not installed")
    reachable_path.chmod(0o777)
    binaries = copy_installation(installation_of_wheel(), reachable_path)
    # The capability only opens the way to this interpreter, wherever it is installed.
    prefix = ("setpriv", f"--reuid={NAMELESS_UID}", f"--regid={NAMELESS_UID}", "--clear-groups")
    capability = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")

    user = User(reachable_path / "postgres", prefix=(*prefix, *capability), binaries=binaries)
    owner = (reachable_path / "postgres" / "cluster" / "data").stat().st_uid
    user.leave()

    assert owner == NAMELESS_UID
