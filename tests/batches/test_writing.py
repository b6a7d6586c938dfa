"""Results go to files byte by byte as they are, past the page cache or not, or not at all."""

import asyncio
import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from app import pipeline
from app.batches import writing
from app.batches.writing import BUFFER_BYTES, LEAST_DIRECT_BYTES, Writers
from app.deid.profile import BUILT_IN
from app.dicom.frames import Range
from app.dicom.source import FileSource, MemorySource, Source
from app.errors import StagingFull, StagingUnavailable, Truncated
from app.vault.pseudonyms import Pseudonyms
from tests import builders

CONTEXT = pipeline.Context("NORTH", BUILT_IN["basic"], Pseudonyms(bytes(range(32)), "NORTH"))
BLOCK = 4096


BASE = pipeline.deidentify(MemorySource(builders.part10(builders.ct(builders.Identity()))), CONTEXT)


def result_of(size: int, source: Source | None = None) -> pipeline.Deidentified:
    """A result of so many bytes: a header, pixels from somewhere in the source, an end."""
    source = source or MemorySource(os.urandom(size))
    segments = (os.urandom(1001), Range(7, size - 1001 - 33), os.urandom(33))
    return replace(BASE, size=size, _source=source, _segments=segments)


@pytest.fixture
def writers() -> Iterator[Writers]:
    with Writers() as made:
        yield made


