"""A directory as a study source: what is found, in which order, and what is never opened."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.dicom.tokens import Limits
from app.errors import (
    GatewayError,
    NotARegularFile,
    SourceNotAllowed,
    StorageUnavailable,
    SymbolicLink,
    Truncated,
    UnreadableFile,
)
from app.storage import lending
from app.storage.directories import DirectorySource
from app.storage.lending import LentFile
from app.storage.roots import MAX_DEPTH, Tree
from tests.storage.trees import bind_socket, content, fill, found, names, read, unprivileged


def source_of(root: Path, path: str = ".", *refused: Path) -> DirectorySource:
    return DirectorySource(Tree(root, refused), path, Limits())


def open_fds() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def error_of(source: DirectorySource, name: str) -> type[GatewayError]:
    with pytest.raises(GatewayError) as refused, source.lend(name):
        pass
    assert "PLANTED" not in str(refused.value)
    return type(refused.value)


# --- What is found -----------------------------------------------------------------------------


def test_every_file_is_found_whatever_its_name(tmp_path):
    fill(tmp_path, **{"a.dcm": b"1", "no_suffix": b"22", ".hidden": b"", ".trash__IM1": b"333"})
    for name in (b"line\nbreak", b"M\xfcller^J\xf6rg", "漢字".encode(), b" ", b"x" * 255, b"-rf"):
        (tmp_path / os.fsdecode(name)).write_bytes(name)

    listed = found(source_of(tmp_path))

    assert {name: one.size for name, one in listed.items()} == {
        "a.dcm": 1,
        "no_suffix": 2,
        ".hidden": 0,
        ".trash/IM1": 3,
        "line\nbreak": 10,
        "M\udcfcller^J\udcf6rg": 11,
        "漢字": 6,
        " ": 1,
        "x" * 255: 255,
        "-rf": 3,
    }


def test_every_file_found_can_be_read_by_its_name(tmp_path):
    for name in (b"line\nbreak", b"M\xfcller", b".hidden"):
        (tmp_path / os.fsdecode(name)).write_bytes(name)
    source = source_of(tmp_path)

    read_back = {read(source, name) for name in names(source)}

    assert read_back == {b"line\nbreak", b"M\xfcller", b".hidden"}


def test_the_names_of_a_study_below_the_root_begin_below_the_study(tmp_path):
    fill(tmp_path, ward__study__IM1=b"1", ward__other__IM2=b"2")

    source = source_of(tmp_path, "ward/study")

    assert names(source) == ["IM1"]
    assert read(source, "IM1") == b"1"


TREE = {
    name: name.encode()
    for name in ("a.b", "a-__x", "a__1", "a__b__c", "a__b.x", "a__b__d", "a0", "b", "Z__1")
}


def test_files_come_in_the_byte_order_of_their_paths(tmp_path):
    listed = names(source_of(fill(tmp_path, **TREE)))

    assert listed == sorted(listed)
    assert sorted(listed) == sorted(name.replace("__", "/") for name in TREE)


def test_a_listing_resumes_behind_any_name(tmp_path):
    source = source_of(fill(tmp_path, **TREE))
    listed = names(source)

    assert all(names(source, name) == listed[at:] for at, name in enumerate(listed, 1))


def test_a_listing_resumes_behind_a_file_that_is_gone(tmp_path):
    source = source_of(fill(tmp_path, **TREE))
    listed = names(source)
    (tmp_path / "a/b/c").unlink()

    assert names(source, "a/b/c") == listed[listed.index("a/b/c") + 1 :]


def test_a_listing_resumes_behind_a_directory_that_may_not_be_read(reachable_path):
    fill(reachable_path, a__x=b"", b__x=b"", **{"a.b": b"", "b.c": b""})
    (reachable_path / "b").chmod(0)
    source = source_of(reachable_path)

    with unprivileged():
        listed = names(source)
        rests = [names(source, name) for name in listed]

    assert listed == ["a.b", "a/x", "b.c", "b/"]
    assert rests == [listed[1:], listed[2:], listed[3:], []]


def test_an_empty_directory_is_an_empty_source(tmp_path):
    (tmp_path / "empty" / "still empty").mkdir(parents=True)

    assert names(source_of(tmp_path)) == []


def test_a_listing_holds_few_descriptors_however_deep_the_tree(tmp_path):
    fill(tmp_path, **{"d__" * 60 + f"{number}": b"" for number in range(9)})
    source = source_of(tmp_path)
    before = len(open_fds())

    held = [len(open_fds()) - before for _ in source.list()]

    assert len(held) == 9
    assert max(held) <= 2
    assert len(open_fds()) <= before


def test_a_tree_deeper_than_any_study_is_reported_where_it_goes_on(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(MAX_DEPTH + 5):
        os.mkdir(b"d", dir_fd=fd)
        deeper = os.open(b"d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)

    listed = list(source_of(tmp_path).list())

    assert [(one.name, one.error) for one in listed] == [("d/" * (MAX_DEPTH + 1), UnreadableFile)]


def test_a_directory_of_the_gateways_own_is_no_part_of_the_source(tmp_path):
    fill(tmp_path, study__IM1=b"", out__batch__IM1=b"")

    assert names(source_of(tmp_path, ".", tmp_path / "out")) == ["study/IM1"]


# --- What is reported and not opened -----------------------------------------------------------


@pytest.mark.parametrize("make", [os.mkfifo, bind_socket])
def test_what_is_no_file_is_reported_and_not_opened(tmp_path, make):
    make(tmp_path / "PLANTED")
    source = source_of(tmp_path)

    assert found(source)["PLANTED"].error is NotARegularFile
    assert error_of(source, "PLANTED") is NotARegularFile


def test_a_device_is_reported_and_not_opened():
    source = source_of(Path("/dev"))

    assert found(source)["null"].error is NotARegularFile
    assert error_of(source, "null") is NotARegularFile


def test_the_writer_of_a_fifo_is_not_woken(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    source = source_of(tmp_path)

    assert error_of(source, "pipe") is NotARegularFile
    with pytest.raises(OSError, match=r".") as nobody_reads:
        os.open(tmp_path / "pipe", os.O_WRONLY | os.O_NONBLOCK)
    assert nobody_reads.value.errno == errno.ENXIO


def test_a_fifo_that_takes_a_files_place_at_the_last_moment_neither_blocks_nor_passes(
    tmp_path, monkeypatch
):
    fill(tmp_path, image=b"", PLANTED=b"")
    image = (tmp_path / "image").stat()
    (tmp_path / "PLANTED").unlink()
    os.mkfifo(tmp_path / "PLANTED")
    source = source_of(tmp_path)

    with monkeypatch.context() as patched:
        patched.setattr(lending.os, "stat", lambda *_a, **_k: image)
        error = error_of(source, "PLANTED")

    assert error is NotARegularFile


def test_a_link_that_takes_a_files_place_at_the_last_moment_does_not_pass(tmp_path, monkeypatch):
    fill(tmp_path, root__image=b"", secret=b"secret")
    image = (tmp_path / "root" / "image").stat()
    (tmp_path / "root" / "PLANTED").symlink_to(tmp_path / "secret")
    source = source_of(tmp_path / "root")

    with monkeypatch.context() as patched:
        patched.setattr(lending.os, "stat", lambda *_a, **_k: image)
        error = error_of(source, "PLANTED")

    assert error is SymbolicLink


def test_a_file_that_may_not_be_read_is_listed_and_refused_when_it_is_opened(reachable_path):
    fill(reachable_path, IM1=b"1", PLANTED=b"22")
    (reachable_path / "PLANTED").chmod(0)
    source = source_of(reachable_path)

    with unprivileged():
        listed = found(source)
        error = error_of(source, "PLANTED")

    assert [listed[name].error for name in ("IM1", "PLANTED")] == [None, None]
    assert error is UnreadableFile


def test_a_directory_that_may_not_be_read_is_reported_and_the_rest_is_found(reachable_path):
    fill(reachable_path, a__IM1=b"", closed__IM2=b"", z__IM3=b"")
    (reachable_path / "closed").chmod(0)
    source = source_of(reachable_path)

    with unprivileged():
        listed = found(source)

    assert {name: one.error for name, one in listed.items()} == {
        "a/IM1": None,
        "closed/": UnreadableFile,
        "z/IM3": None,
    }
    assert error_of(source, "closed/") is UnreadableFile


def test_a_study_directory_that_may_not_be_read_is_an_error(reachable_path):
    source = source_of(reachable_path)
    reachable_path.chmod(0)

    with unprivileged(), pytest.raises(UnreadableFile):
        list(source.list())
    reachable_path.chmod(0o755)


def test_a_file_that_vanishes_before_it_is_opened_is_unreadable(tmp_path):
    source = source_of(fill(tmp_path, PLANTED=b""))
    listed = names(source)
    (tmp_path / "PLANTED").unlink()

    assert listed == ["PLANTED"]
    assert error_of(source, "PLANTED") is UnreadableFile


def test_what_vanishes_while_it_is_listed_is_reported_and_not_forgotten(tmp_path):
    listing = source_of(fill(tmp_path, a=b"", b=b"", c__x=b"")).list()
    first = next(listing)
    (tmp_path / "b").unlink()
    (tmp_path / "c" / "x").unlink()
    (tmp_path / "c").rmdir()

    rest = [(one.name, one.error) for one in listing]

    assert first.name == "a"
    assert rest == [("b", UnreadableFile), ("c/", UnreadableFile)]


def test_a_directory_that_vanishes_with_the_files_not_yet_listed_is_reported(tmp_path):
    listing = source_of(fill(tmp_path, d__a__x=b"", d__b=b"", d__c=b"", e=b"")).list()
    first = next(listing)
    (tmp_path / "d").rename(tmp_path / "moved")

    rest = {one.name: one.error for one in listing}

    assert first.name == "d/a/x"
    assert rest == {"d/b": UnreadableFile, "d/c": UnreadableFile, "e": None}


def test_a_study_directory_that_is_gone_is_not_opened(tmp_path):
    with pytest.raises(SourceNotAllowed):
        source_of(tmp_path, "PLANTED/study")


@pytest.mark.parametrize(
    "name",
    ["", "/", "/etc/passwd", "../x", "a/../b", "./a", "a/", "a//", "a/./b", "a\0b", "\ud800", "."],
)
def test_a_name_that_no_listing_gives_is_refused(tmp_path, name):
    source = source_of(fill(tmp_path, a=b"", b=b""))

    with pytest.raises(GatewayError), source.lend(name):
        pass


# --- Links -------------------------------------------------------------------------------------


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A root with a study in it, and something outside."""
    fill(tmp_path, allowed__study__IM1=b"inside", allowed__other__IM2=b"beside", secret=b"secret")
    return tmp_path / "allowed"


