"""What a worker process and the process that started it tell each other.

The parent writes one line, the settings, and keeps the pipe open: its end says that the parent is
gone. The child writes a line when it has joined, and another one every few seconds. Little is
imported here, because the child should hold its lifeline before it does anything that takes time.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from app.db.guardian import die_with_parent

ALIVE_EVERY_S: Final = 5.0
ALIVE: Final = b"alive\n"
COUNTED: Final = b"counted "
JOINED: Final = b"joined "


def order_of(settings: dict[str, Any]) -> bytes:
    """Write the order that a worker process starts with.

    Args:
        settings: every setting by its field name, as JSON has it; passwords stay in the pipe.
    """
    return json.dumps({"parent": os.getpid(), "settings": settings}).encode() + b"\n"


class Lifeline:
    """The child's end: standard input and output, which nothing else of the process may use."""

    def __init__(self) -> None:
        self._input = os.dup(sys.stdin.fileno())
        self._output = os.dup(sys.stdout.fileno())
        self._writing = threading.Lock()
        self._count: Callable[[], object] | None = None
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, sys.stdin.fileno())
        os.close(nothing)
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def take_order(self) -> dict[str, Any] | None:
        """Wait for the settings; None when the parent is gone already.

        From here on the process is killed when its parent ends, and tells that it is alive.
        """
        line = b""
        while not line.endswith(b"\n"):
            part = os.read(self._input, 1 << 16)
            if not part:
                return None
            line += part
        order = json.loads(line)
        if sys.platform.startswith("linux"):
            die_with_parent(signal.SIGKILL, order["parent"])
        threading.Thread(target=self._tell, name="lifeline", daemon=True).start()
        settings: dict[str, Any] = order["settings"]
        return settings

    def joined(self, worker: UUID) -> None:
        """Tell under which id the process takes work."""
        self._write(JOINED + f"{worker}\n".encode())

    def count(self, count: Callable[[], object]) -> None:
        """Tell from now on what this process has counted, in words of JSON, with every sign."""
        self._count = count

    def tell_counts(self) -> bool:
        """Tell what was counted so far; False when nobody listens any more."""
        if self._count is None:
            return True
        return self._write(COUNTED + json.dumps(self._count()).encode() + b"\n")

    def watch(self, stop: Callable[[], None]) -> None:
        """Call ``stop`` from the running loop when the parent is gone and this process is not."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            if not os.read(self._input, 1 << 16):
                loop.remove_reader(self._input)
                stop()

        loop.add_reader(self._input, ended)

    def _tell(self) -> None:
        while self._write(ALIVE) and self.tell_counts():
            threading.Event().wait(ALIVE_EVERY_S)

    def _write(self, line: bytes) -> bool:
        with suppress(OSError), self._writing:  # where nobody listens any more
            while line:
                line = line[os.write(self._output, line) :]
            return True
        return False
