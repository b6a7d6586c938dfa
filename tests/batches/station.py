"""A gateway's batches with real files, a real staging area and worker processes to be killed.

Run as a program (``python -m tests.batches.station``) it is one worker process; what it works with
comes as JSON on standard input.
"""

import asyncio
import contextlib
import functools
import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import UUID

import httpx

from app import telemetry
from app.access.api_keys import ApiKeys
from app.access.organizations import Organizations
from app.audit.repository import AuditTrail
from app.batches import reopening
from app.batches.callbacks import CallbackPolicy, Callbacks
from app.batches.publishing import opener
from app.batches.records import Batch, NewBatch, Request
from app.batches.repository import BatchRepository
from app.batches.room import Bounds
from app.batches.scanning import ScanBounds
from app.batches.sealing import BatchBox
from app.batches.service import BatchService
from app.batches.staging import StagingArea
from app.batches.states import ENDED, OnError, Priority
from app.batches.upkeep import Upkeep
from app.batches.work import BatchWork
from app.batches.worker import Parts, run_worker
from app.bootstrap import Contexts, Profiles
from app.cli import memory
from app.db.session import Database
from app.deid.profile import BUILT_IN
from app.dicom.tokens import Limits
from app.errors import DatabaseUnavailable
from app.storage.archives import ArchiveBounds
from app.storage.roots import Roots
from app.storage.sources import Sources
from app.storage.stores import Stores
from app.storage.uploads import Uploads
from app.vault.keys import load_keys
from app.vault.service import Vault
from app.vault.signing import Signer
from app.vault.workbox import WorkBox
from tests.mapping_house import NORTH, make_keys

REPOSITORY = Path(__file__).parents[2]
UID = "1.2.826.0.1.3680043.10.999.77.1000000000"


@dataclass(frozen=True)
class Order:
    """What a worker process is to work with."""

    url: str
    keys: str
    root: str
    staging: str
    chunk_files: int = 32
    lost_after_s: float = 2.0
    grace_s: float = 5.0
    staging_max_bytes: int = 0
    min_free_bytes: int = 0
    stores: str | None = None
    # SOP Instance UIDs of objects that kill the process, and where it is to be hit by a signal:
    # ``module:Class.method``, ``before`` or ``after`` its first call, and the signal's number.
    poison: Sequence[str] = ()
    ambush: tuple[str, str, int] | None = None
    page_chunks: int = reopening.MAX_CHUNKS


