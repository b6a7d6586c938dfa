"""``deid-gateway batch`` without a server ends when nothing but a review is left."""

from pathlib import Path
from types import SimpleNamespace

from app.batches.representation import representation
from app.cli.batch_local import _changes
from app.cli.batch_view import summary
from app.telemetry import utc_now
from tests.batches import house as houses
from tests.batches.held import decide, hold, in_review
from tests.mapping_house import make_keys


async def test_it_ends_while_people_have_not_decided_and_goes_on_when_they_have(
    database_url: str, tmp_path: Path
) -> None:
    async with houses.opened(database_url, make_keys(tmp_path / "keys")) as house:
        gateway = SimpleNamespace(
            database=house.mapping.database,
            batches=house.service,
            intake=SimpleNamespace(staging_id=house.staging),
        )
        batch = await house.scanned([2])
        claim, held = await house.claim(), hold(house)
        assert await house.work.finish_chunk(claim, in_review(claim, held), house.staging)
        waiting = await house.get(batch)

        seen = [change async for change in _changes(gateway, waiting)]

        assert seen == [waiting]
        decide(house, held)
        following = _changes(gateway, waiting)
        assert await anext(following) == waiting
        await house.upkeep.run()
        assert (await anext(following)).waiting is None
        await following.aclose()


async def test_the_table_says_how_many_files_are_in_review(
    database_url: str, tmp_path: Path
) -> None:
    async with houses.opened(database_url, make_keys(tmp_path / "keys")) as house:
        batch = await house.scanned([2])
        claim = await house.claim()
        await house.work.finish_chunk(claim, in_review(claim, hold(house)), house.staging)

        table = summary(representation(await house.get(batch), utc_now()))

    rows = dict(zip(table.columns[0].cells, table.columns[1].cells, strict=True))
    assert rows["in review"] == "1"
    assert "(review)" in rows["waits for"]
