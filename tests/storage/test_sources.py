"""From a batch's request to its files, for every kind of source."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from app.dicom.tokens import Limits
from app.errors import (
    ArchiveTooLarge,
    DestinationNotFound,
    GatewayError,
    InvalidArchive,
    InvalidRequest,
    SourceNotAllowed,
    StorageUnavailable,
)
from app.storage.roots import Roots
from app.storage.sources import ArchiveBounds, Sources, StudySource, given_directory
from app.storage.store_source import StoreSource
from app.storage.stores import Stores
from app.storage.uploads import Uploads
from tests.storage.archives import archive
from tests.storage.trees import fill, names, read

BOUNDS = ArchiveBounds(max_files=5, max_bytes=1000, limits=Limits())
STORES = """
stores:
  pacs: {url: "s3://bucket/prefix", organizations: [A], use: [source], region: eu-central-1}
  archive: {url: "s3://bucket/prefix", organizations: [A], region: eu-central-1}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return fill(tmp_path / "incoming", study__IM1=b"1", study__sub__IM2=b"22")


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "uploads")


@pytest.fixture
def sources(tmp_path: Path, root: Path, uploads: Uploads) -> Sources:
    (tmp_path / "stores.yaml").write_text(STORES)
    return Sources(
        Roots([root], [tmp_path / "incoming" / "own"]),
        Stores.from_file(tmp_path / "stores.yaml"),
        uploads=uploads,
        spool=tmp_path,
        bounds=BOUNDS,
    )


def opened(sources: Sources, **source: str) -> StudySource:
    return sources.open(source, "A")


def refusal(sources: Sources, source: Mapping[str, str], organization: str) -> GatewayError:
    with pytest.raises(GatewayError) as refused:
        sources.open(source, organization)
    return refused.value


def open_fds() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def error_of(sources: Sources, source: Mapping[str, str], organization: str = "A") -> GatewayError:
    before = open_fds()
    refused = refusal(sources, source, organization)
    assert open_fds() <= before
    assert "PLANTED" not in str(refused)
    return refused


def uploaded(uploads: Uploads, data: bytes) -> str:
    name, fd = uploads.create()
    os.write(fd, data)
    os.close(fd)
    return name


def test_a_located_directory_is_opened(sources, root):
    located, path = Roots([root]).locate(f"{root}/study")

    source = opened(sources, kind="directory", root=located, path=path)

    assert names(source) == ["IM1", "sub/IM2"]
    assert read(source, "sub/IM2") == b"22"


def test_a_located_root_is_opened(sources, root):
    source = opened(sources, kind="directory", root=str(root), path=".")

    assert names(source) == ["study/IM1", "study/sub/IM2"]


def test_a_root_that_is_not_configured_any_more_is_not_opened(sources, tmp_path):
    source = {"kind": "directory", "root": str(tmp_path), "path": "PLANTED"}

    assert type(error_of(sources, source)) is SourceNotAllowed


@pytest.mark.parametrize(
    "path", ["../elsewhere", "study/../../elsewhere", "own", "PLANTED", "study/IM1"]
)
def test_a_path_that_no_root_holds_is_not_opened(sources, root, path):
    fill(root.parent, elsewhere__IM1=b"", incoming__own__IM1=b"")
    source = {"kind": "directory", "root": str(root), "path": path}

    assert type(error_of(sources, source)) is SourceNotAllowed


def test_a_study_that_became_a_link_since_it_was_located_is_not_opened(sources, root, tmp_path):
    located, path = Roots([root]).locate(f"{root}/study")
    (root / "study").rename(tmp_path / "moved")
    (root / "study").symlink_to(tmp_path / "moved")

    error = error_of(sources, {"kind": "directory", "root": located, "path": path})

    assert type(error) is SourceNotAllowed


def test_a_root_that_is_gone_may_come_back(sources, root, tmp_path):
    root.rename(tmp_path / "unmounted")
    source = {"kind": "directory", "root": str(root), "path": "study"}

    assert type(error_of(sources, source)) is StorageUnavailable
    (tmp_path / "unmounted").rename(root)
    assert names(sources.open(source, "A")) == ["IM1", "sub/IM2"]


def test_a_directory_of_the_command_line_needs_no_configured_root(sources, tmp_path):
    fill(tmp_path / "usb stick", IM1=b"1")
    (tmp_path / "usb stick" / "out").symlink_to("../incoming/study/IM1")

    source = sources.open(given_directory(tmp_path / "usb stick"), "A")

    assert [one.name for one in source.list() if not one.error] == ["IM1"]
    assert read(source, "IM1") == b"1"


def test_a_directory_of_the_command_line_that_is_gone_is_refused(sources, tmp_path):
    assert type(error_of(sources, given_directory(tmp_path / "PLANTED"))) is SourceNotAllowed


def test_a_directory_given_as_a_url_is_opened(sources, tmp_path):
    fill(tmp_path / "usb stick", IM1=b"1")

    source = opened(sources, kind="url", url=(tmp_path / "usb stick").as_uri())

    assert read(source, "IM1") == b"1"


def test_an_uploaded_archive_is_opened(sources, uploads):
    name = uploaded(uploads, archive({"study/IM1": b"1"}))

    source = opened(sources, kind="archive", name=name)

    assert read(source, "study/IM1") == b"1"


@pytest.mark.parametrize("name", ["0" * 32, "../PLANTED", "", "PLANTED"])
def test_an_archive_that_is_not_there_is_refused(sources, name):
    assert type(error_of(sources, {"kind": "archive", "name": name})) is SourceNotAllowed


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"no archive", InvalidArchive),
        (archive({str(number): b"" for number in range(6)}), ArchiveTooLarge),
        (archive({"x": bytes(1001)}), ArchiveTooLarge),
    ],
)
def test_an_archive_that_is_damaged_or_beyond_the_bounds_is_refused(sources, uploads, data, error):
    name = uploaded(uploads, data)

    assert type(error_of(sources, {"kind": "archive", "name": name})) is error


def test_a_prefix_of_a_named_store_is_opened(sources):
    source = opened(sources, kind="store", name="pacs", prefix="studies/1")

    assert isinstance(source, StoreSource)


def test_a_url_of_the_command_line_is_opened(sources):
    source = opened(sources, kind="url", url="s3://bucket/studies/1")

    assert isinstance(source, StoreSource)


@pytest.mark.parametrize(
    ("name", "organization"),
    [("pacs", "B"), ("archive", "A"), ("PLANTED", "A")],
    ids=["of another organisation", "no source", "unknown"],
)
def test_a_store_that_is_no_source_of_the_organisation_is_not_opened(sources, name, organization):
    error = error_of(sources, {"kind": "store", "name": name, "prefix": ""}, organization)

    assert type(error) is DestinationNotFound


@pytest.mark.parametrize("url", ["PLANTED://bucket", "s3://bucket?PLANTED=1", ""])
def test_a_url_of_no_known_kind_is_not_opened(sources, url):
    assert type(error_of(sources, {"kind": "url", "url": url})) is InvalidRequest


@pytest.mark.parametrize("kind", [{}, {"kind": "PLANTED"}])
def test_a_source_of_no_known_kind_is_not_opened(sources, kind):
    assert type(error_of(sources, kind)) is SourceNotAllowed
