"""Sources of batches are opened once, and again when they failed."""

from dataclasses import replace

import pytest

from app.batches.opening import OpenSources
from app.batches.states import ItemState
from app.errors import StorageUnavailable
from tests.batches.bench import Bench, Folder
from tests.batches.station import objects
from tests.mapping_house import NORTH

pytestmark = pytest.mark.db


async def test_a_source_is_opened_once_for_all_chunks_of_a_batch(bench: Bench) -> None:
    [data] = objects(1)
    bench.add("0", data)
    opened = []

    def open_it(_source, _organization):
        opened.append(Folder(bench.folder.path))
        return opened[-1]

    sources = OpenSources(open_it)
    processor = replace(bench.processor, sources=sources)
    for number in range(3):
        await processor.run(bench.claim(number=number), is_held=lambda: True)
    assert [folder.is_closed for folder in opened] == [False]
    await sources.close()

    assert [folder.is_closed for folder in opened] == [True]


async def test_a_source_that_failed_is_opened_anew(bench: Bench) -> None:
    [data] = objects(1)
    bench.add("0", data)
    opened = []

    def open_it(_source, _organization):
        folder = Folder(bench.folder.path)
        folder.faults["0"] = [StorageUnavailable()] * (9 if not opened else 0)
        opened.append(folder)
        return folder

    processor = replace(bench.processor, sources=OpenSources(open_it))
    with pytest.raises(StorageUnavailable):
        await processor.run(bench.claim(), is_held=lambda: True)
    [result] = await processor.run(bench.claim(), is_held=lambda: True)

    assert result.state is ItemState.SUCCEEDED
    assert [folder.is_closed for folder in opened] == [True, False]


async def test_only_so_many_sources_stay_open(bench: Bench) -> None:
    opened = []

    def open_it(_source, _organization):
        opened.append(Folder(bench.folder.path))
        return opened[-1]

    sources = OpenSources(open_it)
    for number in range(20):
        batch_id = type(bench.area.staging_id)(int=number)
        async with sources.lent(batch_id, NORTH, {}):
            pass

    assert [folder.is_closed for folder in opened].count(False) <= 8
    assert not opened[-1].is_closed
