"""A batch with doubtful images from the directory to the destination, with a person in between."""

import asyncio
import io
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border

from app.batches import ending, processing
from app.batches.records import Batch
from app.batches.states import BatchState, ItemState, OnError
from app.batches.worker import run_worker
from app.bootstrap import Contexts, Profiles
from app.dicom.tokens import Limits
from app.pipeline.side_work import PixelParts
from app.pixels.children import Children
from app.pixels.model import Box
from app.pixels.rules_loading import load_rules
from app.pixels.rulings import Act, SourceKind
from app.quarantine.records import Wanted
from tests.batches import station as stations
from tests.batches.station import Station, fill
from tests.pipeline.echo import COLUMNS, ROWS, echo, encoded
from tests.quarantine import ward as wards
from tests.quarantine.ward import NORTH, Ward, marks, who

pytestmark = pytest.mark.db
BANNER = Box(0, 0, COLUMNS, 16)
PROFILE = "{name: cleaning, options: [basic, clean_pixel_data]}"


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with Children(size=1) as pool:
        yield pool


@pytest.fixture
async def ward(database_url: str, tmp_path: Path) -> AsyncIterator[Ward]:
    (tmp_path / "review-keys").mkdir(mode=0o700)
    keys = wards.make_keys(tmp_path / "review-keys")
    async with wards.opened(database_url, keys, tmp_path / "held", is_new=True) as made:
        yield made


class Place:
    """A station whose workers clean pixels and hold back what nobody can read."""

    def __init__(self, station: Station, ward: Ward, children: Children, directory: Path) -> None:
        directory.mkdir()
        (directory / "cleaning.yaml").write_text(PROFILE)
        self.station, self.ward = station, ward
        self.profiles = Profiles(directory)

        async def rules(organization: str):
            return load_rules(remembered=await ward.quarantine.remembered(organization))

        self._pixels = PixelParts(
            workers=children,
            readers=None,
            rules=rules,
            quarantine=ward.quarantine,
            scratch=lambda size: os.memfd_create("pixels") if size >= 0 else -1,
        )

    def put(self, name: str, uid: str) -> None:
        image = echo(SOPInstanceUID=uid)
        (Path(self.station.order.root) / name).write_bytes(encoded(image))

    async def submit(self, **given: object) -> Batch:
        version = self.profiles.get("cleaning").version
        return await self.station.submit(profile="cleaning", profile_version=version, **given)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        async with stations.parts_of(self.station.order) as parts:
            contexts = Contexts(parts.vault, self.profiles, Limits(), pixels=self._pixels)
            worker = asyncio.create_task(run_worker(replace(parts, contexts=contexts), stop))
            try:
                yield
            finally:
                stop.set()
                await worker

    async def in_review(self, batch: Batch) -> Batch:
        return await self.station.until(
            lambda found: found.waiting is not None and found.waiting.code == "review", batch
        )

    async def held(self) -> list[UUID]:
        return [one.object_id for one in await self.ward.review.listed(NORTH, Wanted())]


@pytest.fixture
def place(station: Station, ward: Ward, children: Children, tmp_path: Path) -> Place:
    return Place(station, ward, children, tmp_path / "profiles")


def images(published: dict[str, bytes]) -> list[np.ndarray]:
    objects = [dcmread(io.BytesIO(d)) for name, d in published.items() if name.endswith(".dcm")]
    return [one.pixel_array for one in objects if one.Modality == "US"]