@pytest.mark.parametrize(
    ("target", "data"),
    [
        pytest.param("IM1", b"inside", id="beside it"),
        pytest.param("../other/IM2", b"beside", id="elsewhere below the root"),
        pytest.param("{root}/other/IM2", b"beside", id="absolute, below the root"),
        pytest.param("second", b"beside", id="by another link"),
        pytest.param("by/IM2", b"beside", id="through a linked directory"),
        pytest.param("./././IM1", b"inside", id="with dots"),
    ],
)
def test_a_link_to_a_file_below_the_root_is_that_file(linked, target, data):
    (linked / "study" / "second").symlink_to("../other/IM2")
    (linked / "study" / "by").symlink_to("../other")
    (linked / "study" / "link").symlink_to(target.format(root=linked))
    source = source_of(linked, "study")

    listed = found(source)["link"]

    assert (listed.size, listed.error) == (6, None)
    assert read(source, "link") == data


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("../../secret", id="out"),
        pytest.param("{outside}/secret", id="out, absolute"),
        pytest.param("../../allowed/study/IM1", id="out and in again"),
        pytest.param("../../../../../../../../../etc/passwd", id="above everything"),
        pytest.param("../../decoy", id="above the root, where the root has a file of that name"),
        pytest.param("nowhere", id="nowhere"),
        pytest.param("IM1/x", id="below a file"),
        pytest.param("PLANTED", id="itself"),
        pytest.param("out", id="a link that leads out"),
        pytest.param("by/secret", id="through a linked directory that leads out"),
        pytest.param("../other", id="a directory"),
        pytest.param(".", id="its own directory"),
        pytest.param("..", id="the root"),
        pytest.param("/proc/self/environ", id="another file system"),
    ],
)
def test_a_link_out_or_to_a_directory_or_nowhere_is_reported_and_not_followed(linked, target):
    fill(linked, decoy=b"")
    (linked / "study" / "out").symlink_to("../../secret")
    (linked / "study" / "by").symlink_to("../..")
    (linked / "study" / "PLANTED").symlink_to(target.format(outside=linked.parent))
    source = source_of(linked, "study")

    listed = found(source)

    assert listed["PLANTED"].error is SymbolicLink
    assert sorted(listed) == ["IM1", "PLANTED", "by", "out"]
    assert error_of(source, "PLANTED") is SymbolicLink


