"""Whether there is room in a staging area, and how much of it a batch may hold that waits."""

import os
from pathlib import Path

import pytest

from app.batches.room import Bounds, RoomState, state_of
from app.batches.staging import StagingArea
from app.batches.standing import AreaState


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


def test_free_space_is_never_touched() -> None:
    bounds = Bounds(max_bytes=100, min_free_bytes=50)
    empty, full = AreaState(0, drains=False), AreaState(100, drains=True)
    stuck = AreaState(100, drains=False)

    assert state_of(bounds, 49, empty) is RoomState.DISK
    assert state_of(bounds, 50, empty) is RoomState.OPEN
    assert state_of(bounds, 50, full) is RoomState.BYTES
    assert state_of(bounds, 50, stuck) is RoomState.OPEN
    assert state_of(Bounds(), 0, full) is RoomState.OPEN
