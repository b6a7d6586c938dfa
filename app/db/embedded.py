"""The embedded Postgres: finds the binaries, makes the cluster, shares one server, ends it.

The server belongs to no process of the gateway. Every user of it holds a shared lock (the lease);
a guardian process starts the server and ends it, with a checkpoint, when the last lease is gone,
however its holder ended. What the guardian does is in ``guardian.py``; tables and connections
are not here.
"""

import hashlib
import json
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO
from urllib.parse import quote

import psycopg
from psycopg import sql

from app import errors
from app.db import guardian
from app.db.installation import (
    REACHABLE_DIR,
    Binaries,
    choose_account,
    copy_installation,
    installation_of_wheel,
    major_version,
    prepare_reachable_dir,
)

DATABASE = "deid_gateway"
SUPERUSER = "postgres"
# The server's working directory is its data directory, set while the guardian still is root.
# Through this name it is reached without walking down to it, below whatever closed home it lies.
_HERE = "/proc/self/cwd"
_SOCKET_NAME = ".s.PGSQL.5432"
_MAX_SOCKET_PATH = 107
_LOG_KEPT_BYTES = 4 << 20
_POLL_S = 0.02
_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        # Some ten for each worker process.
        "max_connections": "300",
        "shared_buffers": "128MB",
        "max_wal_size": "512MB",
        "jit": "off",
        # Statements and error details carry values: none of them may reach the log.
        "log_error_verbosity": "terse",
        "log_min_error_statement": "panic",
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
    }
)


