import datetime as dt
from dataclasses import replace

import pytest

from app.audit.chain import GENESIS, link
from app.audit.events import AuditEvent
from app.audit.reading import AuditReader, Filter, Position, StoredEvent
from app.errors import InvalidRequest
from tests.audit.events import WHEN
from tests.mapping_house import NORTH, SOUTH, MappingHouse

pytestmark = pytest.mark.db
STUDY = "7QM2X-9THV4-CBK8"


@pytest.fixture
def reader(house: MappingHouse) -> AuditReader:
    return AuditReader(house.database)


async def write(house: MappingHouse, count: int, **given: object) -> None:
    given.setdefault("organization", NORTH)
    given.setdefault("action", "a")
    for number in range(count):
        await house.vault.audit(AuditEvent(detail={"number": number}, **given))


async def every_page(
    reader: AuditReader, wanted: Filter, *, limit: int, oldest_first: bool = False
) -> list[tuple[int, ...]]:
    pages, behind = [], None
    while True:
        found = await reader.page(
            NORTH, wanted, behind=behind, limit=limit, oldest_first=oldest_first
        )
        pages.append(tuple(event.seq for event in found.events))
        behind = found.following
        if behind is None:
            return pages


async def test_the_newest_come_first_page_by_page(house: MappingHouse, reader: AuditReader) -> None:
    await write(house, 5)

    assert await every_page(reader, Filter(), limit=2) == [(5, 4), (3, 2), (1,)]


async def test_the_last_page_is_known_to_be_the_last(
    house: MappingHouse, reader: AuditReader
) -> None:
    await write(house, 4)

    assert await every_page(reader, Filter(), limit=2) == [(4, 3), (2, 1)]


async def test_rows_that_come_meanwhile_move_nothing(
    house: MappingHouse, reader: AuditReader
) -> None:
    await write(house, 4)
    first = await reader.page(NORTH, Filter(), limit=2)
    await write(house, 3)

    second = await reader.page(NORTH, Filter(), behind=first.following, limit=2)

    assert [event.seq for event in second.events] == [2, 1]


async def test_organisations_and_the_gateway_are_apart(
    house: MappingHouse, reader: AuditReader
) -> None:
    await write(house, 2)
    await write(house, 1, organization=SOUTH)
    await write(house, 3, organization=None)

    counts = [len((await reader.page(whose, Filter())).events) for whose in (NORTH, SOUTH, None)]

    assert counts == [2, 1, 3]


@pytest.mark.parametrize(
    ("wanted", "seqs"),
    [
        (Filter(action="b"), [2]),
        (Filter(outcome="not-authorised"), [3]),
        (Filter(actor="someone"), [4]),
        (Filter(cloud_study_id=STUDY), [5]),
        (Filter(request_id="r1"), [6]),
        (Filter(action="a", outcome="success"), [6, 5, 4, 1]),
        (Filter(action="a", cloud_study_id=STUDY, outcome="none"), []),
        (Filter(actor="' OR true --"), []),
    ],
)
async def test_filters_take_exact_values(
    house: MappingHouse, reader: AuditReader, wanted: Filter, seqs: list[int]
) -> None:
    await write(house, 1)
    await write(house, 1, action="b")
    await write(house, 1, outcome="not-authorised")
    await write(house, 1, actor="someone")
    await write(house, 1, cloud_study_id=STUDY)
    await write(house, 1, request_id="r1")

    found = await reader.page(NORTH, wanted)

    assert [event.seq for event in found.events] == seqs


async def test_a_span_takes_its_beginning_and_leaves_its_end(
    house: MappingHouse, reader: AuditReader
) -> None:
    await write(house, 4)
    times = [event.recorded_at for event in (await reader.page(NORTH, Filter())).events]

    found = await reader.page(NORTH, Filter(since=times[2], until=times[0]))

    assert [event.seq for event in found.events] == [3, 2]


async def test_a_page_looks_at_so_many_rows_and_says_where_to_go_on(
    house: MappingHouse, reader: AuditReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.audit.reading.MOST_LOOKED_AT", 3)
    await write(house, 1, action="sought")
    await write(house, 7)
    await write(house, 1, action="sought")

    sought = Filter(action="sought")

    assert await every_page(reader, sought, limit=5) == [(9,), (), (1,)]
    assert await every_page(reader, sought, limit=5, oldest_first=True) == [(1,), (), (9,)]


async def test_all_that_match_are_yielded_the_oldest_first(
    house: MappingHouse, reader: AuditReader
) -> None:
    await write(house, 7)

    found = [event.seq async for event in reader.events(NORTH, Filter(), at_once=3)]

    assert found == [1, 2, 3, 4, 5, 6, 7]


async def test_what_is_read_derives_the_chain_without_the_database(
    house: MappingHouse, reader: AuditReader
) -> None:
    await write(house, 5, purpose='é " \\', cloud_study_id=STUDY)

    previous = GENESIS
    async for event in reader.events(NORTH, Filter()):
        previous = link(previous, event.canonical())
        assert previous == event.hash


@pytest.mark.parametrize("seq", [1, 2**62])
def test_a_position_is_read_as_it_was_written(seq: int) -> None:
    position = Position(WHEN, seq)

    assert Position.parse(str(position)) == position


@pytest.mark.parametrize("text", ["", "1", "1-", "a-1", "1-1-1", "9" * 18 + "-1", "1" * 30 + "-1"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        Position.parse(text)


async def test_times_of_other_zones_are_the_same_times(
    house: MappingHouse, reader: AuditReader
) -> None:
    await write(house, 2)
    (last, first) = (await reader.page(NORTH, Filter())).events
    east = dt.timezone(dt.timedelta(hours=5))

    found = await reader.page(NORTH, Filter(since=last.recorded_at.astimezone(east)))

    assert [event.seq for event in found.events] == [last.seq]
    assert replace(last, seq=first.seq) != first
    assert isinstance(first, StoredEvent)
