"""The engine as a worker process: open, de-identify, write, close, file by file.

The mapping is not written down here: what durable rows cost is measured over HTTP.
"""

import gc
import mmap
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from app.batches.writing import BUFFER_BYTES, THREADS, Writers
from app.batches.writing import write as write_hashed
from app.deid.profile import BUILT_IN
from app.dicom.source import FileSource, MemorySource
from app.pipeline import Context, Deidentified, deidentify
from app.vault.pseudonyms import Pseudonyms
from bench import worker

# The same as the gateway's own processes have: see app/cli.
GC_THRESHOLDS = (50_000, 20, 50)
IN_FLIGHT = 16


def context() -> Context:
    """Return the context of a made-up organisation under the Basic Profile."""
    return Context("BENCH", BUILT_IN["basic"], Pseudonyms(bytes(range(32)), "BENCH"))


def files_to_files(files: Sequence[str], out: str) -> None:
    """De-identify files into a directory, under their own names."""
    given = context()
    for name in files:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        done = deidentify(FileSource(fd), given)
        write(done, f"{out}/{os.path.basename(name)}")  # noqa: PTH119 - measured
        os.close(fd)


def files_to_hashed_files(files: Sequence[str], out: str) -> None:
    """The same, with the SHA-256 of every result, which a manifest asks for."""
    given, buffer = context(), memoryview(mmap.mmap(-1, BUFFER_BYTES))
    for name in files:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        done = deidentify(FileSource(fd), given)
        path = f"{out}/{os.path.basename(name)}"  # noqa: PTH119 - measured
        write_hashed(done, path, buffer, is_direct=False)
        os.close(fd)


def files_to_disk(files: Sequence[str], out: str) -> None:
    """The same in the way that takes least: threads hash and write past the page cache.

    It is what a worker does with a file, without what makes it a batch: no listing, mapping, audit,
    results, publishing, manifest, and no wait for what the disk has not yet written.
    """
    given, under_way = context(), deque[tuple[int, Future[bytes]]]()
    with Writers() as writers, ThreadPoolExecutor(THREADS) as threads:
        for name in files:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            done = deidentify(FileSource(fd), given)
            path = f"{out}/{os.path.basename(name)}"  # noqa: PTH119 - measured
            work = partial(writers.write_here, done, path, is_direct=True)
            under_way.append((fd, threads.submit(work)))
            if len(under_way) >= IN_FLIGHT:
                _end(*under_way.popleft())
        while under_way:
            _end(*under_way.popleft())


def _end(fd: int, written: Future[bytes]) -> None:
    written.result()
    os.close(fd)


def write(done: Deidentified, path: str) -> None:
    """Write one result to a new file."""
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    done.write_to(target)
    os.close(target)


def in_memory(files: Sequence[str], out: str) -> dict[str, float]:
    """De-identify each file from memory: its first sight, and then again and again.

    Args:
        files: objects; each has a shape that no other has.
        out: how often each is repeated.
    """
    given, elements = context(), 0
    first: list[float] = []
    again: list[float] = []
    for name in files:
        source = MemorySource(Path(name).read_bytes())
        for turn in range(1 + int(out)):
            started = time.perf_counter()
            done = deidentify(source, given)
            for _chunk in done.chunks():
                pass
            (again if turn else first).append(time.perf_counter() - started)
            if not turn:
                elements = sum(1 for _ in done.plan.steps())
    return {"first": min(first), "again": min(again), "elements": elements}


def profiled(work: worker.Work) -> worker.Work:
    """Return the work with the most expensive functions reported on standard error."""
    import cProfile  # noqa: PLC0415 - only on request
    import pstats  # noqa: PLC0415 - only on request

    def run(files: Sequence[str], out: str) -> object:
        profile = cProfile.Profile()
        said = profile.runcall(work, files, out)
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(25)
        return said

    return run


MODES: dict[str, Callable[[Sequence[str], str], object]] = {
    "files": files_to_files,
    "hashed": files_to_hashed_files,
    "disk": files_to_disk,
    "memory": in_memory,
}


def main() -> None:
    """Serve one of the modes, with ``profile`` behind it if wanted."""
    work = MODES[sys.argv[1]]
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    worker.serve(profiled(work) if "profile" in sys.argv[2:] else work)


if __name__ == "__main__":
    main()
