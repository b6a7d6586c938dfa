"""Programs and data of Debian packages for tests and measurements, without installing or root.

A package and the libraries that it lacks here are fetched with apt-get into ``.cache/debian`` and
unpacked there. ``python tools/debian_tools.py dicom3tools dciodvfy`` prints where the program is.
"""

import argparse
import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "debian"


class PackageUnavailable(Exception):
    """apt-get could not provide the package."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One program and what its environment needs."""

    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, *arguments: str) -> list[str]:
        """Return the whole command line, the environment in it."""
        if not self.environment:
            return [str(self.path), *arguments]
        added = [f"{name}={value}" for name, value in self.environment.items()]
        return ["env", *added, str(self.path), *arguments]

    def run(self, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run the program and return what it wrote."""
        return subprocess.run(
            self.command(*arguments), capture_output=True, check=check, text=True, errors="replace"
        )


def is_available() -> bool:
    """Whether this machine has apt-get and dpkg-deb at all."""
    return shutil.which("apt-get") is not None and shutil.which("dpkg-deb") is not None


def provide(
    package: str, program: str, *, cache: Path = CACHE, prefer_installed: bool = True
) -> Tool:
    """Return a program of a package: the installed one, or one unpacked into the cache.

    Raises:
        PackageUnavailable: there is no such package or program, or no way to fetch it.
    """
    installed = shutil.which(program)
    if prefer_installed and installed is not None:
        return Tool(Path(installed))
    tree = provide_tree(package, cache=cache)
    for folder in ("usr/bin", "usr/sbin", "bin", "sbin"):
        if (tree / folder / program).exists():
            return Tool(tree / folder / program, _environment(tree))
    raise PackageUnavailable(f"{package} has no program {program}")


def provide_tree(package: str, *, cache: Path = CACHE) -> Path:
    """Return where a package lies unpacked: for packages of data, such as fonts.

    Raises:
        PackageUnavailable: there is no such package, or no way to fetch it.
    """
    with _locked(cache):
        tree = cache / package
        if not (tree / ".complete").exists():
            _unpack(package, tree, cache)
    return tree


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _unpack(package: str, tree: Path, cache: Path) -> None:
    shutil.rmtree(tree, ignore_errors=True)
    try:
        archives = _download(package, cache / "archives" / package, [])
    except PackageUnavailable:  # no package lists, or lists of yesterday
        options = _private_lists(cache)
        archives = _download(package, cache / "archives" / package, options)
    tree.mkdir()
    for archive in archives:
        _run("dpkg-deb", "-x", str(archive), str(tree))
    shutil.rmtree(cache / "archives" / package)
    (tree / ".complete").touch()


def _download(package: str, folder: Path, options: Sequence[str]) -> list[Path]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names = {package, *_missing_packages(package, options)}
    _run(
        "apt-get", *options, "-o", "APT::Sandbox::User=root", "download", *sorted(names), cwd=folder
    )
    return sorted(folder.glob("*.deb"))


def _missing_packages(package: str, options: Sequence[str]) -> list[str]:
    """Ask apt which packages an installation would add; nothing is installed."""
    plan = _run(
        "apt-get",
        *options,
        *("-o", "Debug::NoLocking=1", "-s", "--no-install-recommends", "install", package),
    )
    lines = [line.split() for line in plan.splitlines()]
    return [words[1] for words in lines if words[:1] == ["Inst"]]


def _private_lists(cache: Path) -> list[str]:
    """Fetch package lists into the cache, where no root is needed."""
    state = cache / "apt"
    for folder in ("lists/partial", "archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::State::Lists": state / "lists",
        "Dir::Cache": state,
        "Dir::Cache::archives": state / "archives",
        "APT::Sandbox::User": "root",
    }
    options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    _run("apt-get", *options, "-o", "Debug::NoLocking=1", "-q", "update")
    return options


def _environment(tree: Path) -> dict[str, str]:
    folders = [*tree.glob("usr/lib/*-linux-gnu*"), tree / "usr/lib", *tree.glob("lib/*-linux-gnu*")]
    environment = {"LD_LIBRARY_PATH": ":".join(str(folder) for folder in folders)}
    dictionaries = [str(path) for path in tree.glob("usr/share/libdcmtk*/dicom.dic")]
    if dictionaries:
        environment["DCMDICTPATH"] = dictionaries[0]
    words = [str(path) for path in tree.glob("usr/share/tesseract-ocr/*/tessdata")]
    if words:
        environment["TESSDATA_PREFIX"] = words[0]
    return environment


def _run(*command: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(command, capture_output=True, check=True, cwd=cwd, text=True)
    except FileNotFoundError:
        raise PackageUnavailable(f"{command[0]} is not on this machine") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines()
        raise PackageUnavailable(said[-1] if said else f"{command[0]} failed") from None
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the command line that runs a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package")
    parser.add_argument("program")
    chosen = parser.parse_args(arguments)
    try:
        tool = provide(chosen.package, chosen.program)
    except PackageUnavailable as error:
        print(f"debian_tools: {error}", file=sys.stderr)
        return 1
    print(tool.path)
    for name, value in tool.environment.items():
        print(f"{name}={value}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
