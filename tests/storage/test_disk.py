"""Publishing to a directory: whole files under final names, and no link followed."""

import errno
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from app import errors
from app.storage import disk as module
from app.storage.destinations import StagedFileDamaged
from app.storage.disk import DiskDestination
from tests.storage.places import names_of, publish

NAME = "b1/CS-ABC/2.25.1/2.25.2.dcm"
ROOT = Path(__file__).resolve().parents[2]
SHM = Path("/dev/shm")


@pytest.fixture
def far(tmp_path_factory):
    """A directory of another file system than that of the staged files."""
    if not SHM.is_dir() or SHM.stat().st_dev == tmp_path_factory.getbasetemp().stat().st_dev:
        pytest.skip("there is no second file system here")
    made = SHM / f"deid-test-{os.getpid()}-{os.urandom(4).hex()}"
    yield made
    subprocess.run(["rm", "-rf", str(made)], check=True)


@pytest.fixture(params=["near", "far", "far-without-nameless-files"])
def destination(request, disk, monkeypatch):
    """A destination that links, one that copies, and one that copies under temporary names."""
    if request.param != "near":
        disk.root = request.getfixturevalue("far")
    if request.param == "far-without-nameless-files":
        real = os.open

        def without(path, flags, *rest, **named):
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "")
            return real(path, flags, *rest, **named)

        monkeypatch.setattr(module.os, "open", without)
    return DiskDestination(disk.root)


async def put(destination, name, staged):
    await destination.put(name, staged.path, **staged.arguments())


async def test_it_says_whether_it_links(tmp_path, far):
    (tmp_path / "staging").mkdir()

    assert await DiskDestination(tmp_path / "not" / "yet" / "there").links(tmp_path / "staging")
    assert not await DiskDestination(far / "not" / "yet").links(tmp_path / "staging")


async def test_an_object_has_no_name_before_the_flush(destination, disk, stage):
    staged = stage(5000)

    await put(destination, NAME, staged)
    before = [path for path in disk.root.rglob("*.dcm") if path.is_file()]
    await destination.flush([NAME])

    assert before == []
    assert disk.content(NAME) == staged.data
    assert disk.everything() == [NAME]
    await destination.close()


async def test_what_was_put_and_not_flushed_is_gone_when_it_closes(destination, disk, stage):
    await put(destination, NAME, stage(5000))

    await destination.close()

    assert disk.everything() == []


async def test_a_flush_gives_names_to_what_it_was_asked_for_alone(destination, disk, stage):
    for number in range(8):
        await put(destination, f"b1/{number}.dcm", stage(100 + number))

    await destination.flush([f"b1/{number}.dcm" for number in range(6)])
    await destination.close()

    assert disk.everything() == [f"b1/{number}.dcm" for number in range(6)]


async def test_hundreds_of_objects_wait_for_one_flush(destination, disk, stage):
    staged = stage(100)
    names = [f"b1/s{number % 3}/{number}.dcm" for number in range(200)]

    for name in names:
        await put(destination, name, staged)
    await destination.flush(names)

    assert disk.everything() == sorted(names)
    await destination.close()


async def test_an_object_is_replaced_in_one_step(destination, disk, stage):
    await publish(destination, NAME, stage(100))
    with (disk.root / NAME).open("rb") as reader:
        other = stage(5000)
        await publish(destination, NAME, other)

        assert len(reader.read()) == 100  # who reads the old one reads it to its end
    assert disk.content(NAME) == other.data
    assert disk.everything() == [NAME]
    await destination.close()


async def test_published_files_can_be_read_by_the_group(destination, disk, stage):
    await publish(destination, NAME, stage(100))

    modes = {
        stat.S_IMODE((disk.root / name).stat().st_mode)
        for name in (NAME, "b1", "b1/CS-ABC", "b1/CS-ABC/2.25.1")
    }
    assert modes == {0o640, 0o750}
    await destination.close()


async def test_the_staged_file_stays(destination, stage):
    staged = stage(100)

    await publish(destination, NAME, staged)

    assert staged.path.read_bytes() == staged.data
    await destination.close()


async def test_a_file_of_the_same_file_system_is_not_copied(disk, stage):
    destination, staged = DiskDestination(disk.root), stage(100)

    await publish(destination, NAME, staged)

    assert (disk.root / NAME).samefile(staged.path)
    await destination.close()


async def test_publishing_the_same_file_again_leaves_no_second_name(disk, stage):
    destination, staged = DiskDestination(disk.root), stage(100)

    await publish(destination, NAME, staged)
    await publish(destination, NAME, staged)

    assert disk.everything() == [NAME]
    assert (disk.root / NAME).samefile(staged.path)
    await destination.close()


