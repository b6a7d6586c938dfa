"""What workers and clients do to the tables, in a small batch and in one of ten million files.

Every call is the program's own; only the rows between them are made past it. What a call costs
should not depend on how large the batch is, or how many others there are.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from app.audit.events import AuditEvent
from app.batches.records import ChunkClaim, ScanClaim
from app.batches.standing import area_state
from app.batches.states import ItemState, Priority
from app.bootstrap import Gateway
from app.errors import GatewayError
from bench import made_up
from bench.house import GIB, ORGANIZATION, House, house, scratch
from bench.made_up import CHUNK
from bench.report import Spread, Table

COLUMNS: Final = ("call", "small ms", "large ms", "large against small")
SMALL_FILES: Final = 100 * CHUNK
LARGE_FILES: Final = 10_000_000
OTHERS: Final = 1000
CHUNKS_OF_OTHERS: Final = 40
GROUP: Final = 16
TURNS: Final = 30
BYTES_PER_ITEM: Final = 900
EVENT: Final = AuditEvent(action="bench", actor="bench")

# Copies of a batch in every state, with chunks; nothing in them can be opened, or is asked for.
_OTHERS: Final = """
INSERT INTO batches (id, organization, state, priority, on_error, profile, profile_version,
    destination, sealed_request, actor, request_hash, is_scanned, chunks, open_chunks,
    unpublished_chunks, submitted_at, finished_at)
SELECT gen_random_uuid(), organization, (ARRAY['processing', 'publishing', 'held', 'succeeded',
    'succeeded', 'succeeded', 'succeeded', 'succeeded', 'succeeded', 'succeeded'])[1 + n %% 10], 0,
    on_error, profile, profile_version, destination, sealed_request, actor, request_hash, true,
    %(chunks)s, %(chunks)s / 2, %(chunks)s, now() - make_interval(mins => n),
    CASE WHEN n %% 10 > 1 THEN now() END
FROM batches, generate_series(1, %(count)s) AS n WHERE id = %(batch)s::uuid
"""
_CHUNKS_OF_OTHERS: Final = """
INSERT INTO batch_chunks (batch, number, organization, state, epoch, staged_epoch, staging, files,
    bytes)
SELECT b.id, n, b.organization, CASE WHEN b.state = 'succeeded' THEN 'published'
    WHEN b.state = 'processing' AND n >= b.chunks / 2 THEN 'pending' ELSE 'processed' END,
    1, 1, w.staging, 256, 1000000
FROM batches AS b CROSS JOIN LATERAL generate_series(0, b.chunks - 1) AS n
    JOIN (SELECT staging, row_number() OVER () AS place, count(*) OVER () AS workers
        FROM batch_workers) AS w ON w.place = 1 + n %% w.workers
WHERE b.id <> %(batch)s::uuid
"""
_WORKERS: Final = """
INSERT INTO batch_workers (id, staging, seen_at)
SELECT gen_random_uuid(), gen_random_uuid(), now() + interval '1 day' FROM generate_series(1, 25)
"""
_SETTLE: Final = """
WITH done AS (UPDATE batch_chunks SET state = %(state)s, epoch = 1, staged_epoch = 1,
    staging = %(staging)s, worker = NULL
    WHERE batch = %(batch)s::uuid AND number BETWEEN %(first)s AND %(last)s RETURNING files)
