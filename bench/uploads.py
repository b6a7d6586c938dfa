"""Publishing to an S3 server on this machine, beside plain uploads by the same library.

Both send the same files, as many at once. What ours does beside: it hashes each file while it is
read, sends checksum and metadata, and asks the server for what arrived.
"""

import asyncio
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import boto3  # type: ignore[import-untyped]
import obstore
import uvloop
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
)

from app.batches.publishing import CONTENT_TYPE, IN_FLIGHT, attributes_of
from app.batches.states import Priority
from app.storage.clients import Patience, open_store
from app.storage.destinations import open_destination
from app.storage.stores import store_config
from bench.contestants import stop
from bench.house import GIB, scratch
from bench.report import Spread, Table
from bench.servers import cpu_of, family_of, free_port
from bench.workspace import Workspace

COLUMNS: Final = (
    "server",
    "what",
    "files",
    "seconds",
    "files/s",
    "MB/s",
    "against the plain upload",
    "processors of the server",
    "CPU ms per file: client",
    "server",
)
FILES: Final = {"seaweedfs": {"ct": 500, "mr": 2_000}, "moto": {"ct": 200, "mr": 400}}
MAX_ROUNDS: Final = 3
_BUCKET: Final = "bench"
_READY_S: Final = 60.0
_MOTO: Final = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=int(sys.argv[1]), verbose=False)
server.start()
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Server:
    """An S3 server that runs."""

    name: str
    url: str
    pid: int

    def cpu_s(self) -> float:
        """Return the processor time of the server so far."""
        return sum(map(cpu_of, family_of(pid=self.pid)))

    def client(self) -> Any:  # noqa: ANN401 - boto3 has no types
        """Return a client that shares nothing with what is measured."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="bench",
            aws_secret_access_key="bench",  # noqa: S106 - the server takes any
            config=Config(retries={"total_max_attempts": 1}),
        )


@dataclass(frozen=True, slots=True)
class Staged:
    """One file and what is known of it when it is published."""

    path: Path
    size: int
    sha256: bytes


def measure(space: Workspace, *, rounds: int, base: Path | None, scale: float) -> Table:
    """Measure both servers with large and with small objects."""
    table = Table("Uploads to an S3 server on this machine", COLUMNS, key="uploads")
    with scratch(base, needed_bytes=6 * GIB) as folder:
        for start in (seaweedfs, moto):
            try:
                with start(folder) as server:
                    for kind, whole in FILES[server.name].items():
                        files = space.files(kind)[: max(1, round(whole * scale))]
                        staged = [_staged(path) for path in files]
                        _compare(table, server, kind, staged, min(rounds, MAX_ROUNDS))
            except (OSError, ImportError, ChildProcessError) as error:
                table.notes.append(f"Not measured - {start.__name__}: {error}")
    table.notes += [
        f"{IN_FLIGHT} objects at once, one process, {min(rounds, MAX_ROUNDS)} rounds in turn. "
        "`plain` is put_async of the library that the gateway uses; `gateway` is what a worker "
        "publishes with: a hash of what is read, its checksum and the object's metadata sent "
        "along, and a HEAD request for what arrived; `plain and asked for` sends the same requests "
        "by the library alone. moto answers on one processor at a time: where it uses 1.00, "
        "nothing could be faster.",
        "Client and server share the processors. The server keeps everything on the same disk.",
    ]
    return table


@contextmanager
def seaweedfs(folder: Path) -> Iterator[Server]:
    """Run SeaweedFS, one process for everything.

    Raises:
        FileNotFoundError: its program is not here.
    """
    given = os.environ.get("WEED")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = given or shutil.which("weed", path=path)
    if program is None:
        raise FileNotFoundError("weed is neither beside Python nor on the path (nor in WEED)")
    data = folder / "seaweedfs"
    data.mkdir()
    ports = {f"-{part}.port": free_port_pair() for part in ("master", "volume", "filer", "s3")}
    words = [word for name, port in ports.items() for word in (f"{name}={port}",)]
    command = [program, "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += ["-filer", "-s3", "-volume.max=40", "-master.volumeSizeLimitMB=256", *words]
    with _running("seaweedfs", command, ports["-s3.port"], data / "log") as server:
        yield server


@contextmanager
def moto(folder: Path) -> Iterator[Server]:
    """Run moto's server, which keeps objects in memory."""
    port = free_port()
    with _running("moto", [sys.executable, "-c", _MOTO, str(port)], port, folder / "log") as server:
        yield server


@contextmanager
def _running(name: str, command: list[str], port: int, log: Path) -> Iterator[Server]:
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=file, stderr=file, cwd=log.parent
        )
    server = Server(name, f"http://127.0.0.1:{port}", process.pid)
    try:
        _make_bucket(server, process, log)
        yield server
    finally:
        process.terminate()
        stop(process)


