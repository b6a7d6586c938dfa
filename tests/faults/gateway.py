"""``deid-gateway serve`` under a supervisor that starts it anew whenever it is killed.

Run as a program (``python -m tests.faults.gateway``) it is the supervisor: the program is loaded
once and every start is a fork of it. The argument tells, as JSON, where each start in turn is to
be hit by SIGKILL (``[module:name.name, before|after, number of the call]``, or null); later ones
are left alone. Each start is a line of output.
"""

import asyncio
import functools
import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from app.vault.keys import load_keys
from tests.faults.driver import Driver

REPOSITORY = Path(__file__).parents[2]
Ambush = tuple[str, str, int]


class Gateway:
    """The supervisor and the gateway that it keeps up."""

    def __init__(
        self,
        database_url: str,
        data_dir: Path,
        port: int,
        ambushes: Sequence[Ambush | None] = (),
        prefix: Sequence[str] = (),
        **settings: str,
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.data_dir = data_dir
        self.log_path = data_dir.with_name("gateway.log")
        environment = {
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "DATABASE_URL": database_url,
            "DEID_DATA_DIR": str(data_dir),
            "DEID_PORT": str(port),
            "DEID_WORKERS": "0",
            "DEID_REQUESTS_PER_MINUTE": "0",
        }
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(*prefix, sys.executable, "-m", "tests.faults.gateway"),
                    json.dumps(list(ambushes)),
                ],
                cwd=REPOSITORY,
                env=environment | settings,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self.starts: list[int] = []

    def next_start(self) -> int:
        """Wait for the next start and return its process id."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the supervisor ended: {self.log_path.read_text()[-2000:]}"
        self.starts.append(int(line))
        return self.starts[-1]

    async def until_ready(self, *, within_s: float = 60) -> None:
        """Wait until the gateway says that it can do its work."""
        async with httpx.AsyncClient() as client, asyncio.timeout(within_s):
            while True:
                try:
                    if (await client.get(f"{self.url}/readyz")).is_success:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)

    def token(self, name: str = "development") -> str:
        return (self.data_dir / "keys" / f"{name}.token").read_text().strip()

    def driver(self, **given: int) -> Driver:
        """Return what sends to it."""
        keys = load_keys(self.data_dir / "keys" / "gateway-keys.json")
        return Driver(self.url, self.token(), keys, **given)

    def log(self) -> str:
        return self.log_path.read_text()

    def deaths(self) -> int:
        """How often it was started again; call it once, before the end."""
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        return len((self.process.stdout.read() or b"").splitlines()) + len(self.starts) - 1

    def spooled(self) -> list[str]:
        """What the spool holds under a name; files without one end with their process."""
        return [path.name for path in (self.data_dir / "spool").iterdir()]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)
        if self.process.stdout is not None:
            self.process.stdout.close()


def lie_in_wait(place: str, moment: str, number: int) -> None:
    """Kill this very process before or after the so-manieth call of a function."""
    module, _, name = place.partition(":")
    *owners, last = name.split(".")
    owner: object = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    function = getattr(owner, last)
    calls = 0

    def strike(when: str) -> None:
        if when == moment and calls >= number:
            os.kill(os.getpid(), signal.SIGKILL)

    @functools.wraps(function)
    async def awaited(*arguments, **given):
        nonlocal calls
        calls += 1
        strike("before")
        answer = await function(*arguments, **given)
        strike("after")
        return answer

    @functools.wraps(function)
    def called(*arguments, **given):
        nonlocal calls
        calls += 1
        strike("before")
        answer = function(*arguments, **given)
        strike("after")
        return answer

    setattr(owner, last, awaited if inspect.iscoroutinefunction(function) else called)


def supervise(ambushes: Sequence[Ambush | None]) -> None:
    """Start the gateway, and again after every death, until told to stop."""
    from app.cli import main as command_line  # noqa: PLC0415 - loaded once, before the first fork
    from app.cli import serving  # noqa: F401, PLC0415 - the same

    waiting, child = list(ambushes), 0

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if child:
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    while True:
        ambush = waiting.pop(0) if waiting else None
        child = os.fork()
        if not child:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            serve(command_line, ambush)
        os.write(1, f"{child}\n".encode())
        os.waitpid(child, 0)
        time.sleep(0.02)


def serve(command_line, ambush: Ambush | None) -> None:
    if ambush is not None:
        lie_in_wait(*ambush)
    os.dup2(2, 1)
    sys.argv = ["deid-gateway", "serve"]
    command_line()
    os._exit(0)


if __name__ == "__main__":
    supervise(json.loads(sys.argv[1]))
