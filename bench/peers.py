"""Other tools on the same files: where each comes from and how it is told its closest thing.

A peer that cannot be had here is named with the reason and left out.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.contestants import ROOT, Command, Contestant, Worker, run_command
from tools.debian_tools import PackageUnavailable, Tool, provide

# Python peers take 10 to 20 ms for a slice: a part of the files tells as much.
PYTHON_PEER_FILES = 100
PYTHON_PEERS = {
    "pydicom-unchanged": "pydicom, read and written unchanged",
    "dicognito": "dicognito",
    "dicom-anonymizer": "dicom-anonymizer (Kitware)",
    "pydicom-deid": "pydicom/deid",
}
# What dcmodify is told to erase or to replace: the attributes of the Basic Profile in the load.
_ERASED = (
    "(0008,0080) (0008,0081) (0008,1010) (0008,1030) (0008,103e) (0008,1040) (0008,1070) "
    "(0008,1140) (0010,1010) (0010,1030) (0010,1040) (0010,2154) (0010,4000) (0018,1000) "
    "(0018,1030) (0020,4000) (0032,1032) (0032,1060) (0040,0244) (0040,0245) (0040,0253) "
    "(0040,0254) (0040,0275) (0088,0140)"
)
_REPLACED = (
    "(0008,0020)=19000101 (0008,0021)= (0008,0022)= (0008,0023)=19000101 (0008,0030)=000000 "
    "(0008,0031)= (0008,0032)= (0008,0033)=000000 (0008,0050)= (0008,0090)= (0010,0010)=REMOVED "
    "(0010,0020)=REMOVED (0010,0030)= (0010,0040)= (0020,0010)= (0012,0062)=YES"
)
NOT_REACHABLE = "dcm4che: neither Debian nor a Maven repository provides it here"


@dataclass(slots=True)
class Peers:
    """The peers that can be had, and why the others cannot."""

    contestants: list[Contestant] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def find_peers(choice: str, scratch: Path, *, programs: bool = True) -> Peers:
    """Look for the peers.

    Args:
        choice: ``none``, ``all``, or the directory of the peers' Python (``…/bin``).
        scratch: where a certificate for gdcmanon may be written.
        programs: whether those that are no Python are wanted too.
    """
    peers = Peers()
    if choice == "none":
        return peers
    for find in (_gdcmanon, _dcmodify) if programs else ():
        try:
            peers.contestants.append(find(scratch))
        except PackageUnavailable as error:
            peers.missing.append(f"{find.__name__.strip('_')}: {error}")
    if programs:
        peers.missing.append(NOT_REACHABLE)
    directory = ROOT / ".cache" / "venv-bench" / "bin" if choice == "all" else Path(choice)
    interpreter = directory.absolute() / "python"
    if interpreter.exists():
        peers.contestants += _python_peers(interpreter)
    else:
        peers.missing.append("Python peers: `make bench` makes their environment")
    return peers


def _python_peers(interpreter: Path) -> Iterator[Contestant]:
    for name, title in PYTHON_PEERS.items():
        command = [str(interpreter), "-m", "bench.peer_worker", name]
        yield Worker(title, command, per_round=PYTHON_PEER_FILES)


def _gdcmanon(scratch: Path) -> Contestant:
    """GDCM's Basic Application Level Confidentiality Profile, a folder at a time."""
    tool = provide("libgdcm-tools", "gdcmanon")
    certificate = make_certificate(scratch)

    def command(_files: Sequence[Path], out: Path) -> list[str]:
        given = ["-e", "-c", str(certificate), "-i", str(_links_beside(out)), "-o", str(out)]
        return tool.command(*given, "--continue")

    def prepare(files: Sequence[Path], out: Path) -> None:
        links = _links_beside(out)
        shutil.rmtree(links, ignore_errors=True)
        links.mkdir()
        for file in files:
            (links / file.name).symlink_to(file)

    return Command("gdcmanon (GDCM)", command, prepare=prepare)


def _links_beside(out: Path) -> Path:
    """Return the folder that holds the files of one turn as links."""
    return out.with_name(f"{out.name}-links")


def _dcmodify(_scratch: Path) -> Contestant:
    """DCMTK's dcmodify on copies, as it writes in place; the copying is not part of its time."""
    tool: Tool = provide("dcmtk", "dcmodify")
    edits = ["-nb", "-imt", "-ie", "-ep", "-gst", "-gse", "-gin"]
    edits += [part for tag in _ERASED.split() for part in ("-ea", tag)]
    edits += [part for edit in _REPLACED.split() for part in ("-i", edit)]

    def command(files: Sequence[Path], out: Path) -> list[str]:
        return tool.command("-q", *edits, *(str(out / file.name) for file in files))

    def prepare(files: Sequence[Path], out: Path) -> None:
        for file in files:
            shutil.copy(file, out)

    return Command("dcmodify (DCMTK)", command, prepare=prepare)


def make_certificate(scratch: Path) -> Path:
    """Make the certificate to which gdcmanon encrypts the original attributes."""
    path = scratch / "certificate.pem"
    if not path.exists():
        if shutil.which("openssl") is None:
            raise PackageUnavailable("openssl is not here to make the certificate it needs")
        request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
        key = scratch / "certificate-key.pem"
        run_command([*request, "-subj", "/CN=bench", "-keyout", str(key), "-out", str(path)])
    return path