def _make_bucket(server: Server, process: "subprocess.Popen[bytes]", log: Path) -> None:
    ends = time.monotonic() + _READY_S
    while time.monotonic() < ends and process.poll() is None:
        with suppress(BotoCoreError, ClientError):
            server.client().create_bucket(Bucket=_BUCKET)
            server.client().put_object(Bucket=_BUCKET, Key="first", Body=b"ready")
            return
        time.sleep(0.2)
    raise ChildProcessError(f"{server.name} is not ready ({process.poll()}): {_last_line(log)}")


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else ""


def free_port_pair() -> int:
    """Return a free port whose partner 10,000 above is free as well, as SeaweedFS wants it."""
    while True:
        port = free_port()
        with suppress(OSError, OverflowError), socket.create_server(("127.0.0.1", port + 10_000)):
            return port


def _staged(path: Path) -> Staged:
    data = path.read_bytes()
    return Staged(path, len(data), hashlib.sha256(data).digest())


def _compare(table: Table, server: Server, kind: str, staged: list[Staged], rounds: int) -> None:
    ways: dict[str, Callable[[Server, list[Staged]], Awaitable[None]]] = {
        "plain": plain,
        "plain and asked for": plain_and_asked_for,
        "gateway": through_gateway,
    }
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    for number in range(-1, rounds):  # the first one warms up
        for name in list(ways)[:: -1 if number % 2 else 1]:
            used, served, began = time.process_time(), server.cpu_s(), time.perf_counter()
            uvloop.run(ways[name](server, staged))  # type: ignore[arg-type]
            seconds = time.perf_counter() - began
            if number >= 0:
                cpu = time.process_time() - used
                taken[name].append((seconds, cpu, server.cpu_s() - served))
    for name, turns in taken.items():
        _add_row(table, server, f"{name}, {kind.upper()}", staged, turns, taken["plain"])


async def plain(server: Server, staged: list[Staged], *, is_asked_for: bool = False) -> None:
    """Upload by the library alone."""
    store = open_store(_config(server), Patience())

    async def put(one: Staged) -> None:
        data, name = await asyncio.to_thread(one.path.read_bytes), f"{uuid4()}.dcm"
        await obstore.put_async(store, name, data, use_multipart=False)
        if is_asked_for:
            await obstore.head_async(store, name)

    await _all(staged, put)


async def plain_and_asked_for(server: Server, staged: list[Staged]) -> None:
    """Upload by the library alone, and ask for each object as the gateway has to."""
    await plain(server, staged, is_asked_for=True)


async def through_gateway(server: Server, staged: list[Staged]) -> None:
    """Publish as a worker does."""
    destination = open_destination(_config(server))
    attributes = attributes_of(UUID(int=0), Priority.ROUTINE)

    async def put(one: Staged) -> None:
        await destination.put(
            f"{uuid4()}.dcm",
            one.path,
            size=one.size,
            sha256=one.sha256,
            attributes=attributes,
            content_type=CONTENT_TYPE,
            is_resumed=False,
        )

    await _all(staged, put)
    await destination.close()


async def _all(staged: list[Staged], put: Callable[[Staged], Awaitable[None]]) -> None:
    waiting = iter(staged)

    async def lane() -> None:
        for one in waiting:
            await put(one)

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(lane())


def _config(server: Server) -> Any:  # noqa: ANN401 - a model by its kind
    return store_config(
        {
            "url": f"s3://{_BUCKET}/published",
            "organizations": "*",
            "region": "us-east-1",
            "endpoint": server.url,
            "allow_http": True,
            "options": {"access_key_id": "bench", "secret_access_key": "bench"},
        }
    )


def _add_row(
    table: Table,
    server: Server,
    name: str,
    staged: list[Staged],
    turns: list[tuple[float, float, float]],
    plain_turns: list[tuple[float, float, float]],
) -> None:
    count, size = len(staged), sum(one.size for one in staged)
    seconds = Spread.of(turn[0] for turn in turns)
    ratio = Spread.of(ours[0] / theirs[0] for ours, theirs in zip(turns, plain_turns, strict=True))
    client, served = (Spread.of(turn[n] for turn in turns).median / count * 1e3 for n in (1, 2))
    table.add(
        [
            server.name,
            name,
            f"{count:,}",
            seconds.text(),
            f"{count / seconds.median:,.0f}",
            f"{size / seconds.median / 1e6:,.0f}",
            ratio.text(),
            f"{served * count / seconds.median / 1e3:.2f}",
            f"{client:.3f}",
            f"{served:.3f}",
        ],
        server=server.name,
        what=name,
        files=count,
        bytes=size,
        seconds=seconds.median,
        against_plain=ratio.median,
        cpu_ms_client=client,
        cpu_ms_server=served,
    )