async def test_a_file_that_cannot_be_linked_is_copied(disk, stage, monkeypatch):
    staged, real = stage(100), os.link

    def refuse(source, *rest, **named):
        if str(source).startswith("/proc"):
            return real(source, *rest, **named)
        raise OSError(errno.EXDEV, "")

    monkeypatch.setattr(module.os, "link", refuse)
    destination = DiskDestination(disk.root)

    await publish(destination, NAME, staged)
    await publish(destination, "b1/second.dcm", staged)

    assert disk.content(NAME) == staged.data
    assert not (disk.root / NAME).samefile(staged.path)
    assert disk.everything() == [NAME, "b1/second.dcm"]
    await destination.close()


async def test_a_copy_with_another_byte_is_not_published(far, stage):
    destination, staged = DiskDestination(far), stage(3_000_000)
    staged.path.write_bytes(b"!" + staged.data[1:])

    with pytest.raises(StagedFileDamaged):
        await put(destination, NAME, staged)

    assert [path for path in far.rglob("*") if path.is_file()] == []
    await destination.close()


async def test_a_staged_file_that_goes_before_the_flush_is_told_apart(disk, stage):
    destination, staged = DiskDestination(disk.root), stage(100)
    await put(destination, NAME, staged)
    staged.path.unlink()

    with pytest.raises(StagedFileDamaged):
        await destination.flush([NAME])

    assert disk.everything() == []
    await destination.close()


async def test_resuming_leaves_what_is_the_same(destination, disk, stage):
    staged = stage(5000)
    await publish(destination, NAME, staged)
    before = (disk.root / NAME).stat()

    await publish(destination, NAME, staged, is_resumed=True)

    after = (disk.root / NAME).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    await destination.close()


async def test_a_flush_of_what_was_never_put_fails(disk, stage):
    destination = DiskDestination(disk.root)
    await publish(destination, NAME, stage(10))

    with pytest.raises(errors.StorageUnavailable):
        await destination.flush(["b1/never.dcm"])
    with pytest.raises(errors.StorageUnavailable):
        await destination.flush([f"b2/{number}.dcm" for number in range(10)])

    await destination.close()


async def test_directories_nested_deeper_than_anything_are_removed(destination, disk, stage):
    """Whoever reads the objects may put there what they like."""
    await publish(destination, NAME, stage(100))
    with_files = {30, 33, 100, 1199}
    fd = os.open(disk.root / "b1", os.O_RDONLY)
    for depth in range(1200):
        os.mkdir("below", dir_fd=fd)
        below = os.open("below", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
        if depth in with_files:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)

    assert await destination.remove("b1") == 1 + len(with_files)
    assert not (disk.root / "b1").exists()
    await destination.close()


async def test_directories_that_were_removed_by_others_are_made_again(destination, disk, stage):
    await publish(destination, NAME, stage(100))
    other = DiskDestination(disk.root)
    assert await other.remove("b1") == 1

    await publish(destination, NAME, stage(100))

    assert disk.everything() == [NAME]
    await destination.close()
    await other.close()


async def test_removal_forgets_what_waits_for_its_name(destination, disk, stage):
    await publish(destination, "b1/a.dcm", stage(10))
    await put(destination, "b1/b.dcm", stage(10))
    await put(destination, "b10/c.dcm", stage(10))

    await destination.remove("b1")
    await destination.flush(["b10/c.dcm"])

    assert disk.everything() == ["b10/c.dcm"]
    with pytest.raises(errors.StorageUnavailable):
        await destination.flush(["b1/b.dcm"])
    await destination.close()


