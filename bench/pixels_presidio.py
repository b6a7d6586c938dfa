"""Presidio's image redactor as a contestant: its worker is started, its files are read back."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.contestants import ROOT, Worker
from bench.pixels_path import Outcome, Result
from tests.pixels.burning.judging import comparable
from tools.debian_tools import PackageUnavailable, provide

NAME = "Presidio's image redactor"


@contextmanager
def presidio(peers: str, scratch: Path) -> Iterator["Presidio"]:
    """Start the redactor.

    Raises:
        PackageUnavailable: its environment or Tesseract cannot be had here.
    """
    directory = ROOT / ".cache" / "venv-bench" / "bin" if peers == "all" else Path(peers)
    interpreter = directory.absolute() / "python"
    if not interpreter.exists():
        raise PackageUnavailable("`make bench` makes the peers' environment")
    tesseract = provide("tesseract-ocr", "tesseract")
    environment = [f"{name}={value}" for name, value in tesseract.environment.items()]
    module = [str(interpreter), "-m", "bench.pixels_peer", str(tesseract.path.parent)]
    with Worker(NAME, ["env", *environment, *module]) as worker:
        yield Presidio(worker, scratch)


class Presidio:
    """Takes images through the worker."""

    def __init__(self, worker: Worker, scratch: Path) -> None:
        self._worker = worker
        self._scratch = scratch

    def take(self, images: Sequence[bytes]) -> Iterator[Result]:
        """Redact images in one turn and tell what came out, in their order.

        A copy that its error left in the output folder counts as delivered: whoever sends the
        folder on sends it.
        """
        folder = self._scratch / "presidio"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "in").mkdir(parents=True)
        (folder / "out").mkdir()
        files = [folder / "in" / f"{number:05}.dcm" for number in range(len(images))]
        for file, data in zip(files, images, strict=True):
            file.write_bytes(data)
        said = self._worker.run(files, folder / "out").said
        for file, data in zip(files, images, strict=True):
            found = sorted((folder / "out" / file.stem).rglob("*.dcm"))
            yield _result(data, found, said["seconds"][file.stem])
        shutil.rmtree(folder)


def _result(given: bytes, found: Sequence[Path], seconds: float) -> Result:
    if not found:
        return Result(Outcome.REFUSED, None, seconds)
    data = found[0].read_bytes()
    try:
        before, after = comparable(given, data)
    except (AttributeError, ValueError):  # left without pixels, so that nobody sees anything
        return Result(Outcome.REFUSED, None, seconds)
    is_changed = bool((before != after).any())
    return Result(Outcome.MASKED if is_changed else Outcome.PASSED, data, seconds)