@dataclass
class Station:
    """Everything but the workers."""

    order: Order
    database: Database
    vault: Vault
    service: BatchService
    work: BatchWork
    upkeep: Upkeep
    area: StagingArea
    processes: list["WorkerProcess | GatewayProcess"] = field(default_factory=list)

    async def submit(self, path: str = ".", **given: object) -> Batch:
        request = {
            "source": {"kind": "directory", "root": self.order.root, "path": path},
            "destination": {"kind": "staging"},
        }
        request |= {
            name: given.pop(name) for name in ("source", "destination", "fhir") if name in given
        }
        asked = {
            "priority": Priority.ROUTINE,
            "on_error": OnError.HOLD,
            "profile": "basic",
            "profile_version": BUILT_IN["basic"].version,
            "actor": "tester",
            "api_key_id": None,
            "request_id": None,
        }
        organization = str(given.pop("organization", NORTH))
        new = NewBatch(organization=organization, request=Request(**request), **(asked | given))
        batch, _ = await self.service.submit(new)
        return batch

    async def ended(self, batch: Batch, *, within_s: float = 60) -> Batch:
        """Wait until a batch has ended, the database being there or not."""
        async with asyncio.timeout(within_s):
            while True:
                with contextlib.suppress(DatabaseUnavailable):
                    found = await self.service.get(batch.organization, batch.batch_id)
                    if found.state in ENDED:
                        return found
                await asyncio.sleep(0.05)

    async def until_so(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so that nobody tells."""
        async with asyncio.timeout(60):
            while not is_so():  # noqa: ASYNC110 - it shows in files
                await asyncio.sleep(0.01)

    async def until(self, reached: Callable[[Batch], bool], batch: Batch) -> Batch:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(DatabaseUnavailable):
                    found = await self.service.get(batch.organization, batch.batch_id)
                    if reached(found):
                        return found
                await asyncio.sleep(0.01)

    def published(self, batch: Batch) -> dict[str, bytes]:
        """Everything that lies at the destination of a batch, by name."""
        directory = self.area.batch_directory(batch.batch_id)
        found = {}
        for path in below(directory):
            with contextlib.suppress(FileNotFoundError):  # it may be tidied away just now
                found[str(path.relative_to(directory))] = path.read_bytes()
        return found

    def left_in_work(self) -> list[str]:
        """Names of what is staged."""
        return sorted(path.name for path in below(self.area.path / ".work"))

    @contextlib.asynccontextmanager
    async def working(
        self, *, metrics: telemetry.BatchMetrics | None = None, **given: object
    ) -> AsyncIterator[asyncio.Event]:
        """Have a worker of this very process work."""
        stop = asyncio.Event()
        async with parts_of(Order(**(asdict(self.order) | given))) as parts:
            worker = asyncio.create_task(run_worker(parts, stop, metrics=metrics))
            try:
                yield stop
            finally:
                stop.set()
                await worker

    def start_gateway(self, port: int) -> "GatewayProcess":
        process = GatewayProcess(self.order, port, Path(self.order.staging).with_name("data"))
        self.processes.append(process)
        return process

    async def key(self) -> dict[str, str]:
        """Make an API key and return the header that carries it."""
        _, token = await ApiKeys(self.database, AuditTrail()).create(
            name="sender", organization=NORTH, scopes=["batch"]
        )
        return {"Authorization": f"Bearer {token}"}

    def start_worker(self, **given: object) -> "WorkerProcess":
        process = WorkerProcess(Order(**(asdict(self.order) | given)))
        self.processes.append(process)
        return process


class GatewayProcess:
    """``deid-gateway serve`` with one worker beside it."""

    def __init__(self, order: Order, port: int, data_dir: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        settings = {
            "DATABASE_URL": order.url,
            "DEID_CHUNK_FILES": str(order.chunk_files),
            "DEID_DATA_DIR": str(data_dir),
            "DEID_KEY_FILE": order.keys,
            "DEID_LOG_LEVEL": "error",
            "DEID_PORT": str(port),
            "DEID_ROLES": "batch",
            "DEID_SOURCE_ROOTS": order.root,
            "DEID_STAGING_DIR": order.staging,
            "DEID_STAGING_MIN_FREE_BYTES": "0",
            "DEID_WORKERS": "1",
            "DEID_WORKER_LOST_AFTER_S": str(order.lost_after_s),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve"], cwd=REPOSITORY, env=settings
        )

    async def prepare(self, headers: dict[str, str], **asked: str) -> dict[str, object]:
        """Hand a batch in, again and again until there is an answer."""
        async with httpx.AsyncClient(base_url=self.url) as client, asyncio.timeout(60):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    answer = await client.post("/batch-prepare", headers=headers, json=asked)
                    if answer.status_code < 500:
                        return answer.raise_for_status().json()
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()


class WorkerProcess:
    """One worker process."""

    def __init__(self, order: Order) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.batches.station"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.process.stdin.write(json.dumps(asdict(order)).encode())
        self.process.stdin.close()
        self._id: UUID | None = None

    @property
    def id(self) -> UUID:
        """The worker's id, once it has joined."""
        if self._id is None:
            self._id = UUID(self.process.stdout.readline().decode().strip())
        return self._id

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        self.process.stdout.close()


@contextlib.asynccontextmanager
async def opened(url: str, directory: Path, **given: object) -> AsyncIterator[Station]:
    """Open a station with an empty directory of files to be taken."""
    pair = make_keys(directory / "keys")
    root = directory / "incoming"
    root.mkdir(exist_ok=True)
    order = Order(
        url=url,
        keys=str(directory / "keys" / "keys.json"),
        root=str(root),
        staging=str(directory / "staging"),
        **given,
    )
    database = Database(url, pool_size=4)
    vault = Vault(database, pair.keys, trail=AuditTrail())
    box = BatchBox(WorkBox(pair.keys))
    station = Station(
        order=order,
        database=database,
        vault=vault,
        service=BatchService(BatchRepository(database, box), vault, Path(order.staging)),
        work=BatchWork(database, box, vault),
        upkeep=Upkeep(database, box, vault.data_key, lost_after_s=order.lost_after_s, kept_days=30),
        area=StagingArea(Path(order.staging)),
    )
    try:
        await Organizations(database).ensure(NORTH)
        yield station
    finally:
        for process in station.processes:
            process.close()
        await vault.close()
        await database.close()


@contextlib.asynccontextmanager
async def parts_of(order: Order) -> AsyncIterator[Parts]:
    """Open what a worker works with."""
    keys = load_keys(Path(order.keys))
    database = Database(order.url, pool_size=6)
    vault = Vault(database, keys, trail=AuditTrail())
    box = BatchBox(WorkBox(keys))
    stores = Stores.from_file(Path(order.stores) if order.stores else None)
    signer = Signer(keys)
    area = StagingArea(Path(order.staging))
    try:
        yield Parts(
            url=order.url,
            database=database,
            work=BatchWork(database, box, vault),
            upkeep=Upkeep(
                database, box, vault.data_key, lost_after_s=order.lost_after_s, kept_days=30
            ),
            staging=area,
            vault=vault,
            contexts=Contexts(vault, Profiles(None), Limits()),
            signer=signer,
            callbacks=Callbacks(CallbackPolicy((), is_loopback_allowed=True), signer),
            open_source=Sources(
                Roots([Path(order.root)]),
                stores,
                uploads=Uploads(area.uploads),
                spool=area.uploads,
                bounds=ArchiveBounds(),
            ).open,
            open_destination=opener(stores, area.path),
            scan_bounds=ScanBounds(
                chunk_files=order.chunk_files,
                chunk_bytes=64 << 20,
                max_files=100_000,
                max_held_bytes=order.staging_max_bytes,
            ),
            room_bounds=Bounds(order.staging_max_bytes, order.min_free_bytes),
            inline_bytes=1 << 20,
            lost_after_s=order.lost_after_s,
            grace_s=order.grace_s,
        )
    finally:
        await vault.close()
        await database.close()


def root(station: Station) -> Path:
    """Where the studies of a station come from."""
    return Path(station.order.root)


def below(directory: Path) -> list[Path]:
    """All files below a directory, though it is being removed."""
    return [Path(folder, name) for folder, _, names in os.walk(directory) for name in names]


def uid_of(number: int) -> str:
    """SOP Instance UID of the made-up object by that number."""
    return f"{UID[: -len(str(number))]}{number}"


def objects(count: int, *, first: int = 0) -> Iterator[bytes]:
    """Small CT objects of one series that differ in their SOP Instance UID."""
    from tests import builders  # noqa: PLC0415 - worker processes do without it

    dataset = builders.ct(builders.Identity())
    dataset.SOPInstanceUID = UID
    data = builders.part10(dataset)
    for number in range(first, first + count):
        yield data.replace(UID.encode(), uid_of(number).encode())


def fill(directory: Path, count: int, *, first: int = 0) -> None:
    """Write made-up objects into a directory, a hundred in each below it."""
    for number, data in enumerate(objects(count, first=first), first):
        path = directory / f"DOE^JANE {number // 100:03d}" / f"IM{number:05d}"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(data)


async def work(order: Order) -> None:
    """Be one worker process until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    telemetry.guard_event_loop(asyncio.get_running_loop())
    if order.poison:
        poison({uid.encode() for uid in order.poison})
    if order.ambush:
        lie_in_wait(*order.ambush)
    reopening.MAX_CHUNKS = order.page_chunks
    async with parts_of(order) as parts:
        memory.settle()
        await run_worker(parts, stop, on_joined=say)


def say(worker: UUID) -> None:
    """Tell the worker's id."""
    sys.stdout.write(f"{worker}\n")
    sys.stdout.flush()


def poison(uids: set[bytes]) -> None:
    """Let certain objects end the process that works on them, as a fault in native code would."""
    from app import pipeline  # noqa: PLC0415 - only these workers are broken

    deidentify = pipeline.deidentify

    def deadly(source, context):
        data = source.read(0, source.size)
        if any(uid in data for uid in uids):
            os.kill(os.getpid(), signal.SIGKILL)
        return deidentify(source, context)

    pipeline.deidentify = deadly


def lie_in_wait(place: str, moment: str, number: int) -> None:
    """Send this process a signal before or after the first call of a method."""
    module, _, name = place.partition(":")
    owner_name, _, method_name = name.partition(".")
    owner = getattr(importlib.import_module(module), owner_name)
    method = getattr(owner, method_name)
    left = [number]

    def strike(when: str) -> None:
        if when == moment and left:
            os.kill(os.getpid(), left.pop())

    @functools.wraps(method)
    async def awaited(*arguments, **given):
        strike("before")
        answer = await method(*arguments, **given)
        # A claim that finds nothing is no moment to be waited for.
        strike("after" if answer is not None or not method_name.startswith("claim") else "")
        return answer

    @functools.wraps(method)
    def called(*arguments, **given):
        strike("before")
        answer = method(*arguments, **given)
        strike("after")
        return answer

    setattr(owner, method_name, awaited if inspect.iscoroutinefunction(method) else called)


if __name__ == "__main__":
    telemetry.configure("warning")
    asyncio.run(work(Order(**json.load(sys.stdin))))
