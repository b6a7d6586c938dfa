"""A published batch is checked against its manifest: what is whole passes, what is not is found."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.batches import verifying
from app.batches.imaging_study import IMAGING_STUDY_NAME
from app.batches.shelves import MAX_DEPTH, DirectoryShelf, Fault, Finding
from app.batches.verifying import SignatureState, verify
from app.errors import StorageUnavailable
from tests.batches.published import (
    BATCH,
    FIRST,
    KEYS,
    RESOURCE,
    STUDIES,
    checked,
    content_of,
    entries,
    entry,
    name_of,
    publish,
)

# What is whole


def test_a_batch_as_it_was_published_is_complete_and_authentic(batch: Path) -> None:
    outcome = checked(batch)

    assert outcome.is_complete
    assert outcome.signature is SignatureState.VALID
    assert outcome.checked_files == 5
    assert outcome.checked_bytes == sum(one.size for one in entries())


def test_progress_adds_up_to_the_whole(batch: Path) -> None:
    steps: list[tuple[int, int]] = []
    with DirectoryShelf(batch) as shelf:
        asyncio.run(verify(shelf, KEYS, jobs=1, advance=lambda *step: steps.append(step)))

    assert [sum(step[place] for step in steps) for place in (0, 1)] == [
        5,
        sum(one.size for one in entries()),
    ]


def test_a_batch_without_objects_is_complete(tmp_path: Path) -> None:
    (tmp_path / "batch").mkdir()

    assert checked(publish(tmp_path / "batch", [])).is_complete


def test_a_batch_with_fhir_resources_is_complete_and_authentic(described: Path) -> None:
    outcome = checked(described)

    assert outcome.is_complete
    assert outcome.signature is SignatureState.VALID
    assert outcome.unknown == 0


def test_fhir_resources_are_not_counted_as_objects(described: Path) -> None:
    outcome = checked(described)

    assert outcome.checked_files == 5
    assert outcome.checked_bytes == sum(one.size for one in entries())


def test_a_file_that_is_no_dicom_object_is_counted_and_no_obstacle(batch: Path) -> None:
    (batch / "Thumbs.db").write_bytes(bytes(500))
    (batch / "empty").write_bytes(b"")

    outcome = checked(batch)

    assert outcome.is_complete
    assert outcome.unknown == 2


def test_a_directory_named_for_its_batch_is_fine(tmp_path: Path) -> None:
    assert checked(publish(tmp_path / str(BATCH))).is_complete


def test_many_objects_are_compared_by_several_readers(tmp_path: Path) -> None:
    batch = publish(tmp_path, [entry(number) for number in range(1000, 1300)])
    (batch / name_of(entry(1150))).unlink()

    outcome = checked(batch, jobs=4)

    assert outcome.checked_files == 300
    assert outcome.findings == [Finding(Fault.MISSING, name_of(entry(1150)))]


# Objects


def remove(path: Path) -> None:
    path.unlink()


def remove_series(path: Path) -> None:
    for one in path.parent.iterdir():
        one.unlink()
    path.parent.rmdir()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def extend(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def link(path: Path) -> None:
    path.rename(path.parents[3] / "elsewhere")
    path.symlink_to(path.parents[3] / "elsewhere")


def link_series(path: Path) -> None:
    path.parent.rename(path.parents[3] / "elsewhere")
    path.parent.symlink_to(path.parents[3] / "elsewhere")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("tamper", "fault"),
    [
        (remove, Fault.MISSING),
        (cut, Fault.WRONG_SIZE),
        (extend, Fault.WRONG_SIZE),
        (flip, Fault.WRONG_HASH),
        (link, Fault.UNREADABLE),
        (pipe, Fault.UNREADABLE),
        (directory, Fault.UNREADABLE),
    ],
)
def test_an_object_that_is_not_as_listed_is_found(
    batch: Path, tamper: Callable[[Path], None], fault: Fault
) -> None:
    tamper(batch / FIRST)

    outcome = checked(batch)

    assert not outcome.is_complete
    assert outcome.findings == [Finding(fault, FIRST)]
    assert outcome.faults == {fault: 1}
    assert outcome.signature is SignatureState.VALID


@pytest.mark.parametrize(
    ("tamper", "fault"),
    [
        (remove, Fault.MISSING),
        (cut, Fault.WRONG_SIZE),
        (extend, Fault.WRONG_SIZE),
        (flip, Fault.WRONG_HASH),
        (pipe, Fault.UNREADABLE),
        (directory, Fault.UNREADABLE),
    ],
)
def test_a_fhir_resource_that_is_not_as_listed_is_found(
    described: Path, tamper: Callable[[Path], None], fault: Fault
) -> None:
    tamper(described / RESOURCE)

    outcome = checked(described)

    assert not outcome.is_complete
    assert outcome.findings == [Finding(fault, RESOURCE)]
    assert outcome.signature is SignatureState.VALID


def test_a_series_that_is_gone_is_found(batch: Path) -> None:
    remove_series(batch / FIRST)

    assert checked(batch).faults == {Fault.MISSING: 2}


def test_a_series_that_is_a_link_is_not_followed(batch: Path) -> None:
    link_series(batch / FIRST)

    assert not checked(batch).is_complete


def test_an_object_without_rights_is_found(batch: Path, deny: Callable[[str, int], None]) -> None:
    deny("2.25.3001.dcm", errno.EACCES)

    assert checked(batch).findings == [Finding(Fault.UNREADABLE, FIRST)]


@pytest.mark.parametrize("name", [FIRST, "readme"])
def test_a_lack_of_descriptors_is_not_taken_for_a_fault_of_an_object(
    batch: Path, deny: Callable[[str, int], None], name: str
) -> None:
    (batch / "readme").write_text("text")
    deny(Path(name).name, errno.EMFILE)

    with pytest.raises(StorageUnavailable):
        checked(batch)


def test_a_file_that_cannot_be_looked_into_may_be_a_dicom_object(
    batch: Path, deny: Callable[[str, int], None]
) -> None:
    (batch / "readme").write_text("text")
    deny("readme", errno.EACCES)

    assert checked(batch).findings == [Finding(Fault.UNEXPECTED, "readme")]


def test_a_directory_that_cannot_be_listed_is_found(
    batch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("2.25.2000"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)

    assert checked(batch).findings == [Finding(Fault.UNREADABLE, f"{STUDIES[0]}/2.25.2000")]


def test_findings_are_counted_beyond_those_that_are_kept(
    batch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "MAX_FINDINGS", 1)
    remove_series(batch / FIRST)

    outcome = checked(batch)

    assert len(outcome.findings) == 1
    assert outcome.faults[Fault.MISSING] == 2


# What is not listed


@pytest.mark.parametrize(
    "name",
    [
        "extra.dcm",
        "EXTRA.DCM",
        "IM0001",
        f"{STUDIES[0]}/2.25.2000/2.25.9.dcm",
        f"{STUDIES[0]}/.2.25.3001.dcm.part",
        "deep/er/IM0001",
    ],
)
def test_a_dicom_object_that_is_not_listed_is_found(batch: Path, name: str) -> None:
    (batch / name).parent.mkdir(parents=True, exist_ok=True)
    (batch / name).write_bytes(content_of(99))

    assert checked(batch).findings == [Finding(Fault.UNEXPECTED, name)]


def test_a_file_named_as_dicom_is_one_whatever_it_holds(batch: Path) -> None:
    (batch / "text.dcm").write_text("text")

    assert checked(batch).faults == {Fault.UNEXPECTED: 1}


def test_a_link_that_is_not_listed_is_found(batch: Path) -> None:
    (batch / "link").symlink_to(batch / FIRST)
    (batch / "directory").symlink_to(batch / STUDIES[0])

    assert checked(batch).faults == {Fault.UNEXPECTED: 2}


def test_a_pipe_that_is_not_listed_is_found_and_not_opened(batch: Path) -> None:
    os.mkfifo(batch / "pipe")

    assert checked(batch).findings == [Finding(Fault.UNEXPECTED, "pipe")]


def test_directories_too_deep_to_be_looked_into_are_found(batch: Path) -> None:
    (batch / "/".join("d" * (MAX_DEPTH + 1))).mkdir(parents=True)

    assert checked(batch).faults == {Fault.UNEXPECTED: 1}


def test_a_name_that_is_no_text_is_reported(batch: Path) -> None:
    (Path(os.fsdecode(os.fsencode(batch) + b"/\xff.dcm"))).write_bytes(b"")

    assert checked(batch).findings == [Finding(Fault.UNEXPECTED, "\udcff.dcm")]


@pytest.mark.parametrize(
    "name",
    [
        RESOURCE,
        RESOURCE.replace(IMAGING_STUDY_NAME, "ImagingStudy.JSON"),
        f"{STUDIES[0]}/2.25.2000/{IMAGING_STUDY_NAME}",
        f"other/{IMAGING_STUDY_NAME}",
        IMAGING_STUDY_NAME,
    ],
)
def test_a_fhir_resource_that_is_not_listed_is_found(batch: Path, name: str) -> None:
    (batch / name).parent.mkdir(exist_ok=True)
    (batch / name).write_text("{}")

    outcome = checked(batch)

    assert outcome.findings == [Finding(Fault.UNEXPECTED, name)]
    assert outcome.unknown == 0


def test_a_file_of_another_batch_is_found(batch: Path) -> None:
    publish(batch / "inner")

    assert checked(batch).faults == {Fault.UNEXPECTED: 5}


def test_a_place_that_cannot_be_listed_does_not_pass(
    batch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(DirectoryShelf, "_walk", fail)

    with pytest.raises(StorageUnavailable):
        checked(batch)
