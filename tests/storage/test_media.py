"""DICOM media: what a DICOMDIR references and what of it is missing."""

import errno
import os
from pathlib import Path

import pytest

from app.dicom.source import MemorySource
from app.dicom.tokens import Limits
from app.errors import MissingReferencedFile, StorageUnavailable, SymbolicLink
from app.storage.directories import DirectorySource
from app.storage.media import folded, is_dicomdir, references
from app.storage.roots import Tree
from tests.storage.media import dicomdir, record, write_medium
from tests.storage.trees import fill, found, names, read


def source_of(root: Path, limits: Limits | None = None) -> DirectorySource:
    return DirectorySource(Tree(root), ".", limits or Limits())


def missing(source: DirectorySource, after: str = "") -> list[str]:
    listed = source.list(after)
    return [one.name for one in listed if one.error is MissingReferencedFile]


def test_of_a_complete_medium_nothing_is_missing(tmp_path):
    instances = write_medium(tmp_path)

    assert names(source_of(tmp_path)) == ["DICOMDIR", *instances]


def test_a_referenced_file_that_is_absent_is_reported(tmp_path):
    instances = write_medium(tmp_path)
    (tmp_path / instances[2]).unlink()

    assert missing(source_of(tmp_path)) == [f"DICOMDIR//{instances[2]}"]


def test_a_referenced_directory_that_is_absent_is_reported_file_by_file(tmp_path):
    instances = write_medium(tmp_path)
    (tmp_path / "PT000000").rename(tmp_path / "elsewhere")

    assert missing(source_of(tmp_path)) == [f"DICOMDIR//{name}" for name in instances]


@pytest.mark.parametrize(
    ("dicomdir_name", "path"),
    [
        pytest.param("dicomdir", "images/im1", id="lower case"),
        pytest.param("DICOMDIR;1", "IMAGES/IM1;1", id="versions"),
        pytest.param("DICOMDIR.;1", "IMAGES/IM1.;1", id="versions and dots"),
        pytest.param("DicomDir.", "Images/Im1.", id="dots"),
        pytest.param("DICOMDIR", "images/IM1;12", id="some"),
    ],
)
def test_a_medium_is_known_however_its_names_were_copied(tmp_path, dicomdir_name, path):
    data = dicomdir(record("IMAGES", "IM1"), record("IMAGES", "IM2"))
    (tmp_path / dicomdir_name).write_bytes(data)
    fill(tmp_path, **{path: b"1"})

    assert missing(source_of(tmp_path)) == [f"{dicomdir_name}//IMAGES/IM2"]


@pytest.mark.parametrize("name", ["DICOMDIR.txt", "DICOMDIRS", "xDICOMDIR", "DICOMDIR;x", "DICOM"])
def test_other_files_are_no_dicomdir(name):
    assert not is_dicomdir(name.encode())


def test_every_medium_of_a_tree_is_looked_through_beside_its_own_files(tmp_path):
    one, two = dicomdir(record("IM1"), record("IM2")), dicomdir(record("A", "IM3"))
    fill(tmp_path, cd1__DICOMDIR=one, cd1__IM1=b"", cd2__sub__DICOMDIR=two, cd2__IM2=b"")

    assert names(source_of(tmp_path)) == [
        *("cd1/DICOMDIR", "cd1/DICOMDIR//IM2", "cd1/IM1"),
        *("cd2/IM2", "cd2/sub/DICOMDIR", "cd2/sub/DICOMDIR//A/IM3"),
    ]


def test_a_listing_resumes_among_the_missing(tmp_path):
    data = dicomdir(*(record("D", f"IM{number}") for number in (3, 1, 2, 2, 5)))
    fill(tmp_path, **{"DICOMDIR": data, "DICOMDIR.txt": b"", "D__IM5": b"", "D0": b""})
    source = source_of(tmp_path)
    listed = names(source)

    rests = [names(source, name) for name in listed]

    assert listed == [
        *("D/IM5", "D0", "DICOMDIR", "DICOMDIR.txt"),
        *("DICOMDIR//D/IM1", "DICOMDIR//D/IM2", "DICOMDIR//D/IM3"),
    ]
    assert rests == [listed[at:] for at in range(1, len(listed) + 1)]


def test_a_record_that_is_not_in_use_references_nothing(tmp_path):
    data = dicomdir(record("IM1", in_use=b"\0\0"), record("IM2"))

    assert missing(source_of(fill(tmp_path, DICOMDIR=data))) == ["DICOMDIR//IM2"]


