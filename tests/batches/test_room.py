"""What a staging area can hold of a batch that waits until it is whole."""

import os
from pathlib import Path

import pytest

from app.batches.room import Bounds
from app.batches.staging import StagingArea


@pytest.mark.parametrize(
    ("bounds", "most"),
    [
        (Bounds(), 1000),
        (Bounds(min_free_bytes=300), 700),
        (Bounds(max_bytes=500), 500),
        (Bounds(max_bytes=900, min_free_bytes=300), 700),
    ],
    ids=["the disk", "what must stay free", "the bound", "the smaller of both"],
)
def test_the_disk_bounds_what_is_held_back_with_or_without_a_bound(
    bounds: Bounds, most: int
) -> None:
    assert bounds.most_held(1000) == most


def test_a_disk_that_must_stay_free_holds_no_batch_rather_than_any() -> None:
    assert Bounds(min_free_bytes=2000).most_held(1000) == 1  # 0 would mean no bound


def test_the_capacity_is_that_of_the_file_system(tmp_path: Path) -> None:
    area = StagingArea(tmp_path / "staging")
    state = os.statvfs(tmp_path)

    assert area.capacity_bytes() == state.f_blocks * state.f_frsize
    assert area.capacity_bytes() >= area.free_bytes()
