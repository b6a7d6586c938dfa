"""A staged chunk on its way to the destination."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import pytest

from app.batches.publishing import OpenDestinations, Publisher, opener
from app.batches.records import PublishClaim, Request, StagedObject
from app.batches.staging import StagingArea
from app.batches.states import Priority
from app.errors import DestinationNotFound, DestinationRefused, StorageUnavailable
from app.storage.disk import DiskDestination
from app.storage.staged import StagedFileDamaged
from app.storage.stores import Stores

BATCH = UUID("00000000-0000-4000-8000-000000000001")
STUDY = "7QM2X-9THV4-CBK8"


@dataclass
class Shelf:
    """A destination that remembers what it was told, and fails where a test says so."""

    faults: dict[str, BaseException] = field(default_factory=dict)
    objects: dict[str, tuple[bytes, Mapping[str, str], str, bool]] = field(default_factory=dict)
    flushed: list[list[str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    is_closed: bool = False

    async def put(self, name, staged, *, size, sha256, attributes, content_type, is_resumed):
        del size, sha256
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        await asyncio.sleep(0.001)
        self.at_once -= 1
        if name in self.faults:
            raise self.faults[name]
        self.objects[name] = (staged.read_bytes(), attributes, content_type, is_resumed)

    async def flush(self, names):
        self.flushed.append(sorted(names))

    async def count_gone(self, objects):
        del objects
        return 0

    async def close(self):
        self.is_closed = True


@pytest.fixture
def area(tmp_path: Path) -> StagingArea:
    return StagingArea(tmp_path / "staging")


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def publisher(area: StagingArea, shelf: Shelf) -> Publisher:
    return Publisher(area, OpenDestinations(lambda _organization, _destination: shelf))


def staged(area: StagingArea, count: int = 3) -> tuple[StagedObject, ...]:
    directory = area.make_chunk(BATCH, 4, 7)
    made = []
    for seq in range(count):
        data = f"object {seq}".encode()
        (directory / f"{seq}.dcm").write_bytes(data)
        made.append(
            StagedObject(
                seq=seq,
                cloud_study_id=STUDY,
                study_uid="2.25.1",
                series_uid="2.25.2" if seq else "",
                sop_instance_uid=f"2.25.{100 + seq}",
                size=len(data),
                sha256=sha256(data).digest(),
            )
        )
    return tuple(made)


def claim(objects: tuple[StagedObject, ...], **given: object) -> PublishClaim:
    made = {
        "batch_id": BATCH,
        "organization": "NORTH",
        "number": 4,
        "epoch": 9,
        "staged_epoch": 7,
        "is_first": True,
        "attempts": 1,
        "request": Request({"kind": "directory"}, {"kind": "staging"}),
        "priority": Priority.STAT,
        "objects": objects,
    }
    return PublishClaim(**(made | given))


async def test_objects_are_published_under_pseudonyms_alone(area, shelf) -> None:
    assert await publisher(area, shelf).run(claim(staged(area)), is_held=lambda: True)

    assert set(shelf.objects) == {
        f"{BATCH}/{STUDY}/no-series/2.25.100.dcm",
        f"{BATCH}/{STUDY}/2.25.2/2.25.101.dcm",
        f"{BATCH}/{STUDY}/2.25.2/2.25.102.dcm",
    }
    assert shelf.flushed == [sorted(shelf.objects)]


async def test_objects_carry_batch_priority_time_and_type(area, shelf) -> None:
    await publisher(area, shelf).run(claim(staged(area, 1)), is_held=lambda: True)

    [(data, attributes, content_type, is_resumed)] = shelf.objects.values()
    assert (data, content_type, is_resumed) == (b"object 0", "application/dicom", False)
    assert set(attributes) == {"batch_id", "priority", "uploaded_at"}
    assert (attributes["batch_id"], attributes["priority"]) == (str(BATCH), "STAT")


async def test_what_somebody_began_before_is_looked_for(area, shelf) -> None:
    await publisher(area, shelf).run(claim(staged(area, 1), is_first=False), is_held=lambda: True)

    assert [is_resumed for *_, is_resumed in shelf.objects.values()] == [True]


async def test_few_objects_are_on_their_way_at_once(area, shelf) -> None:
    await publisher(area, shelf).run(claim(staged(area, 40)), is_held=lambda: True)

    assert len(shelf.objects) == 40
    assert 1 < shelf.most_at_once <= 8


async def test_who_lost_the_claim_puts_no_further_object(area, shelf) -> None:
    held = iter([True] * 5)

    is_whole = await publisher(area, shelf).run(
        claim(staged(area, 20)), is_held=lambda: next(held, False)
    )

    assert (is_whole, len(shelf.objects), shelf.flushed) == (False, 5, [])


async def test_who_loses_the_claim_at_the_end_makes_nothing_durable(area, shelf) -> None:
    held = iter([True] * 3)

    is_whole = await publisher(area, shelf).run(
        claim(staged(area, 3)), is_held=lambda: next(held, False)
    )

    assert (is_whole, shelf.flushed) == (False, [])


@pytest.mark.parametrize("fault", [StorageUnavailable, DestinationRefused, StagedFileDamaged])
async def test_trouble_with_one_object_ends_the_chunk(area, shelf, fault) -> None:
    shelf.faults[f"{BATCH}/{STUDY}/2.25.2/2.25.103.dcm"] = fault()

    with pytest.raises(fault):
        await publisher(area, shelf).run(claim(staged(area, 60)), is_held=lambda: True)

    assert len(shelf.objects) < 59
    assert shelf.flushed == []


async def test_an_unforeseen_failure_is_not_swallowed(area, shelf) -> None:
    shelf.faults[f"{BATCH}/{STUDY}/2.25.2/2.25.101.dcm"] = ZeroDivisionError()

    with pytest.raises(ZeroDivisionError):
        await publisher(area, shelf).run(claim(staged(area, 3)), is_held=lambda: True)


async def test_on_a_disk_nothing_has_a_name_before_the_claim_is_known_to_hold(area) -> None:
    destinations = OpenDestinations(opener(Stores({}), area.path))
    held = iter([True] * 3)

    is_whole = await Publisher(area, destinations).run(
        claim(staged(area, 3)), is_held=lambda: next(held, False)
    )
    await Publisher(area, destinations).run(claim(()), is_held=lambda: True)

    assert not is_whole
    assert [path for path in area.batch_directory(BATCH).rglob("*") if path.is_file()] == []


async def test_the_clients_of_stores_are_kept_and_directories_are_not(tmp_path: Path) -> None:
    opened: list[object] = []

    def open_it(_organization: str, destination: Mapping[str, str]) -> object:
        made = DiskDestination(tmp_path) if destination["kind"] == "staging" else Shelf()
        opened.append(made)
        return made

    destinations = OpenDestinations(open_it)
    for kind in ("store", "staging", "store", "staging"):
        async with destinations.lent("NORTH", {"kind": kind}):
            pass
    await destinations.close()

    assert [type(made).__name__ for made in opened] == [
        "Shelf",
        "DiskDestination",
        "DiskDestination",
    ]
    assert opened[0].is_closed


async def test_organizations_do_not_share_a_client() -> None:
    opened = []

    def open_it(organization: str, _destination: Mapping[str, str]) -> Shelf:
        opened.append(organization)
        return Shelf()

    destinations = OpenDestinations(open_it)
    for organization in ("NORTH", "SOUTH", "NORTH"):
        async with destinations.lent(organization, {"kind": "store", "name": "archive"}):
            pass

    assert opened == ["NORTH", "SOUTH"]


def test_an_unknown_destination_is_refused(tmp_path: Path) -> None:
    open_it = opener(Stores({}), tmp_path)

    with pytest.raises(DestinationNotFound):
        open_it("NORTH", {"kind": "store", "name": "gone"})
    with pytest.raises(DestinationNotFound):
        open_it("NORTH", {"kind": "other"})
