"""What is no manifest, or not that of the batch around it, is found."""

import asyncio
import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.batches import verifying
from app.batches.manifest import MANIFEST_NAME
from app.batches.shelves import DirectoryShelf
from app.batches.verifying import SignatureState, verify
from app.errors import StorageUnavailable
from tests.batches.published import (
    FIRST,
    HEADER,
    KEYS,
    STUDIES,
    change,
    checked,
    entries,
    first_instance,
    manifest_of,
    publish,
    written,
)


def test_a_directory_without_a_manifest_is_not_complete(batch: Path) -> None:
    (batch / MANIFEST_NAME).unlink()

    outcome = checked(batch)

    assert outcome.problem == "there is no manifest.json"
    assert not outcome.is_complete


def test_a_manifest_that_is_a_link_is_none(batch: Path, tmp_path: Path) -> None:
    (batch / MANIFEST_NAME).rename(tmp_path / "elsewhere")
    (batch / MANIFEST_NAME).symlink_to(tmp_path / "elsewhere")

    assert not checked(batch).is_complete


def test_a_manifest_that_is_a_pipe_is_none(batch: Path) -> None:
    (batch / MANIFEST_NAME).unlink()
    os.mkfifo(batch / MANIFEST_NAME)

    assert not checked(batch).is_complete


def test_a_manifest_that_is_a_directory_is_none(batch: Path) -> None:
    (batch / MANIFEST_NAME).unlink()
    (batch / MANIFEST_NAME).mkdir()

    assert checked(batch).problem == "there is no manifest.json"


def test_a_manifest_without_rights_is_no_outcome(
    batch: Path, deny: Callable[[str, int], None]
) -> None:
    deny(MANIFEST_NAME, errno.EACCES)

    with pytest.raises(StorageUnavailable):
        checked(batch)


@pytest.mark.parametrize(
    "file",
    [
        "../../../etc/passwd",
        "/etc/passwd",
        f"{STUDIES[0]}/../2.25.3001.dcm",
        f"{STUDIES[0]}/2.25.2000/../2.25.3001.dcm",
        f"{STUDIES[0]}//2.25.3001.dcm",
        f"./{FIRST}",
        f"/{FIRST}",
        f"{FIRST}/",
        f"{FIRST}\0",
        f"{FIRST}\n",
        FIRST.replace("/", "\\"),
        f"file:///{FIRST}",
        FIRST.replace("2.25.3001", "2.25.3002"),
        FIRST.replace("2.25.2000", "2.25.2001"),
        FIRST.replace("2.25.2000", "no-series"),
        FIRST.replace(STUDIES[0], STUDIES[1]),
        "",
    ],
)
def test_a_path_that_is_not_that_of_its_instance_is_refused(batch: Path, file: str) -> None:
    content = manifest_of(batch)
    first_instance(content)["file"] = file
    change(batch, content)

    outcome = checked(batch, None)

    assert outcome.problem.startswith("studies.0")
    assert outcome.checked_files == 0


@pytest.mark.parametrize(("series", "instance"), [(0, 0), (0, 1), (1, 0)])
def test_an_instance_that_lies_in_another_series_is_refused(
    batch: Path, series: int, instance: int
) -> None:
    content = manifest_of(batch)
    moved = content["studies"][0]["series"][series]["instances"][instance]
    moved["file"] = moved["file"].replace("2.25.200", "2.25.201")
    change(batch, content)

    assert "series" in checked(batch, None).problem


def test_a_study_of_no_series_is_refused(batch: Path) -> None:
    content = json.loads(written([]))
    content["studies"] = [{**manifest_of(batch)["studies"][0], "series": [], "image_count": 0}]
    content["total_studies"] = content["totals"]["studies"] = 1
    change(batch, content)

    assert "lists no series" in checked(batch, None).problem


def test_a_series_of_no_instance_is_refused(batch: Path) -> None:
    content = manifest_of(batch)
    content["studies"][0]["series"][0]["instances"] = []
    change(batch, content)

    assert "lists no instance" in checked(batch, None).problem


def test_a_series_that_moved_to_another_study_is_refused(batch: Path) -> None:
    content = manifest_of(batch)
    moved = content["studies"][0]["series"].pop()
    content["studies"][1]["series"].append(moved)
    content["studies"][0]["image_count"] -= 1
    content["studies"][1]["image_count"] += 1
    change(batch, content)

    assert "another study" in checked(batch, None).problem


@pytest.mark.parametrize(
    "tamper",
    [
        lambda content: content["studies"][0].update(image_count=4),
        lambda content: content.update(total_images=4),
        lambda content: content.update(total_studies=1),
        lambda content: content["totals"].update(bytes=0),
        lambda content: content["totals"].update(series=3),
        lambda content: content["studies"][0]["series"][0].update(instances=[]),
        lambda content: content["studies"][0].update(series=[]),
        lambda content: content["studies"].pop(),
    ],
    ids=range(8),
)
def test_counts_that_do_not_fit_are_refused(
    batch: Path, tamper: Callable[[dict[str, Any]], None]
) -> None:
    content = manifest_of(batch)
    tamper(content)
    change(batch, content)

    assert checked(batch, None).problem


def test_an_object_that_is_listed_twice_is_refused(batch: Path) -> None:
    content = manifest_of(batch)
    instances = content["studies"][0]["series"][0]["instances"]
    instances.append(instances[0])
    content["studies"][0]["image_count"] += 1
    content["total_images"] += 1
    content["totals"]["instances"] += 1
    content["totals"]["bytes"] += instances[0]["size"]
    change(batch, content)

    assert "listed twice" in checked(batch, None).problem


def test_a_study_that_is_listed_twice_is_refused(batch: Path) -> None:
    content = manifest_of(batch)
    whole = content["studies"][0]
    content["studies"].append({**whole, "series": [whole["series"].pop()], "image_count": 1})
    whole["image_count"] -= 1
    content["total_studies"] += 1
    content["totals"]["studies"] += 1
    change(batch, content)

    assert "listed twice" in checked(batch, None).problem


def test_a_study_that_is_listed_twice_in_a_row_is_refused(batch: Path) -> None:
    content = manifest_of(batch)
    whole = content["studies"][0]
    content["studies"].insert(1, {**whole, "series": [whole["series"].pop()], "image_count": 1})
    whole["image_count"] -= 1
    content["total_studies"] += 1
    content["totals"]["studies"] += 1
    change(batch, content)

    assert "listed twice" in checked(batch, None).problem


def test_the_manifest_of_another_batch_is_refused(tmp_path: Path) -> None:
    batch = publish(tmp_path / "6f1c2e5a-1111-4222-8333-000000000000")

    assert "another batch" in checked(batch).problem


def test_a_manifest_that_changes_while_objects_are_compared_is_refused(
    batch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = DirectoryShelf(batch)
    signature_state = verifying._signature_state

    def change_then(*given: Any) -> SignatureState:
        with (batch / MANIFEST_NAME).open("r+b") as file:
            file.write(written(entries(), header=replace(HEADER, revision=2)))
        return signature_state(*given)

    monkeypatch.setattr(verifying, "_signature_state", change_then)
    with shelf:
        outcome = asyncio.run(verify(shelf, KEYS, jobs=2))

    assert "changed" in outcome.problem
    assert not outcome.is_complete
