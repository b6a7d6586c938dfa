"""Uploaded archives: private, by names that only the gateway makes, and removed when unused."""

import datetime as dt
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.errors import SourceNotAllowed, StagingFull, StorageUnavailable
from app.storage.uploads import Uploads
from tests.storage.trees import unprivileged

MADE_UP = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "/etc/passwd",
    "g" * 32,
    "A" * 32,
    "0" * 31,
    "0" * 32 + "\n",
]


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "staging" / ".uploads")


def upload(uploads: Uploads, data: bytes = b"PK", age_s: int = 0) -> str:
    name, fd = uploads.create()
    os.write(fd, data)
    uploads.keep(fd)
    os.close(fd)
    written = dt.datetime.now(dt.UTC).timestamp() - age_s  # noqa: TID251
    os.utime(uploads.path(name), (written, written))
    return name


def hours_ago(hours: float) -> dt.datetime:
    return dt.datetime.now(dt.UTC) - dt.timedelta(hours=hours)  # noqa: TID251


def test_an_upload_is_for_its_owner_alone(uploads):
    name = upload(uploads, b"data")
    path = uploads.path(name)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.read_bytes() == b"data"


def test_a_directory_that_others_could_enter_is_closed_to_them(uploads, tmp_path):
    (tmp_path / "staging" / ".uploads").mkdir(parents=True, mode=0o755)

    name = upload(uploads)

    assert stat.S_IMODE(uploads.path(name).parent.stat().st_mode) == 0o700


def test_a_full_disk_is_told_as_such(uploads, monkeypatch):
    def failing(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/secret/PLANTED")

    monkeypatch.setattr(os, "open", failing)

    with pytest.raises(StagingFull) as refused:
        uploads.create()
    assert "PLANTED" not in str(refused.value)


def test_an_upload_can_be_opened_by_its_name_and_removed(uploads):
    name = upload(uploads, b"data")

    fd = uploads.open(name)
    uploads.remove(name)
    uploads.remove(name)

    assert os.read(fd, 10) == b"data"
    os.close(fd)
    with pytest.raises(SourceNotAllowed):
        uploads.open(name)


def test_names_cannot_be_guessed_from_one_another(uploads):
    assert len({upload(uploads) for _ in range(20)}) == 20


@pytest.mark.parametrize("name", MADE_UP)
@pytest.mark.parametrize("use", ["path", "open", "remove"])
def test_a_name_that_was_not_made_here_is_refused(uploads, name, use):
    with pytest.raises(SourceNotAllowed) as refused:
        getattr(uploads, use)(name)
    assert name not in {str(refused.value), refused.value.detail}


def test_an_upload_that_became_a_link_is_not_opened(uploads, tmp_path):
    name = upload(uploads)
    (tmp_path / "secret").write_bytes(b"secret")
    uploads.path(name).unlink()
    uploads.path(name).symlink_to(tmp_path / "secret")

    with pytest.raises(SourceNotAllowed):
        uploads.open(name)


def test_what_is_old_and_belongs_to_no_batch_is_removed(uploads):
    old, used, fresh = (upload(uploads, age_s=age) for age in (7200, 7200, 0))

    removed = uploads.remove_unused(hours_ago(1), used={used})

    assert removed == 1
    assert [uploads.path(name).exists() for name in (old, used, fresh)] == [False, True, True]


def test_what_is_no_upload_is_left_alone(uploads, tmp_path):
    upload(uploads, age_s=7200)
    note = tmp_path / "staging" / ".uploads" / "note"
    note.touch()
    os.utime(note, (0, 0))

    assert uploads.remove_unused(hours_ago(1), used=()) == 1
    assert note.exists()


def test_where_nothing_was_uploaded_nothing_is_removed(uploads):
    assert uploads.remove_unused(hours_ago(0), used=()) == 0


@contextmanager
def without(path: Path, rights: int) -> Iterator[None]:
    """Take rights from a directory for a while."""
    mode = path.stat().st_mode
    path.chmod(mode & ~rights)
    try:
        yield
    finally:
        path.chmod(mode)


def test_a_directory_that_cannot_be_written_says_so_without_its_name(reachable_path):
    uploads = Uploads(reachable_path / "PLANTED")

    with (
        without(reachable_path, 0o222),
        unprivileged(),
        pytest.raises(StorageUnavailable) as unavailable,
    ):
        uploads.create()
    assert "PLANTED" not in str(unavailable.value)


def test_a_directory_that_cannot_be_read_is_an_error_and_not_an_empty_one(reachable_path):
    uploads = Uploads(reachable_path / "uploads")
    upload(uploads)

    with (
        without(reachable_path / "uploads", 0o777),
        unprivileged(),
        pytest.raises(StorageUnavailable),
    ):
        uploads.remove_unused(hours_ago(0), used=())
