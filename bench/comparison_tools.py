"""The tools of the comparison: each takes files to one directory for each of them."""

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

from app import __version__
from app.deid.profile import BUILT_IN
from app.dicom.source import MemorySource
from app.errors import GatewayError
from app.pipeline import Context, deidentify
from app.vault.pseudonyms import Pseudonyms
from bench.contestants import ROOT, Worker
from bench.peers import make_certificate
from tools.debian_tools import provide

PEERS_PYTHON = ROOT / ".cache" / "venv-bench" / "bin" / "python"
_GDCM_S = 60


@dataclass(slots=True)
class Results:
    """What a tool made of files.

    Attributes:
        outputs: name of the file → the bytes of its result.
        refused: name of the file → why there is none.
    """

    outputs: dict[str, bytes] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


# Files that belong together (one study), a scratch directory → the results.
Run = Callable[[Sequence[Path], Path], Results]


@dataclass(slots=True)
class Tool:
    """One column of the tables.

    Attributes:
        title: as the tables show it.
        settings: how it was told.
        run: does the work.
        profile: of the gateway's own columns.
    """

    title: str
    version: str
    settings: str
    run: Run
    profile: str | None = None


def own_tools() -> list[Tool]:
    """Return the gateway's ready-made profiles; ``basic-per-study`` differs in names only."""
    names = [name for name in BUILT_IN if name != "basic-per-study"]
    return [Tool(name, __version__, f"profile `{name}`", _own(name), name) for name in names]


def _own(name: str) -> Run:
    context = Context("BENCH", BUILT_IN[name], Pseudonyms(bytes(range(32)), "BENCH"))

    def run(files: Sequence[Path], _scratch: Path) -> Results:
        results = Results()
        for path in files:
            try:
                done = deidentify(MemorySource(path.read_bytes()), context)
                results.outputs[path.stem] = b"".join(done.chunks())
            except GatewayError as error:
                results.refused[path.stem] = error.code
        return results

    return run


_PYTHON_PEERS = {
    "dicom-anonymizer": ("dicom-anonymizer", "its defaults"),
    "dicom-anonymizer-newest": ("dicom-anonymizer, newest rules", "the newest edition it ships"),
    "dicognito": ("dicognito", "its command with its defaults (it has no stricter preset)"),
    "deid": ("deid", "its default recipe and the variables that this asks for"),
    "deid-strict": ("deid, stripped", "the same with `strip_sequences` and `remove_private`"),
}


def python_tools() -> list[Tool]:
    """Return the peers that are Python, their environment made if it is not there yet.

    Raises:
        subprocess.CalledProcessError: it cannot be made.
    """
    stamp = PEERS_PYTHON.parent.parent / ".installed"
    if not PEERS_PYTHON.exists():
        subprocess.run(["make", str(stamp.relative_to(ROOT))], check=True, cwd=ROOT)
    return [_python_tool(name, *texts) for name, texts in _PYTHON_PEERS.items()]


def _newest_edition() -> str:
    folder = "lib/*/site-packages/dicomanonymizer/*/dicomfields_*.py"
    found = [path.stem for path in PEERS_PYTHON.parent.parent.glob(folder)]
    return max(found, default="dicomfields_unknown").removeprefix("dicomfields_")


def _python_tool(name: str, title: str, settings: str) -> Tool:
    if name == "dicom-anonymizer-newest":
        settings = f"{settings}: {_newest_edition()}"
    tool = Tool(title, "", settings, lambda _files, _scratch: Results())

    def run(files: Sequence[Path], scratch: Path) -> Results:
        command = [str(PEERS_PYTHON), "-m", "bench.comparison_worker", name]
        with Worker(title, command) as worker:
            said = worker.run(files, scratch).said
        tool.version = said["version"]
        return _collected(files, scratch, said["failed"])

    tool.run = run
    return tool


