"""Objects below a prefix as a source of studies."""

from pathlib import Path

import obstore
import pytest

from app import errors
from app.storage.store_source import StoreSource
from tests.storage.places import QUICK

KEYS = ["a/1", "a/10", "a/2", "a-b", "Ä ö%20#?.dcm", "z"]


@pytest.fixture
def fill(store):
    """Put objects below ``in``; return them as source."""

    async def put(spool, objects):
        destination = store.destination()
        await obstore.put_async(destination._store, "inside/a", b"1")
        for key, data in objects.items():
            # Past the destination: it would not take names like these.
            await obstore.put_async(destination._store, f"in/{key}", data)
        return StoreSource(
            store.config(use=["source"]), "in/", spool=spool, memory_bytes=1000, patience=QUICK
        )

    return put


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_every_object_below_the_prefix_is_found_once(fill, tmp_path):
    source = await fill(tmp_path, {key: key.encode() for key in KEYS})

    found = {found.name: (found.size, found.error) for found in source.list()}

    assert found == {key: (len(key.encode()), None) for key in KEYS}


async def test_a_listing_goes_on_behind_every_name(fill, tmp_path):
    source = await fill(tmp_path, dict.fromkeys(KEYS, b"1"))
    names = [found.name for found in source.list()]

    for number, name in enumerate(names):
        assert [found.name for found in source.list(name)] == names[number + 1 :]


async def test_a_listing_goes_on_where_the_last_name_is_gone(fill, tmp_path):
    source = await fill(tmp_path, dict.fromkeys(KEYS, b"1"))
    names = [found.name for found in source.list()]

    found = [found.name for found in source.list("a/11")]

    assert set(found) >= {name for name in names if name > "a/11"}


@pytest.mark.parametrize("size", [1, 1000, 1001, 20_000_000])
async def test_an_object_is_lent_whole(fill, tmp_path, size):
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    source = await fill(tmp_path, {"Ä ö": data})

    with source.lend("Ä ö") as lent:
        assert lent.size == size
        assert lent.read(0, size) == data
        assert lent.read(size - 1, 1) == data[-1:]


async def test_nothing_of_a_large_object_stays_in_the_spool(fill, tmp_path):
    source = await fill(tmp_path, {"a": b"x" * 5000})
    spool = tmp_path / "spool"
    spool.mkdir()
    source._spool = spool
    before = descriptors()

    with source.lend("a"):
        assert list(spool.iterdir()) == []

    assert descriptors() <= before + 2  # the client's own connections


async def test_an_empty_object_is_reported_without_being_opened(fill, tmp_path):
    source = await fill(tmp_path, {"folder": b"", "folder/a": b"1"})

    found = {found.name: found.error for found in source.list()}

    assert found == {"folder": errors.NotDicom, "folder/a": None}


async def test_an_object_that_is_gone_is_unreadable(fill, tmp_path):
    source = await fill(tmp_path, {"a": b"1"})

    with pytest.raises(errors.UnreadableFile) as refused, source.lend("Doe^Jane"):
        pass

    assert "Doe" not in str(refused.value)


async def test_a_bucket_that_is_missing_is_no_source(store, tmp_path):
    config = store.config(url=store.fields["url"].replace("-", "-x", 1), use=["source"])
    source = StoreSource(config, "in", spool=tmp_path, patience=QUICK)

    with pytest.raises(errors.SourceNotAllowed):
        list(source.list())


@pytest.mark.parametrize("prefix", ["a/../b", "..", "a//b", "./a", "a\nb"])
def test_a_prefix_that_leads_elsewhere_is_refused(gcs, tmp_path, prefix):
    with pytest.raises(errors.SourceNotAllowed):
        StoreSource(gcs.config(), prefix, spool=tmp_path)


def test_an_account_with_directories_sorts_by_parts_of_names(azure, tmp_path, monkeypatch):
    source = StoreSource(azure.config(), "in", spool=tmp_path)
    names = ["a/1", "a/2", "a-b", "b"]
    listing = [[{"path": name, "size": 1} for name in names]]
    monkeypatch.setattr("app.storage.store_source.obstore.list", lambda *_, **__: listing)

    for number, name in enumerate(names):
        assert [found.name for found in source.list(name)] == names[number + 1 :]
    assert [found.name for found in source.list("a/11")] == names


def test_a_store_that_does_not_sort_is_refused(gcs, tmp_path, monkeypatch):
    source = StoreSource(gcs.config(), "in", spool=tmp_path)
    monkeypatch.setattr(
        "app.storage.store_source.obstore.list",
        lambda *_, **__: [[{"path": "b", "size": 1}, {"path": "a", "size": 1}]],
    )

    with pytest.raises(errors.SourceNotAllowed):
        list(source.list())