class EmbeddedPostgres:
    """One cluster in one directory, shared by all processes that start it.

    ``start`` may be called again after the server was lost; it is cheap when the server runs.
    Instances are not for use by several threads at once, but ``start`` and ``stop`` exclude each
    other across processes.

    Args:
        root: directory of the cluster; made if it is absent. It may lie below directories that
            are closed to the server's unprivileged user.
        fsync: False only for tests: a crash of the machine then loses the cluster.
        start_timeout_s: how long the server may take, recovery after a crash included.
        reachable_dir: where root puts a copy of the binaries when that user cannot reach them.
        binaries: directory of the Postgres installation; the wheel's by default.
    """

    def __init__(
        self,
        root: Path,
        *,
        fsync: bool = True,
        start_timeout_s: float = 120.0,
        reachable_dir: Path = REACHABLE_DIR,
        binaries: Path | None = None,
    ) -> None:
        self.root = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow links
        self._fsync = fsync
        self._start_timeout_s = start_timeout_s
        self._reachable_dir = reachable_dir
        self._installation = binaries
        self._account = choose_account()
        self._lease: IO[bytes] | None = None
        self._mutex = threading.Lock()

    @property
    def log_path(self) -> Path:
        """The server's log; it carries no statements and no values."""
        return self.root / "server.log"

    @property
    def data_dir(self) -> Path:
        """The cluster's data directory."""
        return self.root / "cluster" / "data"

    def start(self) -> str:
        """Run the server if it does not run, and return the URL of the gateway's database.

        Raises:
            Misconfigured: this machine or this directory cannot hold the cluster, or the cluster
                was made by another version of Postgres.
            DatabaseUnavailable: the server does not come up; its log says why.
        """
        with self._mutex:
            deadline = time.monotonic() + self._start_timeout_s
            with _refusing_by_name(self.root):
                self._make_root()
            with self._alone(deadline):
                with _refusing_by_name(self.root):
                    self._make_private(self.root / "cluster")
                    self._make_private(self._socket_dir())
                self._take_lease(deadline)
                try:
                    self._run_server(deadline)
                except BaseException:
                    self._drop_lease()
                    raise
            return self.url(DATABASE)

    def stop(self) -> None:
        """Give the server back; if this was its last user, wait until it has ended."""
        with self._mutex:
            if self._lease is None:
                return
            if not self.data_dir.exists():  # it was deleted under the server, which will notice
                self._drop_lease()
                return
            deadline = time.monotonic() + guardian.FAST_SHUTDOWN_S
            with self._alone(deadline):
                self._drop_lease()
                self._wait_for_guardian(deadline)

    def is_lost(self) -> bool:
        """Whether the cluster is there and nobody runs it: a new ``start`` would repair that."""
        try:
            return self.data_dir.exists() and not self._is_guarded()
        except OSError:  # the directory goes away right now
            return False

    def url(self, database: str) -> str:
        """Return the libpq URL of one database of this cluster."""
        host = quote(str(self._socket_dir()), safe="")
        return f"postgresql://{SUPERUSER}@/{database}?host={host}"

    def _make_root(self) -> None:
        """Make the outer directory and its locks; root keeps it, so no link can be planted."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        for name in ("start.lock", "lease.lock", "guardian.lock"):
            (self.root / name).touch(mode=0o600)

    def _make_private(self, directory: Path) -> None:
        """Make a directory of the server's user, or take over one that a killed start left."""
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        found = directory.lstat()
        owners = {os.geteuid(), self._account.effective_uid}
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners:
            raise errors.Misconfigured(f"{directory} belongs to somebody else")
        if found.st_uid != self._account.effective_uid:
            os.chown(directory, self._account.effective_uid, self._account.gid or -1)
        if stat.S_IMODE(found.st_mode) != 0o700:
            directory.chmod(0o700)

    def _socket_dir(self) -> Path:
        """Return the server's own socket directory, or a short one when the path is too long."""
        usual = self.data_dir.with_name("run")
        if len(os.fsencode(usual / _SOCKET_NAME)) <= _MAX_SOCKET_PATH:
            return usual
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
        return Path("/tmp", f"deid-gateway-{name}")  # noqa: S108 - owner and mode are checked

    @contextmanager
    def _alone(self, deadline: float) -> Iterator[None]:
        """Exclude every other start and stop of this cluster."""
        with (self.root / "start.lock").open("r+b") as file:
            _wait_for_lock(file, deadline, exclusive=True)
            yield

    def _take_lease(self, deadline: float) -> None:
        if self._lease is not None:
            return
        with ExitStack() as undo:
            file = undo.enter_context((self.root / "lease.lock").open("r+b"))
            _wait_for_lock(file, deadline, exclusive=False)  # a guardian may be shutting down
            undo.pop_all()
        self._lease = file

    def _drop_lease(self) -> None:
        if self._lease is not None:
            guardian.unlock(self._lease)  # closing is not enough where a fork inherited it
            self._lease.close()
            self._lease = None

    def _wait_for_guardian(self, deadline: float) -> None:
        while self._is_guarded():
            if self._lock_on("lease.lock") is guardian.Lock.SHARED:
                return  # somebody else still uses the server
            if time.monotonic() > deadline:
                raise errors.DatabaseUnavailable("The embedded database did not stop in time")
            time.sleep(_POLL_S)

    def _is_guarded(self) -> bool:
        return self._lock_on("guardian.lock") is not None

    def _lock_on(self, name: str) -> guardian.Lock | None:
        with (self.root / name).open("r+b") as file:
            return guardian.lock_of_others(file)

    def _is_ready(self) -> bool:
        """Whether the server answers; one in recovery does not yet."""
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run_server(self, deadline: float) -> None:
        while not (self._is_guarded() and self._is_ready() and self._has_database()):
            self._check_deadline(deadline)
            if not self._is_guarded():
                self._launch(deadline)
            else:
                time.sleep(_POLL_S)  # it comes up, or goes down because its guardian was killed

    def _launch(self, deadline: float) -> None:
        binaries = self._binaries()
        if not self.data_dir.exists():
            self._make_cluster(binaries)
        self._check_version(binaries)
        self._end_orphan(deadline)
        said_before = self._rotate_log()
        self._spawn_guardian(binaries)
        while not self._is_ready():
            if not self._is_guarded():
                raise errors.DatabaseUnavailable(
                    f"The embedded database ended while it started; see {self.log_path} "
                    f"({self._last_words(said_before)})"
                )
            self._check_deadline(deadline)
            time.sleep(_POLL_S)

    def _check_deadline(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise errors.DatabaseUnavailable(
                f"The embedded database did not start within {self._start_timeout_s:g} s; "
                f"see {self.log_path}"
            )

    def _spawn_guardian(self, binaries: Binaries) -> None:
        order = {
            **self._order_in(self.data_dir),
            "guardian": str(self.root / "guardian.lock"),
            "lease": str(self.root / "lease.lock"),
        }
        usual = self._socket_dir().parent == self.data_dir.parent
        options = {
            **_OPTIONS,
            "cluster_name": self._name(),
            "fsync": "on" if self._fsync else "off",
            "unix_socket_directories": "../run" if usual else str(self._socket_dir()),
        }
        command = [binaries.path("postgres"), "-D", _HERE, "-h", "", "-p", "5432"]
        command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        if self._run("guard", order, command) != 0:
            raise errors.DatabaseUnavailable(
                f"The embedded database could not be started; see {self.log_path}"
            )

    def _order_in(self, directory: Path) -> dict[str, object]:
        return {
            "uid": self._account.uid,
            "gid": self._account.gid,
            "directory": str(directory),
        }

    def _name(self) -> str:
        """Return a name that tells this cluster's server from every other in the process list."""
        return f"deid-gateway-{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]}"

    def _run(self, task: str, order: Mapping[str, object], command: list[str]) -> int:
        """Give the guardian a task; its output goes to the log, no signal of the terminal to it."""
        with self.log_path.open("ab") as log:
            return subprocess.run(  # noqa: S603 - all parts of the command are made here
                [sys.executable, "-I", "-S", guardian.__file__, task, json.dumps(order), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                check=False,
            ).returncode

    def _make_cluster(self, binaries: Binaries) -> None:
        """Run initdb beside the final place and rename: a cluster is there whole or not at all."""
        parent = self.data_dir.parent
        for left_over in parent.glob("new-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        fresh = parent / f"new-{secrets.token_hex(6)}"
        self._make_private(fresh)
        command = [binaries.path("initdb"), "-D", _HERE, "-U", SUPERUSER, "-E", "UTF8"]
        command += ["--locale-provider=builtin", "--locale=C.UTF-8", "--no-instructions"]
        command += ["--auth-local=trust", "--auth-host=reject"]
        command += [] if self._fsync else ["--no-sync"]
        nameless = not _has_name(self._account.effective_uid)
        if self._run("once", {**self._order_in(fresh), "nameless": nameless}, command) != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise errors.Misconfigured(self._why_no_cluster(nameless=nameless))
        fresh.rename(self.data_dir)

    def _check_version(self, binaries: Binaries) -> None:
        try:
            made_by = (self.data_dir / "PG_VERSION").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise errors.Misconfigured(
                f"{self.data_dir} is not a database cluster, or a damaged one; restore it from a "
                "backup or move it away"
            ) from None
        if made_by != str(binaries.major):
            raise errors.Misconfigured(
                f"{self.data_dir} was made by PostgreSQL {made_by}, this installation is "
                f"PostgreSQL {binaries.major}; migrate it with pg_upgrade or pg_dump, or set "
                "DATABASE_URL"
            )

    def _end_orphan(self, deadline: float) -> None:
        """Deal with what an earlier server left: its pid file, or itself without a guardian.

        The number in the file may long belong to somebody else: only a Postgres that works in
        this very data directory is the one it speaks of.
        """
        pid_file = self.data_dir / "postmaster.pid"
        while (pid := _read_pid(pid_file)) is not None:
            if not self._is_own_server(pid):
                pid_file.unlink(missing_ok=True)
                return
            if time.monotonic() > deadline:
                raise errors.DatabaseUnavailable("An earlier database server does not end")
            self._end_server(pid)
            time.sleep(_POLL_S)

    def _is_own_server(self, pid: int) -> bool:
        """Whether the process is a Postgres that works in this data directory."""
        process = Path("/proc", str(pid))
        try:
            is_postgres = (process / "exe").readlink().name.startswith("postgres")
            return is_postgres and (process / "cwd").samefile(self.data_dir)
        except PermissionError:
            # Root in a container may lack the right to look; the command line is open to all.
            with suppress(OSError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                return f"cluster_name={self._name()}".encode() in words
        except OSError:
            pass
        return False

    def _end_server(self, pid: int) -> None:
        """Send the fast shutdown to the server, to it alone, even if its number is reused now."""
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                if self._is_own_server(pid):
                    signal.pidfd_send_signal(descriptor, signal.SIGINT)
            finally:
                os.close(descriptor)

    def _has_database(self) -> bool:
        """Whether the gateway's database is there; it is made at the first start."""
        try:
            with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
                known = "SELECT FROM pg_database WHERE datname = %s"
                if connection.execute(known, [DATABASE]).fetchone() is None:
                    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE))
                    connection.execute(statement)
        except psycopg.OperationalError:
            return False
        return True

    def _rotate_log(self) -> int:
        """Put a long log aside, and return the length of the one that is written on."""
        self.log_path.touch(mode=0o600)
        size = self.log_path.stat().st_size
        if size < _LOG_KEPT_BYTES:
            return size
        self.log_path.replace(self.log_path.with_suffix(".log.1"))
        self.log_path.touch(mode=0o600)
        return 0

    def _why_no_cluster(self, *, nameless: bool) -> str:
        text = f"The embedded database could not be created; see {self.log_path}"
        if nameless:
            text += (
                f". The user id {self._account.effective_uid} has no entry in the user database "
                "and user namespaces are not available here: add an entry, or set DATABASE_URL"
            )
        return text

    def _last_words(self, since: int) -> str:
        """Return what the server said last: at its start it speaks of files and settings only."""
        lines = self.log_path.read_bytes()[since:].decode("utf-8", "replace").splitlines()
        telling = [line for line in lines if line.strip() and "starting up" not in line]
        fatal = [line for line in telling if "FATAL:" in line or "PANIC:" in line]
        said = fatal[-1:] or telling[-2:]
        return " ".join(line.partition("FATAL:")[2].strip() or line.strip() for line in said)

    def _binaries(self) -> Binaries:
        directory = self._installation or installation_of_wheel()
        if self._account.uid is not None and not self._account.can_enter(directory / "bin"):
            prepare_reachable_dir(self._reachable_dir, self._account)
            directory = copy_installation(directory, self._reachable_dir)
        return Binaries(directory, major_version(directory))


@contextmanager
def _refusing_by_name(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        reason = cause.strerror or type(cause).__name__
        raise errors.Misconfigured(
            f"The directory {root} of the embedded database cannot be used: {reason}"
        ) from None


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _wait_for_lock(file: IO[bytes], deadline: float, *, exclusive: bool) -> None:
    while not guardian.try_lock(file, exclusive=exclusive):
        if time.monotonic() > deadline:
            raise errors.DatabaseUnavailable(
                "Another process starts or stops the embedded database and does not finish"
            )
        time.sleep(_POLL_S)


def _read_pid(pid_file: Path) -> int | None:
    try:
        lines = pid_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    return int(lines[0]) if lines and lines[0].isascii() and lines[0].isdigit() else 0