def test_a_link_to_a_fifo_is_reported_and_not_opened(linked):
    os.mkfifo(linked / "pipe")
    (linked / "study" / "PLANTED").symlink_to("../pipe")
    source = source_of(linked, "study")

    assert found(source)["PLANTED"].error is NotARegularFile
    assert error_of(source, "PLANTED") is NotARegularFile


def test_a_link_into_a_directory_of_the_gateways_own_is_refused(linked):
    (linked / "study" / "PLANTED").symlink_to("../other/IM2")
    source = source_of(linked, "study", linked / "other")

    assert found(source)["PLANTED"].error is SourceNotAllowed
    assert error_of(source, "PLANTED") is SourceNotAllowed


def test_a_file_that_becomes_a_link_out_after_the_listing_is_not_followed(linked):
    source = source_of(linked, "study")
    listed = names(source)
    (linked / "study" / "IM1").unlink()
    (linked / "study" / "IM1").symlink_to("../../secret")

    assert listed == ["IM1"]
    assert error_of(source, "IM1") is SymbolicLink


def test_a_directory_that_becomes_a_link_out_after_the_listing_is_not_followed(linked):
    source = source_of(linked)
    listed = names(source)
    (linked / "study").rename(linked / "moved")
    (linked / "study").symlink_to(linked.parent)
    (linked.parent / "IM1").write_bytes(b"secret")

    assert "study/IM1" in listed
    assert error_of(source, "study/IM1") in {UnreadableFile, SymbolicLink}