async def test_what_people_mask_is_published_masked_and_the_batch_succeeds(place: Place) -> None:
    fill(Path(place.station.order.root), 2)
    place.put("us", "1.2.826.0.1.3680043.10.998.41")
    batch = await place.submit()

    async with place.working():
        waiting = await place.in_review(batch)
    (held,) = await place.held()
    shown = await place.ward.review.show(who(), held)
    await place.ward.review.decide(who(), held, Act.MASK, marks(BANNER))
    async with place.working():  # other workers: those of before know nothing of it
        ended = await place.station.ended(batch)

    assert (waiting.in_review_files, waiting.succeeded_files, waiting.state) == (
        1,
        2,
        BatchState.PROCESSING,
    )
    assert shown.source_kind is SourceKind.BATCH
    assert (ended.state, ended.succeeded_files, ended.in_review_files) == (
        BatchState.SUCCEEDED,
        3,
        0,
    )
    (image,) = images(place.station.published(batch))
    before = np.frombuffer(echo().PixelData, np.uint8).reshape(ROWS, COLUMNS)
    assert not image[: BANNER.bottom].any()
    assert (image[BANNER.bottom :] == before[BANNER.bottom :]).all()


async def test_what_people_reject_never_leaves(place: Place) -> None:
    fill(Path(place.station.order.root), 1)
    place.put("us", "1.2.826.0.1.3680043.10.998.42")
    batch = await place.submit(on_error=OnError.SKIP)

    async with place.working():
        await place.in_review(batch)
        (held,) = await place.held()
        await place.ward.review.decide(who(), held, Act.REJECT)
        ended = await place.station.ended(batch)

    assert (ended.state, ended.refused_files, ended.published_files) == (BatchState.PARTIAL, 1, 1)
    assert images(place.station.published(batch)) == []
    (item,) = await place.station.service.items(
        batch.organization, batch.batch_id, state=ItemState.REFUSED
    )
    assert item.code == "rejected-in-review"


async def test_a_batch_waits_for_room_until_people_have_made_some(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processing, "PAUSES_S", ())
    monkeypatch.setattr(place.ward.shelf, "_max_bytes", len(encoded(echo())) * 3 // 2)
    for number in (44, 45):
        place.put(f"us{number}", f"1.2.826.0.1.3680043.10.998.{number}")
    batch = await place.submit()

    async with place.working():
        waiting = await place.station.until(
            lambda found: found.waiting is not None and found.waiting.code == "quarantine-full",
            batch,
        )
        (first,) = await place.held()
        await place.ward.review.decide(who(), first, Act.RELEASE)
        await place.in_review(batch)
        (second,) = set(await place.held()) - {first}
        await place.ward.review.decide(who(), second, Act.RELEASE)
        ended = await place.station.ended(batch)

    assert (waiting.state, waiting.refused_files) == (BatchState.PROCESSING, 0)
    assert (ended.state, ended.succeeded_files, ended.problems) == (BatchState.SUCCEEDED, 2, {})


async def test_nothing_is_worked_on_anew_while_the_quarantine_stays_full(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(ending, "LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr(place.ward.shelf, "_max_bytes", len(encoded(echo())) * 3 // 2)
    looked, asked = [], []
    digest, has_room = place.ward.quarantine.digest, place.ward.quarantine.has_room
    monkeypatch.setattr(
        place.ward.quarantine, "digest", lambda *given: looked.append(1) or digest(*given)
    )
    monkeypatch.setattr(
        place.ward.quarantine, "has_room", lambda size: asked.append(size) or has_room(size)
    )
    for number in (46, 47):
        place.put(f"us{number}", f"1.2.826.0.1.3680043.10.998.{number}")
    batch = await place.submit()

    async with place.working():
        await place.station.until(lambda _: len(asked) > 4, batch)
        (first,) = await place.held()
        at_work = len(looked)
        await place.ward.review.decide(who(), first, Act.RELEASE)
        waiting = await place.in_review(batch)

    assert at_work == 2  # each file once, however often the chunk was claimed
    assert (waiting.in_review_files, waiting.succeeded_files) == (1, 1)


async def test_the_same_bytes_in_a_later_batch_need_no_second_decision(place: Place) -> None:
    place.put("us", "1.2.826.0.1.3680043.10.998.43")
    first = await place.submit()

    async with place.working():
        await place.in_review(first)
        (held,) = await place.held()
        await place.ward.review.decide(who(), held, Act.RELEASE)
        await place.station.ended(first)
        second = await place.station.ended(await place.submit())

    assert second.state is BatchState.SUCCEEDED
    assert await place.held() == [held]