def _collected(files: Sequence[Path], scratch: Path, failed: dict[str, str]) -> Results:
    results = Results(refused=dict(failed))
    for path in files:
        made = [one for one in (scratch / path.stem).glob("**/*") if one.is_file()]
        if made and path.stem not in failed:
            results.outputs[path.stem] = made[0].read_bytes()
        else:
            results.refused.setdefault(path.stem, "no output")
    return results


def gdcmanon(scratch: Path) -> Tool:
    """Return GDCM's implementation of the Basic Profile.

    Raises:
        PackageUnavailable: Debian's package or openssl cannot be had.
    """
    program = provide("libgdcm-tools", "gdcmanon")
    certificate = make_certificate(scratch)
    said = program.run("--version", check=False)
    version = (said.stdout + said.stderr).split("gdcm ")[-1].split(" ")[0].strip()

    def run(files: Sequence[Path], out: Path) -> Results:
        # In one folder it gives the same UID for the same UID; a file that it cannot do ends it.
        if len(files) > 1:
            return _gdcm_folder(program.command, files, out, certificate)
        target = out / files[0].stem / "out.dcm"
        target.parent.mkdir()
        given = ["-e", "-c", str(certificate), "-i", str(files[0]), "-o", str(target)]
        done = subprocess.run(
            program.command(*given), capture_output=True, check=False, timeout=_GDCM_S
        )
        failed = {files[0].stem: f"ended with {done.returncode}"} if done.returncode else {}
        return _collected(files, out, failed)

    return Tool("gdcmanon", version, "`-e` with a certificate: its Basic Profile", run)


def _gdcm_folder(
    command: Callable[..., list[str]], files: Sequence[Path], out: Path, certificate: Path
) -> Results:
    source, target = out / "in", out / "made"
    source.mkdir()
    for path in files:
        shutil.copy(path, source)
    given = ["-e", "-c", str(certificate), "-i", str(source), "-o", str(target), "--continue"]
    subprocess.run(command(*given), capture_output=True, check=False, timeout=_GDCM_S)
    for path in files:
        (out / path.stem).mkdir()
        if (target / path.name).exists():
            shutil.move(target / path.name, out / path.stem)
    return _collected(files, out, {})


def orthanc_tool(port: int, name: str) -> Tool:
    """Return a running Orthanc's anonymisation with an empty request."""

    def run(files: Sequence[Path], _scratch: Path) -> Results:
        results, stored = Results(), {}
        for path in files:
            status, body = _ask(port, "POST", "/instances", path.read_bytes())
            if status == 200:
                stored[json.loads(body)["ID"]] = (path.stem, json.loads(body)["ParentStudy"])
            else:
                results.refused[path.stem] = f"answered {status}"
        if len(files) > 1:
            _whole_study(port, stored, results)
        for number, (stem, _) in stored.items() if len(files) == 1 else ():
            status, body = _ask(port, "POST", f"/instances/{number}/anonymize", b"{}")
            if status == 200:
                results.outputs[stem] = body
            else:
                results.refused[stem] = f"answered {status}"
        for number in json.loads(_ask(port, "GET", "/instances")[1]):
            _ask(port, "DELETE", f"/instances/{number}")
        return results

    return Tool("Orthanc", name.removeprefix("Orthanc "), "`anonymize` with an empty request", run)


def _whole_study(port: int, stored: dict[str, tuple[str, str]], results: Results) -> None:
    """Anonymise studies as wholes, so that references follow."""
    for study in {study for _, study in stored.values()}:
        _ask(port, "POST", f"/studies/{study}/anonymize", b'{"Synchronous": true}')
    for number in json.loads(_ask(port, "GET", "/instances")[1]):
        status, body = _ask(port, "GET", f"/instances/{number}/metadata/AnonymizedFrom")
        if status == 200 and body.decode() in stored:
            stem = stored[body.decode()][0]
            results.outputs[stem] = _ask(port, "GET", f"/instances/{number}/file")[1]
    for stem, _ in stored.values():
        if stem not in results.outputs:
            results.refused[stem] = "no output"


def _ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
