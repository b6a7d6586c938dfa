"""Many nodes and a thousand million objects: a simulation by events, fed with measured figures.

A worker's unit here is a group of objects that share a commit; groups make up chunks. Groups of
one organisation follow each other at the head of its audit chain, chunks of one batch at its row;
PostgreSQL's processors, its log, the nodes' lines and the object store serve one after the other.
``python -m bench --what simulation`` runs it on the figures of the same run, or of an earlier one.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

SEED: Final = 20_261_121
GROUP: Final = 64
"""Objects of one worker process that share a commit, about; up to 128 are in flight."""
_STORE_SLACK_S: Final = 2.0
_COMPUTED_MEANWHILE: Final = 2
"""Objects that a worker finishes before it goes on with a commit, by a sample of waits."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What one object, group and chunk cost; measured.

    Attributes:
        worker_ms: processor time of a worker process for one object, publishing included.
        database_ms: the same of PostgreSQL.
        mapping_ms: of that, what mapping and audit of one object take.
        held_ms: how long a group of 64 holds the head of its organisation.
        claim_ms: processor time of PostgreSQL to claim a chunk.
        record_ms: how long 256 files of a chunk hold the row of their batch.
        manifest_us: of each object at the end of a batch.
        wal_bytes: written ahead for one object.
        page_wal_bytes: more of it once the mapping is larger than memory.
        kept_bytes: what stays of one object in the database.
    """

    object_bytes: float
    worker_ms: float
    database_ms: float
    mapping_ms: float
    held_ms: float
    claim_ms: float
    record_ms: float
    manifest_us: float
    wal_bytes: float
    page_wal_bytes: float
    kept_bytes: float


@dataclass(frozen=True, slots=True)
class Site:
    """What it runs on; assumed, but for the site of the validation.

    Attributes:
        nodes: machines with workers, one process for each core.
        line_bytes_per_s: of one node, in each direction.
        store_puts_per_s: what the object store takes from everybody.
        log_bytes_per_s: what PostgreSQL's disk takes of its log.
        is_shared: PostgreSQL lives on the cores of the (one) node.
        lanes: chains of commits in PostgreSQL, one for each organisation at work.
        batches: at work at the same time.
    """

    nodes: int
    cores: int = 16
    database_cores: int = 16
    line_bytes_per_s: float = 1.25e9
    store_puts_per_s: float = 3_500.0
    log_bytes_per_s: float = 500e6
    organizations: int = 1
    batches: int = 8
    chunk_files: int = 128
    is_shared: bool = False
    is_mapping_large: bool = True

    @property
    def workers(self) -> int:
        """Worker processes in all."""
        return self.nodes * self.cores


@dataclass(slots=True)
class Server:
    """Serves in the order of arrival, several at a time; counts how long it was busy."""

    width: int
    busy_s: float = 0.0
    _free: list[float] = field(default_factory=list)

    def serve(self, now: float, seconds: float) -> float:
        """Return when what arrives now is done."""
        begin = now
        if len(self._free) >= self.width:
            begin = max(now, heapq.heappop(self._free))
        heapq.heappush(self._free, begin + seconds)
        self.busy_s += seconds
        return begin + seconds


@dataclass(slots=True)
class Lock:
    """Held by one at a time, in the order of arrival."""

    busy_s: float = 0.0
    _since: float | None = None
    _waiting: deque[Callable[[], None]] = field(default_factory=deque)

    def acquire(self, now: float, go_on: Callable[[], None]) -> None:
        """Go on at once, or when those before are done."""
        if self._since is None:
            self._since = now
            go_on()
        else:
            self._waiting.append(go_on)

    def release(self, now: float) -> None:
        """Let the next one go on."""
        self.busy_s += now - (self._since if self._since is not None else now)
        self._since = None
        if self._waiting:
            self._since = now
            self._waiting.popleft()()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        rate: objects per second.
        loads: share of the time that each part was busy, the busiest of its kind.
    """

    rate: float
    loads: dict[str, float]

    @property
    def bottleneck(self) -> str:
        """The busiest part."""
        return max(self.loads, key=lambda name: self.loads[name])


class Simulation:
    """One site at work, for so many simulated seconds or objects."""

    def __init__(self, costs: Costs, site: Site) -> None:
        self.costs = costs
        self.site = site
        self.now = 0.0
        self.done = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.nodes = [Server(site.cores) for _ in range(site.nodes)]
        self.lines = [Server(1) for _ in range(site.nodes)]
        self.database = self.nodes[0] if site.is_shared else Server(site.database_cores)
        self.log = Server(1)
        self.store = Server(1)
        self.heads = [Lock() for _ in range(site.organizations)]
        self.rows = [Lock() for _ in range(site.batches)]
        chosen = random.Random(SEED)  # noqa: S311 - no secret
        for number in range(site.workers):
            worker = _Worker(self, number)
            # Not all in step: each begins somewhere within its first chunk.
            self.at(chosen.uniform(0, site.chunk_files * costs.worker_ms / 1e3), worker.claim)

    def at(self, moment: float, go_on: Callable[[], None]) -> None:
        """Have something happen at a moment."""
        self._count += 1
        heapq.heappush(self._events, (moment, self._count, go_on))

    def run(
        self, *, seconds: float = float("inf"), objects: float = float("inf"), begin_s: float = 0.0
    ) -> Outcome:
        """Run until the time is over or the objects are done.

        Args:
            seconds: of simulated time.
            objects: so many are enough.
            begin_s: what was before is not counted.
        """
        while self._events and self.now < begin_s:
            self._step()
        began, done, before = self.now, self.done, self._busy()
        while self._events and self.now < seconds and self.done < objects:
            self._step()
        took = self.now - began
        loads = {name: (busy - before[name]) / took for name, busy in self._busy().items()}
        return Outcome((self.done - done) / took, loads)

    def _step(self) -> None:
        self.now, _, go_on = heapq.heappop(self._events)
        go_on()

    def _busy(self) -> dict[str, float]:
        return {
            "worker cores": max(node.busy_s / node.width for node in self.nodes),
            "database cores": self.database.busy_s / self.database.width,
            "database log": self.log.busy_s,
            "audit head of an organisation": max(head.busy_s for head in self.heads),
            "row of a batch": max(row.busy_s for row in self.rows),
            "line of a node": max(line.busy_s for line in self.lines),
            "object store": self.store.busy_s,
        }