@pytest.mark.parametrize("place", ["b1", "b1/CS-ABC", "b1/CS-ABC/2.25.1"])
async def test_a_planted_link_to_a_directory_is_not_followed(
    destination, disk, stage, tmp_path, place
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = disk.root / place
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    staged = stage(100)

    with pytest.raises(errors.DestinationRefused) as refused:
        await put(destination, NAME, staged)

    assert list(elsewhere.iterdir()) == []
    assert str(tmp_path) not in str(refused.value)
    await destination.close()


async def test_a_planted_link_under_the_final_name_is_replaced(destination, disk, stage, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    (disk.root / NAME).parent.mkdir(parents=True)
    (disk.root / NAME).symlink_to(victim)
    staged = stage(100)

    await publish(destination, NAME, staged, is_resumed=True)

    assert victim.read_bytes() == b"untouched"
    assert not (disk.root / NAME).is_symlink()
    assert disk.content(NAME) == staged.data
    await destination.close()


async def test_links_are_neither_read_nor_listed_nor_entered(disk, stage, tmp_path):
    destination = DiskDestination(disk.root)
    await publish(destination, NAME, stage(10))
    (tmp_path / "secret").write_bytes(b"secret")
    (disk.root / "b1" / "link").symlink_to(tmp_path / "secret")
    (disk.root / "b1" / "folder").symlink_to(tmp_path)

    for name in ("b1/link", "b1/folder/secret"):
        with pytest.raises(errors.UnreadableFile):
            await destination.read(name)
    listed = await names_of(destination, "b1")
    removed = await destination.remove("b1")

    assert listed == {NAME: 10}
    assert removed == 1
    assert (tmp_path / "secret").read_bytes() == b"secret"
    await destination.close()


async def test_a_fifo_is_no_object(disk, stage):
    destination = DiskDestination(disk.root)
    await publish(destination, NAME, stage(10))
    os.mkfifo(disk.root / "b1" / "fifo")

    with pytest.raises(errors.UnreadableFile):
        await destination.read("b1/fifo")

    await destination.close()


async def test_a_directory_under_the_final_name_is_refused(destination, disk, stage):
    (disk.root / NAME).mkdir(parents=True)

    await put(destination, NAME, stage(10))
    with pytest.raises(errors.DestinationRefused):
        await destination.flush([NAME])

    assert disk.everything() == []
    await destination.close()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, errors.StorageUnavailable),
        (errno.EIO, errors.StorageUnavailable),
        (errno.EROFS, errors.DestinationRefused),
    ],
)
async def test_a_disk_that_fails_is_told_by_kind(disk, stage, monkeypatch, number, kind):
    destination = DiskDestination(disk.root)

    def fail(*_, **__):
        raise OSError(number, "text", "/a/path")

    await put(destination, NAME, stage(10))
    monkeypatch.setattr(module.os, "fsync", fail)

    with pytest.raises(kind) as refused:
        await destination.flush([NAME])

    assert "/a/path" not in str(refused.value)
    assert disk.everything() == []
    await destination.close()


async def test_an_error_of_the_file_system_is_noticed(disk, stage, monkeypatch):
    destination, names = DiskDestination(disk.root), [f"b1/{number}.dcm" for number in range(9)]
    monkeypatch.setattr(module, "_libc", type("Libc", (), {"syncfs": lambda _fd: -1}))
    monkeypatch.setattr(module.ctypes, "get_errno", lambda: errno.EIO)
    for name in names:
        await put(destination, name, stage(10))

    with pytest.raises(errors.StorageUnavailable):
        await destination.flush(names)

    assert disk.everything() == []
    await destination.close()


async def test_bytes_reach_the_disk_before_names_and_names_before_the_end(
    destination, disk, stage, monkeypatch
):
    order, real = [], os.fsync
    names = [f"b1/s/{number}.dcm" for number in range(9)]

    def note(fd):
        is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
        order.append(f"{'directory' if is_directory else 'file'}, {len(disk.everything())} names")
        real(fd)

    for name in names:
        await put(destination, name, stage(10))
    monkeypatch.setattr(module.os, "fsync", note)
    monkeypatch.setattr(module, "_syncfs", lambda _fd: order.append("file system"))
    await destination.flush(names)

    # The directory with the names, then the two that got new directories.
    assert order == ["file system", *["directory, 9 names"] * 3]
    await destination.close()


KILLED = """
import asyncio, hashlib, os, sys
from pathlib import Path
from app.storage.disk import DiskDestination
root, work = Path(sys.argv[1]), Path(sys.argv[2])

async def main():
    destination, number = DiskDestination(root), 0
    while True:
        names = []
        for _ in range(20):
            number += 1
            path = work / str(number)
            data = os.urandom(16) * 40_000
            path.write_bytes(data)
            names.append(f"b1/{number % 7}/{number}.dcm")
            await destination.put(
                names[-1], path, size=len(data), sha256=hashlib.sha256(data).digest(),
                attributes={}, content_type="", is_resumed=False,
            )
        await destination.flush(names)
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["near", "far"])
def test_a_kill_at_any_moment_leaves_whole_files_and_nothing_else(kind, request, tmp_path):
    root = tmp_path / "published" if kind == "near" else request.getfixturevalue("far")
    work = tmp_path / "work"
    work.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(root), str(work)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    flushed = [int(process.stdout.readline()) for _ in range(3)][-1]

    process.kill()
    process.communicate()

    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) >= flushed
    assert {path.suffix for path in files} == {".dcm"}
    assert {path.stat().st_size for path in files} == {640_000}
    for path in files:
        assert path.read_bytes() == (work / path.stem).read_bytes()
