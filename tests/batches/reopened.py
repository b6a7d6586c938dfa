"""Batches that are opened again in pages: made, opened, worked on, and checked for sense."""

from collections import Counter
from collections.abc import Sequence

from app.batches.records import Batch, ScanClaim
from app.batches.states import ItemState, OnError
from tests.batches.house import BatchHouse, event, results
from tests.mapping_house import NORTH

COUNTERS = """
SELECT open_chunks, unpublished_chunks, chunks, total_files, published_files, bytes_out,
    succeeded_files AS succeeded, duplicate_files AS duplicate, ignored_files AS ignored,
    refused_files AS refused, failed_files AS failed, in_review_files AS in_review,
    succeeded_files + duplicate_files + ignored_files + refused_files + failed_files - run_files
        AS done_since, run_published
FROM batches WHERE id = %s
"""
CHUNKS = "SELECT number, state, files, bytes, sealed_files FROM batch_chunks WHERE batch = %s"
ITEMS = "SELECT seq, chunk, state, code, size FROM batch_items WHERE batch = %s"
PROBLEMS = "SELECT code, count FROM batch_problems WHERE batch = %s AND count <> 0"
FORGET_STAGED = """
UPDATE batch_chunks SET staging = NULL, epoch = epoch + 1
WHERE batch = %s AND state = 'processed' RETURNING number
"""


def agree(house: BatchHouse, batch: Batch, *, done_since: int | None = None) -> None:
    """Counters, items, chunks and problems say the same, and every file is in one place."""
    (counters,) = house.mapping.query(COUNTERS, batch.batch_id)
    chunks = house.mapping.query(CHUNKS, batch.batch_id)
    items = house.mapping.query(ITEMS, batch.batch_id)
    problems = house.mapping.query(PROBLEMS, batch.batch_id)
    is_open = {row["number"]: row["state"] in {"pending", "processing"} for row in chunks}
    is_out = {row["number"]: row["state"] == "published" for row in chunks}
    succeeded = [row for row in items if row["state"] == "succeeded"]

    assert counters["open_chunks"] == sum(is_open.values())
    assert counters["unpublished_chunks"] == len(chunks) - sum(is_out.values())
    assert counters["chunks"] > max(is_open)
    states = Counter(row["state"] for row in items)
    assert {state: counters[state] for state in ItemState} == {s: states[s] for s in ItemState}
    assert counters["bytes_out"] == sum(row["size"] for row in succeeded)
    assert counters["published_files"] == sum(is_out[row["chunk"]] for row in succeeded)
    codes = Counter(row["code"] for row in items if row["code"])
    assert {row["code"]: row["count"] for row in problems} == dict(codes)
    # Every file is decided, or in a chunk that is open; and it is in one chunk.
    waiting = sum(row["files"] for row in chunks if is_open[row["number"]])
    assert waiting + len(items) == counters["total_files"]
    seqs = [seq for row in chunks for seq in files_of(house, batch, row)]
    assert sorted(seqs) == list(range(counters["total_files"]))
    assert not [row["seq"] for row in items if is_open[row["chunk"]]]
    if done_since is not None:
        assert counters["done_since"] == done_since


def files_of(house: BatchHouse, batch: Batch, chunk: dict) -> list[int]:
    box = house.upkeep._box
    sealed = box.open_files(NORTH, batch.batch_id, chunk["number"], chunk["sealed_files"])
    assert (len(sealed), sum(file.size for file in sealed)) == (chunk["files"], chunk["bytes"])
    return [file.seq for file in sealed]


def left(house: BatchHouse, batch: Batch) -> str | None:
    """What the batch is opened again for, as long as pages are left."""
    found = house.mapping.query("SELECT reopening FROM batches WHERE id = %s", batch.batch_id)
    return found[0]["reopening"]


async def ended(house: BatchHouse, chunks: Sequence[int] = (2,) * 5, **given: object) -> Batch:
    """A batch of which the first file of each chunk is refused."""
    batch = await house.scanned(chunks, **given)
    for _ in chunks:
        await house.process(ItemState.REFUSED)
    if given.get("on_error") is OnError.SKIP:
        for _ in chunks:
            await house.publish()
        await house.finish()
    return await house.get(batch)


async def retried(house: BatchHouse, chunks: Sequence[int] = (2,) * 5, **given: object) -> Batch:
    """The same, tried again: its first page is open."""
    batch = await ended(house, chunks, **given)
    return await house.service.retry(NORTH, batch.batch_id, event())


async def claim_pages(house: BatchHouse) -> ScanClaim:
    claim = await house.work.claim_scan(house.worker, house.staging)
    assert claim is not None
    assert claim.is_reopening
    return claim


async def open_all(house: BatchHouse, batch: Batch) -> int:
    """Open all pages that are left; count them."""
    claim, count = await claim_pages(house), 1
    while await house.work.open_page(claim):
        agree(house, batch)
        count += 1
    agree(house, batch)
    return count


async def process_all(house: BatchHouse) -> list[int]:
    """De-identify all there is; return the files' numbers."""
    done = []
    while claim := await house.work.claim_chunk(house.worker, house.staging):
        assert await house.work.finish_chunk(claim, results(claim), house.staging)
        done += [file.seq for file in claim.files]
    return done


async def publish_all(house: BatchHouse) -> int:
    """Publish all that may be; count the objects."""
    count = 0
    while claim := await house.work.claim_publish(house.worker, house.staging):
        assert await house.work.finish_publish(claim)
        count += len(claim.objects)
    return count