UPDATE batches SET succeeded_files = succeeded_files + d.files, open_chunks = open_chunks - d.n
FROM (SELECT coalesce(sum(files), 0)::bigint AS files, count(*)::int AS n FROM done) AS d
WHERE id = %(batch)s::uuid
"""


@dataclass(slots=True)
class _Subject:
    """One batch under measurement.

    Attributes:
        taken: milliseconds by the name of the call; a text where it failed.
    """

    house: House
    gateway: Gateway
    batch: UUID
    files: int
    worker: UUID
    staging: UUID
    taken: dict[str, float | str] = field(default_factory=dict)

    @property
    def chunks(self) -> int:
        return -(-self.files // CHUNK)

    async def time(self, name: str, call: Callable[[], Awaitable[Any]], turns: int = 1) -> Any:  # noqa: ANN401 - the call's
        """Measure a call; what it answered last is returned."""
        took, answer = [], None
        for _ in range(turns):
            started = time.perf_counter()
            try:
                answer = await call()
            except GatewayError as error:
                self.taken[name] = f"fails: {error.detail} after {_since(started):.0f} s"
                return None
            took.append(_since(started) * 1e3)
        self.taken[name] = Spread.of(took).median
        return answer


def measure(*, base: Path | None, scale: float) -> Table:
    """Measure a small batch in small tables, and a large one beside a thousand others."""
    files = max(SMALL_FILES, round(LARGE_FILES * scale))
    with scratch(base, needed_bytes=2 * GIB + files * BYTES_PER_ITEM) as folder:
        small = _measured(folder, SMALL_FILES, others=0)
        large = _measured(folder, files, others=OTHERS)
    table = Table(
        f"Calls on the tables: a batch of {SMALL_FILES:,} files alone, and one of {files:,} beside "
        f"{OTHERS:,} others",
        COLUMNS,
        key="tables",
    )
    for name, ms in small.items():
        _add_row(table, name, ms, large[name])
    table.notes.append(
        f"Chunks of {CHUNK} files. Medians of up to {TURNS} calls, one after the other, on the "
        "embedded PostgreSQL (128 MB of buffers, fsync on). Calls whose work grows with the batch "
        "are said to be `whole`; of the others the cost should stay the same."
    )
    return table


def _measured(folder: Path, files: int, *, others: int) -> dict[str, float | str]:
    with house(folder) as lent:
        return asyncio.run(_measure(lent, files, others))


async def _measure(lent: House, files: int, others: int) -> dict[str, float | str]:
    async with lent.gateway() as gateway:
        subject = await _subject(lent, gateway, files)
        await _list(subject)
        if others:
            values = {"batch": str(subject.batch), "chunks": CHUNKS_OF_OTHERS}
            lent.run(_WORKERS)
            lent.run(_OTHERS, count=others, **values)
            lent.run(_CHUNKS_OF_OTHERS, batch=str(subject.batch))
        half = subject.chunks // 2
        _advance(subject, TURNS, half)
        lent.run("ANALYZE")
        await _process(subject)
        await _look(subject)
        _advance(subject, half + TURNS, subject.chunks - 1)
        await _end_processing(subject)
        await _publish(subject)
        await _retry(subject)
        await _end(subject)
        return subject.taken


async def _subject(lent: House, gateway: Gateway, files: int) -> _Subject:
    given = made_up.new_batch(ORGANIZATION, 0, priority=Priority.STAT)
    batch, _ = await gateway.batches.submit(given)
    staging = uuid4()
    worker = await gateway.work.join(staging)
    lent.run("UPDATE batch_workers SET seen_at = now() + interval '1 day'")
    return _Subject(lent, gateway, batch.batch_id, files, worker, staging)


async def _list(subject: _Subject) -> None:
    work = subject.gateway.work
    claim = await work.claim_scan(subject.worker, subject.staging)
    started = time.perf_counter()
    for first in range(0, subject.files, GROUP * CHUNK):
        if claim is None:
            raise RuntimeError("the claim is lost")
        last = min(subject.files, first + GROUP * CHUNK)
        claim = await work.add_chunks(claim, made_up.chunks(first, last))
    groups = -(-subject.chunks // GROUP)
    subject.taken[f"list: add {GROUP} chunks"] = _since(started) / groups * 1e3
    if claim is not None:
        await subject.time("list: end", lambda: work.finish_scan(claim))


async def _process(subject: _Subject) -> None:
    work = subject.gateway.work
    claims: list[ChunkClaim] = []

    async def take() -> None:
        claim = await work.claim_chunk(subject.worker, subject.staging)
        if claim is None or claim.batch_id != subject.batch:
            raise RuntimeError("not the batch that is measured")
        claims.append(claim)

    async def finish() -> None:
        await _finish_chunk(subject, claims.pop())

    await subject.time("process: claim a chunk", take, TURNS)
    await subject.time("process: record a chunk", finish, TURNS)


async def _finish_chunk(subject: _Subject, claim: ChunkClaim) -> None:
    made = made_up.results(subject.batch, claim.files)
    if not await subject.gateway.work.finish_chunk(claim, made, subject.staging):
        raise RuntimeError("the claim is lost")


async def _look(subject: _Subject) -> None:
    """Ask what is asked every few seconds, or by a client."""
    gateway, batch, middle = subject.gateway, subject.batch, subject.files // 4
    service = gateway.batches
    await subject.time("upkeep: a round", gateway.upkeep.run, 5)
    await subject.time("metrics: backlog", gateway.work.backlog, 5)
    await subject.time(
        "staging: bytes that wait", lambda: area_state(gateway.database, subject.staging), 5
    )
    await subject.time("client: a batch", lambda: service.get(ORGANIZATION, batch), TURNS)
    await subject.time("client: 50 batches", lambda: service.list(ORGANIZATION), 5)
    await subject.time(
        "client: 100 items", lambda: service.items(ORGANIZATION, batch, after=middle), 5
    )
    await subject.time(
        "client: problems",
        lambda: service.items(ORGANIZATION, batch, state=ItemState.REFUSED, after=middle),
        5,
    )
    await subject.time(
        "client: 100 originals",
        lambda: service.originals(ORGANIZATION, batch, after=-1, event=EVENT, limit=100),
        1,
    )


async def _end_processing(subject: _Subject) -> None:
    work = subject.gateway.work
    left = 0
    while claim := await work.claim_chunk(subject.worker, subject.staging):
        if claim.batch_id != subject.batch:
            raise RuntimeError("not the batch that is measured")
        left += 1
        if claim.number == subject.chunks - 1:
            await subject.time(
                "process: record the last chunk, whole",
                lambda claim=claim: _finish_chunk(subject, claim),  # type: ignore[misc]
            )
            return
        await _finish_chunk(subject, claim)
    raise RuntimeError(f"the last chunk did not come after {left}")


async def _publish(subject: _Subject) -> None:
    work = subject.gateway.work
    claims = []

    async def take() -> None:
        claims.append(await work.claim_publish(subject.worker, subject.staging))

    async def finish() -> None:
        if (claim := claims.pop()) is None or not await work.finish_publish(claim):
            raise RuntimeError("the claim is lost")

    await subject.time("publish: claim a chunk", take, TURNS)
    await subject.time("publish: record a chunk", finish, TURNS)
    await subject.time("upkeep: a round before publishing", subject.gateway.upkeep.run, 5)
    _set_state(subject, "publishing")


async def _retry(subject: _Subject) -> None:
    """One file of each chunk has failed."""
    batch = str(subject.batch)
    subject.house.run(
        "UPDATE batch_items SET state = 'failed', code = 'truncated'"
        " WHERE batch = %(batch)s::uuid AND seq %% %(chunk)s = 0",
        batch=batch,
        chunk=CHUNK,
    )
    subject.house.run(
        "UPDATE batches SET succeeded_files = succeeded_files - chunks, failed_files = chunks"
        " WHERE id = %(batch)s::uuid",
        batch=batch,
    )
    _set_state(subject, "held")
    await subject.time(
        "client: retry a file of each chunk",
        lambda: subject.gateway.batches.retry(ORGANIZATION, subject.batch, EVENT),
    )
    work = subject.gateway.work
    claim = await work.claim_scan(subject.worker, subject.staging)
    if claim is None:
        raise RuntimeError("nothing to be opened again")
    await subject.time("retry: open a page", lambda: work.open_page(claim))
    await subject.time("retry: open all other pages, whole", lambda: _open_pages(subject, claim))
    _set_state(subject, "publishing")


async def _open_pages(subject: _Subject, claim: ScanClaim) -> None:
    while await subject.gateway.work.open_page(claim):
        pass


def _set_state(subject: _Subject, state: str) -> None:
    """Leave nothing to be done but the end."""
    batch = str(subject.batch)
    subject.house.run(
        "UPDATE batch_chunks SET state = 'published', worker = NULL WHERE batch = %(batch)s::uuid",
        batch=batch,
    )
    subject.house.run(
        "UPDATE batches SET state = %(state)s, open_chunks = 0, unpublished_chunks = 0,"
        " task_worker = NULL, due_at = now() WHERE id = %(batch)s::uuid",
        batch=batch,
        state=state,
    )


async def _end(subject: _Subject) -> None:
    work, service = subject.gateway.work, subject.gateway.batches
    claim = await work.claim_finish(subject.worker, subject.staging)
    if claim is None:
        raise RuntimeError("nothing to be ended")
    started = time.perf_counter()
    pages = aiter(work.entries(claim))
    await anext(pages)
    subject.taken["manifest: first page of objects, whole"] = _since(started) * 1e3
    async for _ in pages:
        pass
    subject.taken["manifest: all objects, whole"] = _since(started) * 1e3
    await subject.time("end the batch, whole", lambda: work.finish(claim, "file:///manifest.json"))
    await subject.time(
        "client: delete the batch, whole",
        lambda: service.delete(ORGANIZATION, subject.batch, EVENT),
    )
    await subject.time("upkeep: what is left of it, whole", lambda: _forget(subject))


async def _forget(subject: _Subject) -> None:
    """Let upkeep delete what a deletion only hid."""
    batch = str(subject.batch)
    there = "SELECT EXISTS (SELECT FROM batches WHERE id = %(batch)s::uuid) AS is_there"
    while subject.house.query(there, batch=batch)[0]["is_there"]:
        await subject.gateway.upkeep.run()


def _advance(subject: _Subject, first: int, last: int) -> None:
    """Have chunks done past the program: those from ``first`` to before ``last``."""
    if last <= first:
        return
    batch = str(subject.batch)
    made_up.fill_items(subject.house, batch, first * CHUNK, last * CHUNK - 1)
    values = {"first": first, "last": last - 1, "staging": subject.staging}
    subject.house.run(_SETTLE, batch=batch, state="processed", **values)


def _add_row(table: Table, name: str, small: float | str, large: float | str) -> None:
    ratio = None
    if isinstance(small, float) and isinstance(large, float):
        ratio = large / small
    cells = [name, _text(small), _text(large), "-" if ratio is None else f"{ratio:.1f}"]
    table.add(cells, call=name, small=small, large=large, ratio=ratio, files_small=SMALL_FILES)


def _text(ms: float | str) -> str:
    return ms if isinstance(ms, str) else f"{ms:,.1f}"


def _since(started: float) -> float:
    return time.perf_counter() - started