@pytest.mark.parametrize("undefined", [False, True])
def test_slashes_and_padding_in_file_ids_are_understood(undefined):
    records = (record("A/B", "IM1"), record("A ", " IM2"), record(""), record("IM3\0"))

    data = dicomdir(*records, undefined=undefined)

    assert references(MemorySource(data), Limits()) == [
        (b"A", b"B", b"IM1"),
        (b"A", b"IM2"),
        (b"IM3",),
    ]


@pytest.mark.parametrize("file_id", [("..", "secret"), (".", "IM1"), ("A", "..", "IM1"), ("\xfc",)])
def test_references_that_lead_elsewhere_are_missing_whatever_lies_there(tmp_path, file_id):
    fill(tmp_path, cd__DICOMDIR=dicomdir(record(*file_id)), secret=b"", cd__IM1=b"", cd__A__x=b"")

    source = DirectorySource(Tree(tmp_path), "cd", Limits())

    assert len(missing(source)) == 1


def test_a_reference_through_a_linked_directory_is_missing_because_links_are_not_followed(tmp_path):
    fill(tmp_path, DICOMDIR=dicomdir(record("A", "IM1")), B__IM1=b"")
    (tmp_path / "A").symlink_to("B")

    listed = found(source_of(tmp_path))

    assert listed["A"].error is SymbolicLink
    assert listed["DICOMDIR//A/IM1"].error is MissingReferencedFile


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"no DICOM at all", id="text"),
        pytest.param(dicomdir(record("IM1"))[:-5], id="cut short"),
        pytest.param(dicomdir(), id="no records"),
    ],
)
def test_a_dicomdir_that_says_nothing_is_a_file_like_any_other(tmp_path, data):
    assert names(source_of(fill(tmp_path, DICOMDIR=data, IM1=b""))) == ["DICOMDIR", "IM1"]


@pytest.mark.parametrize("limits", [Limits(max_elements=50), Limits(max_header_bytes=1024)])
def test_a_dicomdir_beyond_the_bounds_is_not_read(tmp_path, limits):
    data = dicomdir(*(record(f"IM{number}") for number in range(2000)))

    assert names(source_of(fill(tmp_path, DICOMDIR=data), limits)) == ["DICOMDIR"]


def test_a_dicomdir_that_is_a_directory_or_a_fifo_is_none(tmp_path):
    fill(tmp_path, a__DICOMDIR__IM1=b"")
    os.mkfifo(tmp_path / "DICOMDIR")

    assert names(source_of(tmp_path)) == ["DICOMDIR", "a/DICOMDIR/IM1"]


def test_trouble_of_the_moment_with_a_dicomdir_is_not_taken_for_a_complete_medium(
    tmp_path, monkeypatch
):
    source = source_of(fill(tmp_path, DICOMDIR=dicomdir(record("IM1"))))

    def fail(*_: object) -> bytes:
        raise OSError(errno.ESTALE, "PLANTED")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", fail)
        with pytest.raises(StorageUnavailable):
            missing(source)
    assert missing(source) == ["DICOMDIR//IM1"]


def test_a_missing_file_that_has_come_since_is_lent(tmp_path):
    source = source_of(fill(tmp_path, cd__DICOMDIR=dicomdir(record("A", "IM1"))))
    name = missing(source)[0]
    with pytest.raises(MissingReferencedFile), source.lend(name):
        pass

    fill(tmp_path, cd__a__im1=b"late")

    assert read(source, name) == b"late"


@pytest.mark.parametrize("name", ["cd/DICOMDIR//../secret", "cd/DICOMDIR//", "cd/DICOMDIR////x"])
def test_a_reference_made_up_by_somebody_leads_nowhere(tmp_path, name):
    source = source_of(fill(tmp_path, cd__DICOMDIR=dicomdir(), secret=b"", x=b""))

    with pytest.raises(MissingReferencedFile), source.lend(name):
        pass


def test_a_large_medium_is_looked_through_directory_by_directory(tmp_path, monkeypatch):
    files = [(f"D{number % 20}", f"IM{number}") for number in range(400)]
    fill(tmp_path, DICOMDIR=dicomdir(*(record(*file_id) for file_id in files)))
    fill(tmp_path, **{f"{folder}__{name.lower()}": b"" for folder, name in files[:-1]})
    source = source_of(tmp_path)
    listings = []
    scandir = os.scandir

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", lambda fd: (listings.append(fd), scandir(fd))[1])
        absent = missing(source)

    assert absent == ["DICOMDIR//D19/IM399"]
    assert len(listings) <= 2 * 20 + 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [(b"im1.dcm", b"IM1.DCM"), (b"IM1.;1", b"IM1"), (b"IM1;x", b"IM1;X"), (b";1", b"")],
)
def test_names_are_folded_as_a_medium_would_have_them(name, expected):
    assert folded(name) == expected