def test_a_directory_that_becomes_a_link_out_during_the_listing_is_not_followed(linked):
    fill(linked, a=b"")
    listing = source_of(linked).list()
    first = next(listing)
    (linked / "study").rename(linked.parent / "moved")
    (linked / "study").symlink_to(linked.parent)

    rest = [(one.name, one.error) for one in listing]

    assert first.name == "a"
    assert rest == [("other/IM2", None), ("study/", UnreadableFile)]


def test_a_study_directory_that_becomes_a_link_after_it_was_located_is_not_entered(linked):
    (linked / "study").rename(linked / "moved")
    (linked / "study").symlink_to(linked.parent)

    with pytest.raises(SourceNotAllowed):
        source_of(linked, "study")


def test_nobody_who_exchanges_directories_and_links_makes_it_read_outside(linked):
    """One thread swaps a directory with a link out while others read through it."""
    (linked.parent / "IM1").write_bytes(b"secret")
    (linked / "link").symlink_to(linked.parent)
    source = source_of(linked)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for old, new in (("study", "spare"), ("link", "study"), ("study", "link")):
                (linked / old).rename(linked / new)
            (linked / "spare").rename(linked / "study")

    def look(_: int) -> set[bytes]:
        seen = set()
        for name in [*names(source), "study/IM1", "link/IM1", "other/IM2"]:
            try:
                seen.add(read(source, name))
            except GatewayError:
                seen.add(b"")
        return seen

    with ThreadPoolExecutor(3) as pool:
        swapping = pool.submit(swap)
        read_bytes = set().union(*pool.map(look, range(300)))
        stop.set()
        swapping.result()

    assert b"inside" in read_bytes
    assert b"secret" not in read_bytes


