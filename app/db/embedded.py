"""The embedded Postgres: starts one server, shares it, ends it.

The server belongs to no process of the gateway. Every user of it holds a shared lock (the lease);
a guardian process starts the server and ends it, with a checkpoint, when the last lease is gone,
however its holder ended. What the guardian does is in ``guardian.py``, the cluster's files are in
``cluster.py``, the binaries in ``installation.py``; tables and connections are not here.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import IO
from urllib.parse import quote

import psycopg
from psycopg import sql

from app import errors
from app.db import guardian
from app.db.cluster import HERE, SUPERUSER, Cluster
from app.db.installation import (
    REACHABLE_DIR,
    Binaries,
    choose_account,
    copy_installation,
    installation_of_wheel,
    major_version,
    prepare_reachable_dir,
)
from app.db.orphans import end_orphan

DATABASE = "deid_gateway"
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
        self._account = choose_account()
        self._cluster = Cluster(root, self._account, fsync=fsync)
        self._fsync = fsync
        self._start_timeout_s = start_timeout_s
        self._reachable_dir = reachable_dir
        self._installation = binaries
        self._lease: IO[bytes] | None = None
        self._mutex = threading.Lock()

    @property
    def root(self) -> Path:
        """The directory of the cluster."""
        return self._cluster.root

    @property
    def log_path(self) -> Path:
        """The server's log; it carries no statements and no values."""
        return self._cluster.log_path

    @property
    def data_dir(self) -> Path:
        """The cluster's data directory."""
        return self._cluster.data_dir

    def start(self) -> str:
        """Run the server if it does not run, and return the URL of the gateway's database.

        Raises:
            Misconfigured: this machine or this directory cannot hold the cluster, or the cluster
                was made by another version of Postgres.
            DatabaseUnavailable: the server does not come up; its log says why.
        """
        with self._mutex:
            deadline = time.monotonic() + self._start_timeout_s
            self._cluster.make_root()
            with self._alone(deadline):
                self._cluster.make_directories()
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
        host = quote(str(self._cluster.socket_dir), safe="")
        return f"postgresql://{SUPERUSER}@/{database}?host={host}"

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
            self._cluster.make_data(binaries)
        self._cluster.check_version(binaries)
        end_orphan(self.data_dir, self._cluster.name, deadline)
        said_before = self._cluster.rotate_log()
        self._spawn_guardian(binaries)
        while not self._is_ready():
            if not self._is_guarded():
                raise errors.DatabaseUnavailable(
                    f"The embedded database ended while it started; see {self.log_path} "
                    f"({self._cluster.last_words(said_before)})"
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
            **self._cluster.order_in(self.data_dir),
            "guardian": str(self.root / "guardian.lock"),
            "lease": str(self.root / "lease.lock"),
        }
        usual = self._cluster.socket_dir.parent == self.data_dir.parent
        options = {
            **_OPTIONS,
            "cluster_name": self._cluster.name,
            "fsync": "on" if self._fsync else "off",
            "unix_socket_directories": "../run" if usual else str(self._cluster.socket_dir),
        }
        command = [binaries.path("postgres"), "-D", HERE, "-h", "", "-p", "5432"]
        command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        if self._cluster.run("guard", order, command) != 0:
            raise errors.DatabaseUnavailable(
                f"The embedded database could not be started; see {self.log_path}"
            )

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

    def _binaries(self) -> Binaries:
        directory = self._installation or installation_of_wheel()
        if self._account.uid is not None and not self._account.can_enter(directory / "bin"):
            prepare_reachable_dir(self._reachable_dir, self._account)
            directory = copy_installation(directory, self._reachable_dir)
        return Binaries(directory, major_version(directory))


def _wait_for_lock(file: IO[bytes], deadline: float, *, exclusive: bool) -> None:
    while not guardian.try_lock(file, exclusive=exclusive):
        if time.monotonic() > deadline:
            raise errors.DatabaseUnavailable(
                "Another process starts or stops the embedded database and does not finish"
            )
        time.sleep(_POLL_S)
