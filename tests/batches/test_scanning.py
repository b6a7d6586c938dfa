"""The scan: how a source is cut into chunks, from wherever an earlier one stopped."""

from pathlib import Path

import pytest

from app.batches.opening import OpenSources
from app.batches.records import Request
from app.batches.scanning import Chunks, ScanBounds, Scanner
from app.batches.states import BatchState, ItemState, OnError
from app.errors import LimitExceeded, NotARegularFile, StagingTooSmall, UnreadableFile
from app.storage.found import Found
from app.storage.roots import Roots
from app.storage.sources import ArchiveBounds, Sources
from app.storage.stores import Stores
from app.storage.uploads import Uploads
from tests.batches.house import BatchHouse, event

pytestmark = pytest.mark.db


def found(*sizes: int) -> list[Found]:
    return [Found(f"{number:03d}", size) for number, size in enumerate(sizes)]


def bounds(**given: int) -> ScanBounds:
    return ScanBounds(**({"chunk_files": 4, "chunk_bytes": 1000, "max_files": 100} | given))


def test_a_chunk_is_closed_by_its_number_of_files() -> None:
    chunks = Chunks(iter(found(*[1] * 10)), 7, bounds()).take(9)

    assert [[file.seq for file in chunk] for chunk in chunks] == [
        [7, 8, 9, 10],
        [11, 12, 13, 14],
        [15, 16],
    ]


def test_a_chunk_is_closed_by_its_bytes() -> None:
    chunks = Chunks(iter(found(600, 600, 5000, 1, 1)), 0, bounds()).take(9)

    assert [[file.size for file in chunk] for chunk in chunks] == [[600, 600], [5000], [1, 1]]


def test_chunks_are_taken_in_groups() -> None:
    chunks = Chunks(iter(found(*[1] * 10)), 0, bounds())

    assert [len(chunks.take(2)) for _ in range(3)] == [2, 1, 0]


def test_what_is_not_opened_is_listed_with_its_reason() -> None:
    odd = [Found("fifo", 0, NotARegularFile), Found("locked", 9, UnreadableFile)]

    [[fifo, locked]] = Chunks(iter(odd), 0, bounds()).take(1)

    assert (fifo.code, fifo.state) == ("not-a-regular-file", ItemState.REFUSED)
    assert (locked.code, locked.state) == ("unreadable-file", ItemState.FAILED)


def test_a_source_with_more_files_than_a_batch_may_have_is_refused() -> None:
    with pytest.raises(LimitExceeded):
        Chunks(iter(found(*[1] * 3)), 0, bounds(max_files=2)).take(1)
    assert Chunks(iter(found(*[1] * 2)), 0, bounds(max_files=2)).take(1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "incoming"
    for number in range(10):
        path = root / f"DOE^JANE {number // 4}" / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 100)
    return root


def scanner(house: BatchHouse, root: Path, **given: int) -> Scanner:
    sources = Sources(
        Roots([root]),
        Stores.from_file(None),
        uploads=Uploads(root.parent / "uploads"),
        spool=root.parent,
        bounds=ArchiveBounds(),
    )
    return Scanner(house.work, OpenSources(sources.open), bounds(**given))


async def submitted(house: BatchHouse, root: Path, **given: object):
    source = {"kind": "directory", "root": str(root), "path": "."}
    batch = await house.submit(request=Request(source, {"kind": "staging"}), **given)
    return batch, await house.work.claim_scan(house.worker, house.staging)


async def test_every_file_of_a_directory_comes_into_a_chunk(house: BatchHouse, root: Path) -> None:
    batch, claim = await submitted(house, root)

    assert await scanner(house, root).run(claim, scanned_bytes=0, may_go_on=lambda: True)

    listed = await house.get(batch)
    assert (listed.is_scanned, listed.total_files, listed.total_bytes) == (True, 10, 1000)
    assert house.tickets()["process"] == 3


async def test_a_scan_that_was_stopped_goes_on_where_it_stopped(
    house: BatchHouse, root: Path
) -> None:
    batch, claim = await submitted(house, root)
    answers = iter([True, False])
    assert not await scanner(house, root).run(
        claim, scanned_bytes=0, may_go_on=lambda: next(answers)
    )
    await house.work.give_back(claim)
    assert (await house.get(batch)).total_files == 4

    following = await house.work.claim_scan(house.worker, house.staging)
    assert await scanner(house, root).run(following, scanned_bytes=400, may_go_on=lambda: True)

    names = [file.name for _ in range(3) for file in (await house.claim()).files]
    assert len(set(names)) == len(names) == 10
    assert (await house.get(batch)).total_files == 10


async def test_a_scan_whose_claim_is_lost_ends(house: BatchHouse, root: Path) -> None:
    batch, claim = await submitted(house, root)
    await house.service.cancel(batch.organization, batch.batch_id, event())

    assert not await scanner(house, root).run(claim, scanned_bytes=0, may_go_on=lambda: True)

    assert (await house.get(batch)).total_files == 0


async def test_a_batch_that_is_held_back_must_fit_the_staging_area(
    house: BatchHouse, root: Path
) -> None:
    _, claim = await submitted(house, root)

    with pytest.raises(StagingTooSmall):
        await scanner(house, root, max_held_bytes=999).run(
            claim, scanned_bytes=0, may_go_on=lambda: True
        )


async def test_what_an_earlier_scan_listed_counts_as_well(house: BatchHouse, root: Path) -> None:
    _, claim = await submitted(house, root)

    with pytest.raises(StagingTooSmall):
        await scanner(house, root, max_held_bytes=1500).run(
            claim, scanned_bytes=501, may_go_on=lambda: True
        )


async def test_a_batch_that_is_published_bit_by_bit_need_not_fit(
    house: BatchHouse, root: Path
) -> None:
    batch, claim = await submitted(house, root, on_error=OnError.SKIP)

    assert await scanner(house, root, max_held_bytes=10).run(
        claim, scanned_bytes=0, may_go_on=lambda: True
    )

    assert (await house.get(batch)).state is BatchState.PROCESSING
