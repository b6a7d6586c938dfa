"""The staging area: one id for all who share it, private directories, nothing half-made."""

import errno
import json
import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from app.batches import staging
from app.batches.staging import StagingArea
from app.errors import Misconfigured, StagingFull, StagingUnavailable, StorageUnavailable
from app.storage.staging_faults import storage_error

BATCH = UUID("00000000-0000-4000-8000-000000000001")


@pytest.fixture
def area(tmp_path: Path) -> StagingArea:
    return StagingArea(tmp_path / "staging")


def test_all_who_open_a_directory_get_the_same_id(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        opened = list(threads.map(StagingArea, [tmp_path / "staging"] * 32))

    assert len({area.staging_id for area in opened}) == 1
    assert [path.name for path in (tmp_path / "staging").glob(".area-*")] == []


def test_two_directories_have_two_ids(tmp_path: Path) -> None:
    first, second = StagingArea(tmp_path / "a"), StagingArea(tmp_path / "b")

    assert first.staging_id != second.staging_id


def test_what_is_no_area_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "area.json").write_text(json.dumps({"staging_id": "PLANTED"}))

    with pytest.raises(Misconfigured) as caught:
        StagingArea(tmp_path)

    assert "PLANTED" not in str(caught.value)


def test_a_place_that_cannot_be_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(Misconfigured):
        StagingArea(tmp_path / "file" / "staging")


def test_what_waits_is_for_nobody_else(area: StagingArea) -> None:
    made = area.make_chunk(BATCH, 1, 1)

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (made.parent.parent, area.uploads)]
    assert modes == [0o700, 0o700]


def test_what_was_tidied_away_is_made_again(area: StagingArea) -> None:
    (area.path / ".work").rmdir()

    made = area.make_chunk(BATCH, 1, 1)

    assert made.is_dir()
    assert stat.S_IMODE((area.path / ".work").stat().st_mode) == 0o700


def test_an_area_that_is_not_there_is_not_made_up(area: StagingArea) -> None:
    shutil.rmtree(area.path)
    area.path.mkdir()

    with pytest.raises(StorageUnavailable):
        area.make_chunk(BATCH, 1, 1)

    assert list(area.path.iterdir()) == []


def test_a_later_claim_of_a_chunk_takes_the_place_of_earlier_ones(area: StagingArea) -> None:
    (area.make_chunk(BATCH, 1, 1) / "0.dcm").touch()
    other = area.make_chunk(BATCH, 11, 1) / "0.dcm"
    other.touch()

    made = area.make_chunk(BATCH, 1, 3)

    assert list(made.iterdir()) == []
    assert not area.chunk_directory(BATCH, 1, 1).exists()
    assert other.exists()


def test_an_earlier_claim_leaves_a_later_one_alone(area: StagingArea) -> None:
    later = area.make_chunk(BATCH, 1, 3) / "0.dcm"
    later.touch()

    area.make_chunk(BATCH, 1, 2)

    assert later.exists()


def test_the_last_chunk_takes_the_directory_of_its_batch_along(area: StagingArea) -> None:
    area.make_chunk(BATCH, 1, 1)
    area.make_chunk(BATCH, 2, 1)

    area.remove_chunk(BATCH, 1, 1)
    assert area.chunk_directory(BATCH, 2, 1).exists()
    area.remove_chunk(BATCH, 2, 1)

    assert not area.chunk_directory(BATCH, 2, 1).parent.exists()


def test_a_chunk_is_begun_while_another_takes_the_directory_along(
    area: StagingArea, monkeypatch: pytest.MonkeyPatch
) -> None:
    area.make_chunk(BATCH, 1, 1)
    glob = Path.glob
    removed = []

    def removing(path: Path, like: str):
        if not removed:
            removed.append(area.remove_chunk(BATCH, 1, 1))
        return glob(path, like)

    monkeypatch.setattr(Path, "glob", removing)

    assert area.make_chunk(BATCH, 2, 1).is_dir()
    assert removed


def test_a_chunk_is_not_begun_where_its_directory_cannot_be(
    area: StagingArea, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "mkdir", missing)

    with pytest.raises(StagingUnavailable):
        area.make_chunk(BATCH, 2, 1)


def test_what_is_gone_already_is_removed(area: StagingArea) -> None:
    area.remove_chunk(BATCH, 1, 1)
    area.remove_staged(uuid4())
    area.remove_upload("0" * 32)


def test_what_is_published_stays_when_what_waits_is_removed(area: StagingArea) -> None:
    area.make_chunk(BATCH, 1, 1)
    area.batch_directory(BATCH).mkdir()

    area.remove_staged(BATCH)

    assert area.batch_directory(BATCH).exists()
    assert not area.chunk_directory(BATCH, 1, 1).exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../area.json", "a/b"])
def test_only_uploads_are_removed_by_name(area: StagingArea, name: str) -> None:
    with pytest.raises(StorageUnavailable):
        area.remove_upload(name)

    assert (area.path / "area.json").exists()


def test_a_staged_file_is_made_once(area: StagingArea) -> None:
    path = str(area.make_chunk(BATCH, 1, 1) / "0.dcm")
    os.close(staging.create(path))

    with pytest.raises(StorageUnavailable):
        staging.create(path)


def test_published_files_may_be_read_by_the_group(area: StagingArea) -> None:
    path = area.make_chunk(BATCH, 1, 1) / "0.dcm"
    os.close(staging.create(str(path)))

    assert stat.S_IMODE(path.stat().st_mode) & ~0o640 == 0
    assert path.stat().st_mode & stat.S_IRUSR


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StagingFull),
        (errno.EDQUOT, StagingFull),
        (errno.EIO, StagingUnavailable),
    ],
)
def test_a_full_disk_is_told_from_a_broken_one(number: int, kind: type) -> None:
    error = storage_error(OSError(number, os.strerror(number), "/secret/PLANTED"))

    assert type(error) is kind
    assert "PLANTED" not in str(error)


def test_what_was_written_can_be_brought_to_disk(area: StagingArea) -> None:
    (area.make_chunk(BATCH, 1, 1) / "0.dcm").write_bytes(b"x")

    area.sync()

    assert area.free_bytes() > 0


def test_an_area_that_is_gone_says_so(area: StagingArea) -> None:
    area.path.rename(area.path.with_name("elsewhere"))

    with pytest.raises(StorageUnavailable):
        area.sync()
    with pytest.raises(StorageUnavailable):
        area.free_bytes()
    with pytest.raises(StorageUnavailable):
        area.make_chunk(BATCH, 1, 1)