@dataclass
class Flags:
    """What was set on descriptors, in order."""

    set: list[int]


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch) -> Flags:
    seen = Flags([])
    real = fcntl.fcntl

    def recording(fd: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETFL:
            seen.set.append(argument)
        return real(fd, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", recording)
    return seen


@pytest.mark.parametrize("is_direct", [True, False])
@pytest.mark.parametrize(
    "size",
    [
        2 * BLOCK,
        LEAST_DIRECT_BYTES - 2,
        LEAST_DIRECT_BYTES,
        LEAST_DIRECT_BYTES + 2,
        BUFFER_BYTES - 2,
        BUFFER_BYTES,
        BUFFER_BYTES + 2,
        3 * BUFFER_BYTES + 7 * BLOCK,
        3 * BUFFER_BYTES + 7 * BLOCK + 510,
    ],
)
async def test_a_file_holds_the_result(
    writers: Writers, tmp_path: Path, size: int, is_direct: bool
) -> None:
    done = result_of(size)

    sha256 = await writers.write(done, str(tmp_path / "0.dcm"), is_direct=is_direct)

    written = (tmp_path / "0.dcm").read_bytes()
    assert written == b"".join(done.chunks())
    assert sha256 == hashlib.sha256(written).digest()


async def test_large_files_go_past_the_page_cache_but_for_their_ends(
    writers: Writers, tmp_path: Path, flags: Flags
) -> None:
    await writers.write(result_of(LEAST_DIRECT_BYTES + 2), str(tmp_path / "0"), is_direct=True)
    assert flags.set == [os.O_DIRECT, 0]

    flags.set.clear()
    await writers.write(result_of(LEAST_DIRECT_BYTES), str(tmp_path / "1"), is_direct=True)
    await writers.write(result_of(LEAST_DIRECT_BYTES - 2), str(tmp_path / "2"), is_direct=True)
    await writers.write(result_of(2 * BUFFER_BYTES), str(tmp_path / "3"), is_direct=False)
    assert flags.set == [os.O_DIRECT]


async def test_a_file_system_without_direct_writing_gets_the_same_bytes(
    writers: Writers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(_fd: int, _command: int, _argument: int = 0) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(fcntl, "fcntl", refusing)
    done = result_of(BUFFER_BYTES + 2)

    await writers.write(done, str(tmp_path / "0.dcm"), is_direct=True)

    assert (tmp_path / "0.dcm").read_bytes() == b"".join(done.chunks())


async def test_a_disk_with_larger_blocks_gets_the_same_bytes(
    writers: Writers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a disk takes 64 KiB or nothing; on the way it takes a part of what is offered."""
    real, large, taken = os.write, 64 << 10, []

    def choosing(fd: int, data: memoryview) -> int:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            if len(data) % large:
                raise OSError(errno.EINVAL, "Invalid argument")
            data = data[: 4 * large]
        taken.append(len(data))
        return real(fd, data)

    monkeypatch.setattr(os, "write", choosing)
    done = result_of(BUFFER_BYTES + 3 * BLOCK + 6)

    sha256 = await writers.write(done, str(tmp_path / "0.dcm"), is_direct=True)

    written = (tmp_path / "0.dcm").read_bytes()
    assert written == b"".join(done.chunks())
    assert sha256 == hashlib.sha256(written).digest()
    assert len(taken) > 4


@pytest.mark.parametrize("is_direct", [True, False])
def test_what_cannot_be_written_leaves_no_file(
    writers: Writers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_direct: bool
) -> None:
    real, calls = os.write, []

    def full(fd: int, data: memoryview) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data[:BLOCK])

    monkeypatch.setattr(os, "write", full)

    with pytest.raises(StagingFull):
        writers.write_here(result_of(BUFFER_BYTES), str(tmp_path / "0.dcm"), is_direct=is_direct)

    assert list(tmp_path.iterdir()) == []


async def test_a_path_that_is_taken_keeps_what_is_there(writers: Writers, tmp_path: Path) -> None:
    (tmp_path / "0.dcm").write_bytes(b"another's")

    with pytest.raises(StagingUnavailable):
        await writers.write(result_of(2 * BLOCK), str(tmp_path / "0.dcm"), is_direct=True)

    assert (tmp_path / "0.dcm").read_bytes() == b"another's"


def test_a_source_that_shrinks_leaves_no_file(writers: Writers, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(os.urandom(BUFFER_BYTES))
    fd = os.open(tmp_path / "in", os.O_RDONLY)
    done = result_of(BUFFER_BYTES, FileSource(fd))
    os.truncate(tmp_path / "in", BUFFER_BYTES // 2)

    with pytest.raises(Truncated):
        writers.write_here(done, str(tmp_path / "0.dcm"), is_direct=True)

    os.close(fd)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


async def test_who_is_cancelled_goes_only_when_his_source_is_no_longer_read(
    writers: Writers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write, begins, is_closed = threading.Event(), threading.Event(), False
    read_after_close: list[bool] = []
    real = MemorySource.read_into

    def slowly(self: MemorySource, offset: int, target: memoryview) -> None:
        begins.set()
        may_write.wait(10)
        read_after_close.append(is_closed)
        real(self, offset, target)

    monkeypatch.setattr(MemorySource, "read_into", slowly)

    async def task() -> None:
        nonlocal is_closed
        try:
            await writers.write(result_of(BUFFER_BYTES), str(tmp_path / "0"), is_direct=True)
        finally:
            is_closed = True

    running = asyncio.create_task(task())
    await asyncio.to_thread(begins.wait, 10)
    running.cancel()
    await asyncio.sleep(0.05)
    assert not running.done()
    may_write.set()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert read_after_close == [False]


async def test_many_are_written_at_once(writers: Writers, tmp_path: Path) -> None:
    results = [result_of(LEAST_DIRECT_BYTES + 2 * number) for number in range(60)]
    paths = [tmp_path / f"{number}.dcm" for number in range(60)]

    hashes = await asyncio.gather(
        *(
            writers.write(done, str(path), is_direct=True)
            for done, path in zip(results, paths, strict=True)
        )
    )

    assert hashes == [hashlib.sha256(path.read_bytes()).digest() for path in paths]
    assert len(set(hashes)) == 60


def test_every_thread_has_a_buffer_of_its_own(tmp_path: Path, writers: Writers) -> None:
    """Two write at the same time, piece by piece in turn; neither gets a byte of the other."""
    turn = threading.Barrier(2)

    class Waiting:
        """Reads of two objects alternate."""

        def __init__(self, inner: Source) -> None:
            self.inner, self.size = inner, inner.size
            self.read, self.view = inner.read, inner.view

        def read_into(self, offset: int, target: memoryview) -> None:
            self.inner.read_into(offset, target)
            turn.wait(10)

    size = 2 * BUFFER_BYTES
    results = [result_of(size, Waiting(MemorySource(os.urandom(size)))) for _ in range(2)]
    threads = [
        threading.Thread(
            target=writers.write_here,
            args=(done, str(tmp_path / str(n))),
            kwargs={"is_direct": True},
        )
        for n, done in enumerate(results)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for number, done in enumerate(results):
        turn = threading.Barrier(1)
        assert (tmp_path / str(number)).read_bytes() == b"".join(done.chunks())


def test_writing_is_aligned(
    tmp_path: Path, writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes past the page cache is whole blocks, whatever the pieces are."""
    real, direct = os.write, []

    def looking(fd: int, data: memoryview) -> int:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            direct.append(len(data))
        return real(fd, data)

    monkeypatch.setattr(os, "write", looking)
    for odd in (0, 2, 510, 4094):
        writers.write_here(
            result_of(2 * BUFFER_BYTES + BLOCK + odd), str(tmp_path / str(odd)), is_direct=True
        )

    assert direct
    assert all(size and size % BLOCK == 0 for size in direct)
    assert writing.LEAST_DIRECT_BYTES >= BLOCK


async def test_what_was_cancelled_before_its_turn_is_not_written(
    writers: Writers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk keeps a worker that has to go for the files under way, not for all in line."""
    may_write = threading.Event()
    real = MemorySource.read_into

    def slowly(self: MemorySource, offset: int, target: memoryview) -> None:
        may_write.wait(10)
        real(self, offset, target)

    monkeypatch.setattr(MemorySource, "read_into", slowly)
    done, opened = result_of(2 * BLOCK), []
    create = writing.create
    monkeypatch.setattr(writing, "create", lambda path: opened.append(path) or create(path))
    running = [
        asyncio.create_task(writers.write(done, str(tmp_path / str(n)), is_direct=True))
        for n in range(100)
    ]
    await asyncio.sleep(0.05)
    for task in running:
        task.cancel()
    may_write.set()
    await asyncio.gather(*running, return_exceptions=True)

    assert {task.cancelled() for task in running} == {True}
    assert len(opened) <= writing.THREADS


def test_threads_are_there_from_the_beginning(
    writers: Writers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where a process may have no more threads, that is no fault of a file."""

    def refusing(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refusing)

    done = result_of(2 * BLOCK)
    asyncio.run(writers.write(done, str(tmp_path / "0.dcm"), is_direct=True))
    with pytest.raises(RuntimeError):
        Writers()


def test_no_memory_for_a_buffer_is_no_fault_of_the_file(
    writers: Writers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refusing(_fd: int, _size: int) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr("mmap.mmap", refusing)

    with pytest.raises(MemoryError):
        writers.write_here(result_of(2 * BLOCK), str(tmp_path / "0.dcm"), is_direct=True)

    assert list(tmp_path.iterdir()) == []
