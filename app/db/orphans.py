"""What an earlier embedded server left behind: its pid file, or itself without a guardian."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from app import errors

_POLL_S = 0.02


def end_orphan(data_dir: Path, name: str, deadline: float) -> None:
    """Deal with what an earlier server left, until nothing of it is there.

    The number in the pid file may long belong to somebody else: only a Postgres that works in
    this very data directory is the one it speaks of.

    Args:
        data_dir: of the cluster, without a guardian.
        name: of the cluster, as the server's command line has it.
        deadline: of the monotonic clock.

    Raises:
        DatabaseUnavailable: the earlier server does not end in time.
    """
    pid_file = data_dir / "postmaster.pid"
    while (pid := _read_pid(pid_file)) is not None:
        if not is_server_of(pid, data_dir, name):
            pid_file.unlink(missing_ok=True)
            return
        if time.monotonic() > deadline:
            raise errors.DatabaseUnavailable("An earlier database server does not end")
        _end_server(pid, data_dir, name)
        time.sleep(_POLL_S)


def is_server_of(pid: int, data_dir: Path, name: str) -> bool:
    """Whether the process is a Postgres that works in this data directory."""
    process = Path("/proc", str(pid))
    try:
        is_postgres = (process / "exe").readlink().name.startswith("postgres")
        return is_postgres and (process / "cwd").samefile(data_dir)
    except PermissionError:
        # Root in a container may lack the right to look; the command line is open to all.
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            return f"cluster_name={name}".encode() in words
    except OSError:
        pass
    return False


def _end_server(pid: int, data_dir: Path, name: str) -> None:
    """Send the fast shutdown to the server, to it alone, even if its number is reused now."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            if is_server_of(pid, data_dir, name):
                signal.pidfd_send_signal(descriptor, signal.SIGINT)
        finally:
            os.close(descriptor)


def _read_pid(pid_file: Path) -> int | None:
    try:
        lines = pid_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    return int(lines[0]) if lines and lines[0].isascii() and lines[0].isdigit() else 0
