"""A child process that fails in every way that one can; run by the tests of the pool."""

import ctypes
import os
import sys
import time
from typing import Any

from app.errors import UnsupportedTransferSyntax
from app.pixels import child

Task = dict[str, Any]


def crash(_task: Task, _fds: list[int]) -> Task:
    ctypes.string_at(0)
    return {}


def hang(_task: Task, _fds: list[int]) -> Task:
    time.sleep(600)
    return {}


def huge(_task: Task, _fds: list[int]) -> Task:
    return {"text": "x" * (child.MAX_MESSAGE + 1)}


def greedy(_task: Task, _fds: list[int]) -> Task:
    return {"size": len(bytearray(1 << 30))}


def noisy(_task: Task, _fds: list[int]) -> Task:
    os.write(1, b"PATIENT^NAME\n")
    os.write(2, b"PATIENT^NAME\n")
    sys.stderr.write("PATIENT^NAME")
    return {"environment": [os.fsdecode(name) for name in os.environb], "nice": os.nice(0)}


def speaks(_task: Task, _fds: list[int]) -> Task:
    raise ValueError("PATIENT^NAME")


def refuses(_task: Task, _fds: list[int]) -> Task:
    raise UnsupportedTransferSyntax


def lacks(_task: Task, _fds: list[int]) -> Task:
    import no_such_package_at_all  # noqa: F401, PLC0415 # type: ignore[import-not-found]

    return {}


def reads(_task: Task, fds: list[int]) -> Task:
    os.write(fds[1], os.read(fds[0], 100).upper())
    return {"open": len(os.listdir("/proc/self/fd"))}  # noqa: PTH208


def nap(task: Task, _fds: list[int]) -> Task:
    time.sleep(task["seconds"])
    return {"pid": os.getpid(), "number": task["number"]}


def babbles(_task: Task, _fds: list[int]) -> Task:
    body = b"[" * 100_000
    os.write(int(sys.argv[1]), child.LENGTH.pack(len(body)) + body)
    return {}


child.HANDLERS.update(
    {
        handler.__name__: f"__main__:{handler.__name__}"
        for handler in (
            crash, hang, huge, greedy, noisy, speaks, refuses, lacks, reads, nap, babbles,
        )
    }
)  # fmt: skip
if __name__ == "__main__":
    child.main()
