"""Where a run works: in memory (tmpfs) when there is room, removed when it ends; and the load."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.contestants import ROOT

TMPFS = Path("/dev/shm")  # noqa: S108 - a private directory is made in it
GIB = 1 << 30
# The same kinds of objects under the names of other makers of load.
_OTHER_NAMES = {"mr": "mrsmall", "multiframe": "mf"}
_HEADER_BYTES = 64 << 10


@dataclass(slots=True)
class Workspace:
    """One run's directory and its objects.

    Attributes:
        root: removed when the run ends.
        scale: of the number of objects; 1 is what the tables stand for.
        given: a directory of ready objects (ct/, mr/ or mrsmall/, …), used where it has them.
    """

    root: Path
    scale: float = 1.0
    given: Path | None = None
    _made: dict[str, list[Path]] = field(default_factory=dict)

    def files(self, what: str) -> list[Path]:
        """Return the objects of one kind, made at the first call."""
        if what not in self._made:
            self._made[what] = self._given(what) or self._make(what)
        return self._made[what]

    def headers(self, shape: str, sizes: list[int], variants: int) -> dict[int, list[Path]]:
        """Make objects of the given header sizes."""
        wanted = ["--shape", shape, "--elements", ",".join(map(str, sizes))]
        self._load("headers", *wanted, "--variants", str(variants))
        folder = self.root / "load" / shape
        return {size: sorted(folder.glob(f"{size:06d}-*.dcm")) for size in sizes}

    def drop(self, what: str) -> None:
        """Remove objects that are not needed any more."""
        self._made.pop(what, None)
        shutil.rmtree(self.root / "load" / what, ignore_errors=True)

    def planted(self) -> list[bytes]:
        """Return the values that no result may hold."""
        keys = [(folder / "answer_key.json") for folder in self._folders()]
        values: set[str] = set()
        for key in keys:
            if key.exists():
                for entry in json.loads(key.read_text(encoding="utf-8")):
                    values |= set(map(str, entry["planted"].values()))
        parts = {value.partition("^")[0] for value in values}
        return sorted(part.encode() for part in parts if len(part) >= 6)

    def _folders(self) -> list[Path]:
        return [self.root / "load", *([self.given] if self.given else [])]

    def _given(self, what: str) -> list[Path]:
        if self.given is None:
            return []
        folder = self.given / what
        if not folder.is_dir():
            folder = self.given / _OTHER_NAMES.get(what, what)
        files = sorted(folder.glob("*.dcm"))
        return files[: max(1, round(len(files) * self.scale))] if files else []

    def _make(self, what: str) -> list[Path]:
        self._load(what, "--scale", str(self.scale))
        return sorted((self.root / "load" / what).glob("*.dcm"))

    def _load(self, what: str, *arguments: str) -> None:
        out = self.root / "load"
        out.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "bench.load", "--out", str(out), "--what", what]
        subprocess.run([*command, *arguments], check=True, cwd=ROOT)


def holds_planted(path: Path, planted: list[bytes]) -> bool:
    """Say whether a planted value stands in the first 64 KiB of an object."""
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    return any(value in head for value in planted)


def generated(script: Path, folder: Path, scale: float) -> Path:
    """Run another maker of load (``--out --what --scale``) and return its directory."""
    out = folder / "given"
    arguments = ["--out", str(out), "--what", "ct,mf,mrsmall,sr", "--scale", str(scale)]
    subprocess.run([sys.executable, str(script), *arguments], check=True)
    return out


@contextmanager
def workspace(load: str, scale: float) -> Iterator[Workspace]:
    """Make the directory of one run and remove it at the end.

    Args:
        load: ``own``; a directory of ready objects; or a script that makes them.
        scale: of the number of objects.
    """
    needed = (1 + 5 * scale) * GIB
    base = TMPFS if TMPFS.is_dir() and shutil.disk_usage(TMPFS).free > needed else None
    with tempfile.TemporaryDirectory(prefix="deid-bench-", dir=base) as name:
        root = Path(name)
        given = None
        if load != "own":
            path = Path(load).absolute()
            given = generated(path, root, scale) if path.suffix == ".py" else path
        yield Workspace(root, scale, given)
