"""The servers that are measured over HTTP: started here on the loopback, stopped here."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from bench.contestants import ROOT, stop
from bench.worker import peak_kib
from tools.debian_tools import provide

_READY_S = 60
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
ORGANIZATION = "BENCH"


@dataclass(slots=True)
class Server:
    """One server under measurement.

    Attributes:
        database_mark: stands in the command line of its database's first process.
    """

    name: str
    port: int
    process: subprocess.Popen[bytes]
    token: str = ""
    database_mark: str = ""

    def cpu_s(self) -> tuple[float, float]:
        """Return the processor time of the server and of its database so far."""
        database = family_of(mark=self.database_mark) if self.database_mark else set()
        return cpu_of(self.process.pid), sum(map(cpu_of, database - {self.process.pid}))

    def peak_mib(self) -> float:
        """Return the most memory the server ever had resident, its database apart."""
        return peak_kib(self.process.pid) / 1024


@contextmanager
def gateway(folder: Path, module: str = "app.cli") -> Iterator[Server]:
    """Serve in production mode: keys, tables, organisation and API key made beforehand.

    Args:
        folder: where everything is kept.
        module: the program that serves.
    """
    data = folder / "gateway"
    settings = {"DEID_MODE": "production", "DEID_DATA_DIR": str(data)}
    cli = ["env", *(f"{k}={v}" for k, v in settings.items()), sys.executable, "-m", "app.cli"]
    for words in (
        ["keys", "init"],
        ["db", "upgrade"],
        ["organizations", "add", ORGANIZATION],
    ):
        subprocess.run([*cli, *words], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    wanted = ["api-keys", "create", "bench", "--organization", ORGANIZATION]
    made = subprocess.run(
        [*cli, *wanted, "--scope", "anonymize"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    port = free_port()
    command = [*cli[:-1], module, "serve", "--port", str(port)]
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        wait_until_ready(port, "/readyz", process)
        token = made.stdout.strip().splitlines()[-1]
        yield Server("deid-gateway", port, process, token, f"{data}/")
    finally:
        stop(process)


@contextmanager
def orthanc(folder: Path) -> Iterator[Server]:
    """Serve Orthanc with its defaults, but for ports, paths and authentication.

    Raises:
        PackageUnavailable: Debian's package cannot be had here.
    """
    tool = provide("orthanc", "Orthanc")
    port = free_port()
    configuration = {
        "HttpPort": port,
        "DicomServerEnabled": False,  # it would listen on every interface
        "StorageDirectory": str(folder / "orthanc"),
        "IndexDirectory": str(folder / "orthanc"),
        "AuthenticationEnabled": False,
        "RemoteAccessAllowed": False,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration), encoding="utf-8")
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(tool.command(str(path)), stdout=log, stderr=log)
    try:
        wait_until_ready(port, "/system", process)
        yield Server(_version_of(port), port, process)
    finally:
        stop(process)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def wait_until_ready(port: int, path: str, process: subprocess.Popen[bytes]) -> None:
    """Ask until the server answers with success.

    Raises:
        ChildProcessError: it ended instead, or stayed silent.
    """
    ends = time.monotonic() + _READY_S
    while time.monotonic() < ends and process.poll() is None:
        if answers(port, path):
            return
        time.sleep(0.02)
    raise ChildProcessError(f"the server is not ready ({process.poll()})")


def answers(port: int, path: str) -> bool:
    """Whether a request is answered with success."""
    return _get(port, path)[0] == 200


def _get(port: int, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, HTTPException):
        return 0, b""
    finally:
        connection.close()


def _version_of(port: int) -> str:
    status, body = _get(port, "/system")
    return f"Orthanc {json.loads(body)['Version']}" if status == 200 else "Orthanc"


def family_of(*, pid: int | None = None, mark: str | None = None) -> set[int]:
    """Return processes and all that descend from them.

    Args:
        pid: the first one.
        mark: or whatever has this in its command line.
    """
    processes = {number: (parent, line) for number, parent, line in _processes()}
    family = {
        number
        for number, (_, line) in processes.items()
        if number == pid or (mark is not None and mark in line)
    } - {os.getpid()}
    grown = True
    while grown:
        more = {number for number, (parent, _) in processes.items() if parent in family} - family
        family |= more
        grown = bool(more)
    return family


def _processes() -> Iterator[tuple[int, int, str]]:
    """Yield number, parent and command line of every process that can be seen."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(_stat(folder)[1])
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
        except (OSError, IndexError, ValueError):
            continue  # it ended meanwhile
        yield int(folder.name), parent, line.decode("utf-8", "replace")


def _stat(folder: Path) -> list[str]:
    """Return the fields of ``stat`` that follow the name: first the state, then the parent."""
    return (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()


def cpu_of(pid: int) -> float:
    """Return processor time of a process and of its children that ended, in seconds."""
    try:
        fields = _stat(Path(f"/proc/{pid}"))
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS_PER_S
