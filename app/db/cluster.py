"""The files of the embedded cluster: its directories, its data, its log. No server is run here."""

import hashlib
import json
import os
import pwd
import secrets
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from app import errors
from app.db import guardian
from app.db.installation import Account, Binaries

SUPERUSER = "postgres"
# The server's working directory is its data directory, set while the guardian still is root.
# Through this name it is reached without walking down to it, below whatever closed home it lies.
HERE = "/proc/self/cwd"
_SOCKET_NAME = ".s.PGSQL.5432"
_MAX_SOCKET_PATH = 107
_LOG_KEPT_BYTES = 4 << 20


class Cluster:
    """One cluster in one directory.

    Args:
        root: the directory; made if it is absent.
        account: whom the cluster belongs to.
        fsync: whether files are forced to the disk.
    """

    def __init__(self, root: Path, account: Account, *, fsync: bool) -> None:
        self.root = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow links
        self.name = cluster_name(self.root)
        self._account = account
        self._fsync = fsync

    @property
    def log_path(self) -> Path:
        """The server's log; it carries no statements and no values."""
        return self.root / "server.log"

    @property
    def data_dir(self) -> Path:
        """The cluster's data directory."""
        return self.root / "cluster" / "data"

    @property
    def socket_dir(self) -> Path:
        """The server's own socket directory, or a short one when the path is too long."""
        usual = self.data_dir.with_name("run")
        if len(os.fsencode(usual / _SOCKET_NAME)) <= _MAX_SOCKET_PATH:
            return usual
        return Path("/tmp", self.name)  # noqa: S108 - owner and mode are checked

    def make_root(self) -> None:
        """Make the outer directory and its locks; root keeps it, so no link can be planted."""
        with self._refusing_by_name():
            self.root.mkdir(parents=True, exist_ok=True)
            self.root.chmod(0o700)
            for name in ("start.lock", "lease.lock", "guardian.lock"):
                (self.root / name).touch(mode=0o600)

    def make_directories(self) -> None:
        """Make what the server's user needs: a place for the data, and one for the socket."""
        with self._refusing_by_name():
            self._make_private(self.root / "cluster")
            self._make_private(self.socket_dir)

    @contextmanager
    def _refusing_by_name(self) -> Iterator[None]:
        try:
            yield
        except OSError as cause:
            reason = cause.strerror or type(cause).__name__
            raise errors.Misconfigured(
                f"The directory {self.root} of the embedded database cannot be used: {reason}"
            ) from None

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

    def make_data(self, binaries: Binaries) -> None:
        """Run initdb beside the final place and rename: a cluster is there whole or not at all."""
        parent = self.data_dir.parent
        for left_over in parent.glob("new-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        fresh = parent / f"new-{secrets.token_hex(6)}"
        self._make_private(fresh)
        command = [binaries.path("initdb"), "-D", HERE, "-U", SUPERUSER, "-E", "UTF8"]
        command += ["--locale-provider=builtin", "--locale=C.UTF-8", "--no-instructions"]
        command += ["--auth-local=trust", "--auth-host=reject"]
        command += [] if self._fsync else ["--no-sync"]
        nameless = not _has_name(self._account.effective_uid)
        if self.run("once", {**self.order_in(fresh), "nameless": nameless}, command) != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise errors.Misconfigured(self._why_no_cluster(nameless=nameless))
        fresh.rename(self.data_dir)

    def _why_no_cluster(self, *, nameless: bool) -> str:
        text = f"The embedded database could not be created; see {self.log_path}"
        if nameless:
            text += (
                f". The user id {self._account.effective_uid} has no entry in the user database "
                "and user namespaces are not available here: add an entry, or set DATABASE_URL"
            )
        return text

    def check_version(self, binaries: Binaries) -> None:
        """Refuse data that another version of Postgres made, or that are none."""
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

    def order_in(self, directory: Path) -> dict[str, object]:
        """Return whom the guardian becomes, and where."""
        return {
            "uid": self._account.uid,
            "gid": self._account.gid,
            "directory": str(directory),
        }

    def run(self, task: str, order: Mapping[str, object], command: list[str]) -> int:
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

    def rotate_log(self) -> int:
        """Put a long log aside, and return the length of the one that is written on."""
        self.log_path.touch(mode=0o600)
        size = self.log_path.stat().st_size
        if size < _LOG_KEPT_BYTES:
            return size
        self.log_path.replace(self.log_path.with_suffix(".log.1"))
        self.log_path.touch(mode=0o600)
        return 0

    def last_words(self, since: int) -> str:
        """Return what the server said last: at its start it speaks of files and settings only."""
        lines = self.log_path.read_bytes()[since:].decode("utf-8", "replace").splitlines()
        telling = [line for line in lines if line.strip() and "starting up" not in line]
        fatal = [line for line in telling if "FATAL:" in line or "PANIC:" in line]
        said = fatal[-1:] or telling[-2:]
        return " ".join(line.partition("FATAL:")[2].strip() or line.strip() for line in said)


def cluster_name(root: Path) -> str:
    """Return a name that tells this cluster's server from every other in the process list."""
    return f"deid-gateway-{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}"


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