class _Worker:
    """One worker process: computes a group while the one before is committed."""

    def __init__(self, world: Simulation, number: int) -> None:
        self._world = world
        site = world.site
        self._node = world.nodes[number % site.nodes]
        self._line = world.lines[number % site.nodes]
        self._head = world.heads[number % site.organizations]
        self._row = world.rows[number % site.batches]
        self._left = 0
        self._is_committing = self._is_recording = self._has_chunk = False
        self._waiting: Callable[[], None] | None = None

    def claim(self) -> None:
        world = self._world
        self._left = world.site.chunk_files
        claimed = world.database.serve(world.now, world.costs.claim_ms / 1e3)
        world.at(claimed, self._compute)

    def _compute(self) -> None:
        world, size = self._world, min(GROUP, self._left)
        computed = self._node.serve(world.now, size * world.costs.worker_ms / 1e3)
        # Read and written at the same time: a line has two directions.
        moved = self._line.serve(
            world.now, size * world.costs.object_bytes / world.site.line_bytes_per_s
        )
        world.at(max(computed, moved), lambda: self._computed(size))

    def _computed(self, size: int) -> None:
        if self._is_committing:  # one group of a process at a time
            self._waiting = lambda: self._computed(size)
            return
        self._is_committing = True
        self._left -= size
        world = self._world
        world.store.serve(world.now, size / world.site.store_puts_per_s)
        mapped = world.database.serve(world.now, size * world.costs.mapping_ms / 1e3)
        world.at(mapped, lambda: self._head.acquire(world.now, lambda: self._commit(size)))
        if self._left:
            self._compute()
        elif self._is_recording:
            self._has_chunk = True
        else:
            self._record()

    def _commit(self, size: int) -> None:
        """Append to the audit and commit; the head is held while it lasts."""
        world, costs = self._world, self._world.costs
        written = size * (costs.wal_bytes + costs.page_wal_bytes * world.site.is_mapping_large)
        logged = world.log.serve(world.now, written / world.site.log_bytes_per_s)
        # Round trips, the same for fewer objects; and the process is computing others meanwhile.
        held = world.now + (costs.held_ms + _COMPUTED_MEANWHILE * costs.worker_ms) / 1e3
        world.at(max(logged, held), lambda: self._committed(size))

    def _committed(self, size: int) -> None:
        world = self._world
        self._head.release(world.now)
        world.done += size
        self._is_committing = False
        if self._waiting is not None:
            go_on, self._waiting = self._waiting, None
            go_on()

    def _record(self) -> None:
        """Put the chunk into the tables; the next one is begun meanwhile."""
        self._is_recording, self._has_chunk = True, False
        self._row.acquire(self._world.now, self._write_rows)
        # No more is begun than the store has taken: staged objects wait for it.
        self._world.at(max(self._world.now, self._backlog_ends()), self.claim)

    def _backlog_ends(self) -> float:
        store = self._world.store
        return store.serve(self._world.now, 0.0) - _STORE_SLACK_S

    def _write_rows(self) -> None:
        world, costs, files = self._world, self._world.costs, self._world.site.chunk_files
        held = world.now + costs.record_ms / 1e3 * files / 256
        rest = max(0.0, costs.database_ms - costs.mapping_ms) / 1e3 * files
        world.at(max(held, world.database.serve(world.now, rest)), self._recorded)

    def _recorded(self) -> None:
        self._row.release(self._world.now)
        self._is_recording = False
        if self._has_chunk:
            self._record()


def batch_seconds(costs: Costs, *, files: int, processes: int, chunk_files: int) -> float:
    """Predict one batch on one machine with its database: what can be measured as well."""
    site = Site(
        nodes=1,
        cores=processes,
        line_bytes_per_s=1e12,
        store_puts_per_s=1e9,
        log_bytes_per_s=1e12,
        batches=1,
        chunk_files=min(chunk_files, files),
        is_shared=True,
        is_mapping_large=False,
    )
    if files <= chunk_files:  # one worker has it all
        site = replace(site, cores=1)
    outcome = Simulation(costs, site).run(objects=files)
    return files / outcome.rate + files * costs.manifest_us / 1e6
