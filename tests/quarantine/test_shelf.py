import errno
import os
from pathlib import Path
from uuid import uuid4

import pytest

from app.errors import (
    HeldObjectDamaged,
    Misconfigured,
    PixelsNeedReview,
    QuarantineFull,
    StorageUnavailable,
)
from app.quarantine.shelf import Shelf


def fill(shelf: Shelf, size: int):
    object_id = uuid4()
    shelf.put(object_id, [b"x" * size], size)
    return object_id


def test_the_directory_and_its_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "held", 1000)
    object_id = fill(shelf, 10)

    assert (tmp_path / "held").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "held" / str(object_id)).stat().st_mode & 0o777 == 0o600


def test_a_directory_that_is_open_to_others_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "held").mkdir()
    (tmp_path / "held").chmod(0o750)

    with pytest.raises(Misconfigured, match="0700"):
        Shelf(tmp_path / "held", 1000)


def test_a_link_or_a_file_in_its_place_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "else").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "else")
    (tmp_path / "file").touch(mode=0o600)

    for name in ("link", "file"):
        with pytest.raises(Misconfigured):
            Shelf(tmp_path / name, 1000)


def test_what_does_not_fit_is_refused_before_it_is_written(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "held", 1000)
    fill(shelf, 600)

    def never():
        raise AssertionError
        yield b""

    with pytest.raises(QuarantineFull):
        shelf.put(uuid4(), never(), 401)
    fill(shelf, 400)
    assert len(list((tmp_path / "held").iterdir())) == 2


def test_what_is_larger_than_all_the_room_is_not_told_to_wait(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "held", 1000)

    with pytest.raises(PixelsNeedReview):
        fill(shelf, 1001)
    assert list((tmp_path / "held").iterdir()) == []


def test_what_is_being_written_counts(tmp_path: Path) -> None:
    shelf, other = Shelf(tmp_path / "held", 1000), Shelf(tmp_path / "held", 1000)

    def pieces():
        yield b"x" * 300
        with pytest.raises(QuarantineFull):
            fill(other, 401)
        yield b"x" * 300

    shelf.put(uuid4(), pieces(), 600)


def test_what_is_taken_away_makes_room(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "held", 1000)
    object_id = fill(shelf, 1000)

    shelf.remove(object_id)
    shelf.remove(object_id)

    fill(shelf, 1000)
    with pytest.raises(HeldObjectDamaged), shelf.opened(object_id):
        pass


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, QuarantineFull),
        (errno.EDQUOT, QuarantineFull),
        (errno.EIO, StorageUnavailable),
    ],
)
def test_a_disk_that_fails_leaves_nothing(tmp_path: Path, number: int, error: type) -> None:
    shelf = Shelf(tmp_path / "held", 1000)

    def pieces():
        yield b"x" * 10
        raise OSError(number, os.strerror(number))

    with pytest.raises(error):
        shelf.put(uuid4(), pieces(), 20)
    assert list((tmp_path / "held").iterdir()) == []


def test_a_name_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    shelf, object_id = Shelf(tmp_path / "held", 1000), uuid4()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "held" / str(object_id)).symlink_to(tmp_path / "secret")

    with pytest.raises(HeldObjectDamaged), shelf.opened(object_id):
        pass


def test_sweeping_takes_what_belongs_to_nothing_and_is_old(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "held", 1000)
    held, orphan, fresh = (fill(shelf, 10) for _ in range(3))
    part = tmp_path / "held" / f"{uuid4()}.part"
    part.touch()
    for old in (tmp_path / "held" / str(held), tmp_path / "held" / str(orphan), part):
        os.utime(old, (1, 1))

    assert shelf.sweep({held}) == 2

    left = {path.name for path in (tmp_path / "held").iterdir()}
    assert left == {str(held), str(fresh)}


def test_sweeping_leaves_directories_of_the_volume_alone(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "held", 1 << 20)
    (tmp_path / "held" / "lost+found").mkdir()
    orphan = tmp_path / "held" / str(fill(shelf, 10))
    for old in (tmp_path / "held" / "lost+found", orphan):
        os.utime(old, (1, 1))

    assert shelf.sweep(set()) == 1

    assert [path.name for path in (tmp_path / "held").iterdir()] == ["lost+found"]
