"""The process that opens hostile images: does tasks from a socket, and dies with its parent.

Started by ``children``, never by hand. Handlers are imported when their first task comes, so that
this process holds no decoder that it does not use. What they read in an image stays here.
"""

import ctypes
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from app.errors import GatewayError

Handler = Callable[[dict[str, Any], list[int]], dict[str, Any]]

#: Kind of task → where its handler ``(task, descriptors) -> answer`` is.
HANDLERS: Final[dict[str, str]] = {
    "ping": "app.pixels.child:ping",
    "examine": "app.pixels.reading:examine",
    "overlays": "app.pixels.overlay_reading:overlays",
    "ocr-probe": "app.pixels.reading:probe",
    "mask": "app.pixels.masking:mask",
    "render": "app.pixels.rendering:render",
    "document": "app.pixels.documents.child:document",
}
#: Neither a task nor an answer is longer.
MAX_MESSAGE: Final = 32 << 20
MAX_DESCRIPTORS: Final = 8
LENGTH: Final = struct.Struct("!I")
_FIRST_S = 60.0
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
# The kernel takes a child that eats the memory before it takes the gateway.
_OOM_SCORE_ADJ = b"600"


def ping(task: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """Say that this process lives; reads the first bytes of each descriptor when asked for."""
    sizes = [os.fstat(fd).st_size for fd in fds]
    return {"pid": os.getpid(), "sizes": sizes, "echo": task.get("echo")}


def send(channel: socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one message with its length before it; descriptors go with the first bytes."""
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > MAX_MESSAGE:
        raise OverflowError
    view = memoryview(LENGTH.pack(len(data)) + data)
    sent = socket.send_fds(channel, [view[: 1 << 16]], list(fds)) if fds else 0
    channel.sendall(view[sent:])


def receive(
    channel: socket.socket, *, with_fds: bool = False, deadline: float | None = None
) -> tuple[bytes, list[int]]:
    """Receive one message; no bytes where the other side has gone.

    Args:
        channel: the socket.
        with_fds: whether descriptors are taken too.
        deadline: of the monotonic clock, for the whole of the message.

    Raises:
        OverflowError: it is longer than is taken.
        TimeoutError: it did not come in time.
    """
    fds: list[int] = []
    head = b""
    if with_fds:
        # Descriptors come with the first byte, so that no second call can miss them.
        head, fds, _, _ = socket.recv_fds(
            channel, LENGTH.size, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        if not head:
            return b"", fds
    head += _exactly(channel, LENGTH.size - len(head), deadline)
    if len(head) < LENGTH.size:
        return b"", fds
    (size,) = LENGTH.unpack(head)
    if size > MAX_MESSAGE:
        raise OverflowError
    body = _exactly(channel, size, deadline)
    return (body if len(body) == size else b""), fds


def _exactly(channel: socket.socket, size: int, deadline: float | None) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        if deadline is not None:
            channel.settimeout(max(deadline - time.monotonic(), 0.001))
        part = channel.recv(min(size - len(parts), 1 << 18))
        if not part:
            break
        parts += part
    return bytes(parts)


def answer_to(task: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """Do one task; what goes wrong becomes a word and a place in the code, never a text."""
    target = HANDLERS.get(str(task.get("kind")))
    if target is None:
        return {"failed": "unknown-kind"}
    try:
        return {"answer": _handler(target)(task, fds)}
    except ModuleNotFoundError as missing:
        return {"failed": "not-installed", "where": str(missing.name)}
    except MemoryError:
        return {"failed": "out-of-memory"}
    except GatewayError as refusal:
        reason = getattr(refusal, "reason", "")
        return {"answer": {"error": refusal.code, "reason": reason}}
    except Exception as error:  # noqa: BLE001 - the outermost handler of this process
        return {"failed": "failed", "where": f"{type(error).__name__} at {_place(error)}"}


def _handler(target: str) -> Handler:
    module, _, name = target.partition(":")
    found: Handler = getattr(import_module(module), name)
    return found


def _place(error: BaseException) -> str:
    """Name the innermost frame of this program on the way to an error."""
    place, step = "unknown", error.__traceback__
    while step is not None:
        name = step.tb_frame.f_globals.get("__name__", "")
        if name.startswith("app."):
            place = f"{name}:{step.tb_lineno}"
        step = step.tb_next
    return place


def serve(channel: socket.socket, idle_s: float) -> None:
    """Do tasks until the other side goes, or nothing has come for a while."""
    patience = max(idle_s, _FIRST_S)  # the first task is on its way
    while select.select([channel], [], [], patience)[0]:
        patience = idle_s
        data, fds = receive(channel, with_fds=True)
        if not data:
            return
        try:
            reply = answer_to(json.loads(data), fds)
        finally:
            for fd in fds:
                with suppress(OSError):
                    os.close(fd)
        del data
        try:
            send(channel, reply)
        except OverflowError:
            send(channel, {"failed": "message-too-large"})


def _confine(memory_bytes: int, niceness: int) -> None:
    """Bound memory, leave no core file, gain no rights, and go last."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the image
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    os.nice(niceness)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(_OOM_SCORE_ADJ)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _die_with(channel: socket.socket) -> None:
    """End the process when the other side closes, also in the middle of a task."""
    poll = select.poll()
    poll.register(channel, select.POLLRDHUP | select.POLLHUP)
    poll.poll()
    os._exit(1)


def main() -> None:
    """Serve the socket whose number is in the arguments, with the bounds that follow it."""
    descriptor, memory_bytes, niceness, idle_s = sys.argv[1:]
    channel = socket.socket(fileno=int(descriptor))
    _confine(int(memory_bytes), int(niceness))
    threading.Thread(target=_die_with, args=(channel,), daemon=True).start()
    serve(channel, float(idle_s))
    os._exit(0)


if __name__ == "__main__":
    main()