# --- Lending -----------------------------------------------------------------------------------


def test_many_threads_read_from_one_source(tmp_path):
    fill(tmp_path, **{f"d{n % 7}__d{n % 3}__{n}": str(n).encode() for n in range(200)})
    source = source_of(tmp_path)
    listed = names(source) * 5

    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(lambda name: read(source, name), listed))

    assert contents == [name.rpartition("/")[2].encode() for name in listed]


def test_what_is_lent_outlives_its_source(tmp_path):
    source = source_of(fill(tmp_path, d__IM1=b"abc"))

    with source.lend("d/IM1") as lent:
        source.close()
        source.close()
        assert content(lent) == b"abc"
    assert error_of(source, "d/IM1") is StorageUnavailable


def test_nothing_stays_open(tmp_path):
    before = open_fds()
    source = source_of(fill(tmp_path, d__IM1=b"abc", e__IM2=b""))

    contents = [read(source, name) for name in names(source)]
    next(source.list())
    source.close()

    assert contents == [b"abc", b""]
    assert open_fds() <= before


def test_a_file_that_shrinks_while_it_is_read_is_cut_short(tmp_path):
    source = source_of(fill(tmp_path, IM1=b"abcdef"))

    with source.lend("IM1") as lent:
        os.truncate(tmp_path / "IM1", 3)
        assert lent.read(0, 3) == b"abc"
        with pytest.raises(Truncated):
            lent.read(2, 4)


def test_a_file_that_grows_keeps_the_size_that_it_was_lent_with(tmp_path):
    source = source_of(fill(tmp_path, IM1=b"abc"))

    with source.lend("IM1") as lent:
        (tmp_path / "IM1").write_bytes(b"abcdef")
        assert lent.size == 3
        with pytest.raises(Truncated):
            lent.read(0, 4)


def test_bytes_that_the_medium_does_not_give_are_unreadable():
    # Nothing is mapped at address 0: reading there is an input/output error.
    fd = os.open("/proc/self/mem", os.O_RDONLY)
    lent = LentFile(fd, 4096)

    with pytest.raises(UnreadableFile):
        lent.read(0, 10)
    os.close(fd)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ESTALE, errno.ENOTCONN, errno.EAGAIN])
def test_trouble_of_the_moment_is_not_the_files_fault(tmp_path, monkeypatch, number):
    source = source_of(fill(tmp_path, IM1=b""))

    def fail(*_args: object, **_named: object) -> int:
        raise OSError(number, "PLANTED")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", fail)
        error = error_of(source, "IM1")
        with pytest.raises(StorageUnavailable):
            list(source.list())

    assert error is StorageUnavailable
    assert names(source) == ["IM1"]


def test_names_are_in_no_representation_and_in_no_cause(tmp_path):
    source = source_of(fill(tmp_path, IM1=b""))
    (tmp_path / "PLANTED").symlink_to("nowhere-PLANTED")

    with pytest.raises(SymbolicLink) as refused, source.lend("PLANTED"):
        pass

    assert "PLANTED" not in repr(list(source.list()))
    assert "PLANTED" not in repr(source)
    assert refused.value.__suppress_context__
    assert refused.value.__cause__ is None
