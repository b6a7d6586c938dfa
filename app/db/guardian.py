"""The process that stands between the gateway and its embedded Postgres. Standard library only.

Run by file name, never imported for its ``main``: ``cluster.py`` starts it, it starts the server
and ends it when nobody holds the lease any more. It runs single-threaded, so what is done here
between fork and exec is safe, whatever threads the gateway has.
"""

import ctypes
import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import IO

ALREADY_GUARDED = 3
"""Exit code: another guardian holds this cluster."""

POLL_S = 0.1
FAST_SHUTDOWN_S = 60.0
_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x10000000
_NOBODY = 65534
_FLOCK = "hhqqi4x"
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class Lock(Enum):
    """How a lock is held."""

    SHARED = "shared"
    EXCLUSIVE = "exclusive"


def try_lock(file: IO[bytes], *, exclusive: bool) -> bool:
    """Take a lock that belongs to the open file: the kernel drops it when the holder dies."""
    kind = fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0))
    except (BlockingIOError, PermissionError):
        return False
    return True


def unlock(file: IO[bytes]) -> None:
    """Give a lock back."""
    kind = fcntl.F_UNLCK
    fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0))


def lock_of_others(file: IO[bytes]) -> Lock | None:
    """Tell which lock is held through another open file, without taking one."""
    wanted = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_OFD_GETLK, wanted))[0]
    return {fcntl.F_RDLCK: Lock.SHARED, fcntl.F_WRLCK: Lock.EXCLUSIVE}.get(kind)


def become(uid: int | None, gid: int | None) -> None:
    """Give up root for good; None stays what the process is."""
    if uid is not None and gid is not None:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)


def die_with_parent(signal_number: int, parent: int) -> None:
    """Ask the kernel for a signal when the parent ends. Changing the user undoes it: call last."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent:
        os._exit(1)  # it ended before the kernel knew


def appear_as_nobody() -> None:
    """Enter a user namespace in which this uid has a name.

    initdb refuses to run for a uid that the user database does not know, as arbitrary uids in
    containers are. What it writes keeps the real uid.

    Raises:
        OSError: the kernel or a sandbox forbids user namespaces.
    """
    uid = os.geteuid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "user namespaces are not available")
    Path("/proc/self/uid_map").write_bytes(f"{_NOBODY} {uid} 1".encode())


def run_once(order: dict[str, object], command: Sequence[str]) -> None:
    """Become another user and turn into the command; never returns."""
    parent = os.getppid()
    os.chdir(str(order["directory"]))  # as root still: it may lie below a closed home
    become(_number(order, "uid"), _number(order, "gid"))
    if order.get("nameless"):
        appear_as_nobody()
    die_with_parent(signal.SIGKILL, parent)
    os.execve(command[0], list(command), _ENVIRONMENT)  # noqa: S606 - no shell is wanted


def guard(order: dict[str, object], command: Sequence[str]) -> int:
    """Run the server until it ends or until nobody holds the lease.

    The caller gets its answer as soon as the cluster is locked: a child goes on, belongs to
    nobody, and inherits the lock. Requests to stop are not followed: a service manager sends
    them to the gateway at the same moment, which still needs the server to finish its work.
    """
    with (
        Path(str(order["guardian"])).open("ab") as mine,
        Path(str(order["lease"])).open("r+b") as lease,
    ):
        if not try_lock(mine, exclusive=True):
            return ALREADY_GUARDED
        if os.fork() != 0:
            return 0
        watched = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
        signal.pthread_sigmask(signal.SIG_BLOCK, watched)
        server = subprocess.Popen(  # noqa: S603 - the command is built by embedded.py
            command,
            cwd=str(order["directory"]),  # as root still: it may lie below a closed home
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            preexec_fn=_before_exec(order, os.getpid(), watched),  # noqa: PLW1509 - one thread
        )
        while server.poll() is None:
            signal.sigtimedwait(watched, POLL_S)
            if try_lock(lease, exclusive=True):
                _shut_down(server)
        return server.returncode


def _before_exec(
    order: dict[str, object], guardian: int, blocked: set[signal.Signals]
) -> Callable[[], None]:
    def prepare() -> None:
        become(_number(order, "uid"), _number(order, "gid"))
        # SIGINT is Postgres' fast shutdown: sessions end, everything committed is kept.
        die_with_parent(signal.SIGINT, guardian)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)

    return prepare


def _shut_down(server: "subprocess.Popen[bytes]") -> None:
    server.send_signal(signal.SIGINT)
    deadline = time.monotonic() + FAST_SHUTDOWN_S
    while server.poll() is None and time.monotonic() < deadline:
        signal.sigtimedwait({signal.SIGCHLD}, POLL_S)
    if server.poll() is None:
        server.send_signal(signal.SIGQUIT)  # no checkpoint; the next start recovers from the log
        server.wait()


def _number(order: dict[str, object], name: str) -> int | None:
    value = order.get(name)
    return value if isinstance(value, int) else None


def main(arguments: Sequence[str]) -> int:
    """``guardian.py guard|once ORDER COMMAND…`` with the order as JSON."""
    task, text, *command = arguments
    order = json.loads(text)
    if task == "guard":
        return guard(order, command)
    run_once(order, command)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
