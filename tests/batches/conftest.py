"""Fixtures of the batch tests."""

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from app import telemetry
from app.batches import processing, reopening
from tests.batches import bench as benches
from tests.batches import house as houses
from tests.batches import station as stations
from tests.batches.bench import Bench
from tests.batches.house import BatchHouse
from tests.batches.published import publish
from tests.batches.station import Station
from tests.mapping_house import make_keys


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
async def house(database_url, pair):
    async with houses.opened(database_url, pair) as made:
        yield made


@pytest.fixture
async def station(database_url: str, tmp_path: Path) -> AsyncIterator[Station]:
    """A source, a staging area and a destination on which workers of this process work."""
    async with stations.opened(database_url, tmp_path) as made:
        yield made


@pytest.fixture
def bench(house: BatchHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A processor that does not wait long between two tries."""
    monkeypatch.setattr(processing, "PAUSES_S", (0.01, 0.01))
    with benches.opened(house, tmp_path) as made:
        yield made


@pytest.fixture
def two_chunks_a_page(monkeypatch):
    """A batch is opened again two chunks at a time."""
    monkeypatch.setattr(reopening, "MAX_CHUNKS", 2)


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    """A published batch on disk."""
    return publish(tmp_path / "batch")


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """A batch that has a FHIR resource for each study."""
    return publish(tmp_path / "described", fhir=True)


@pytest.fixture
def deny(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Let the system refuse to open files of a name; root cannot be kept out by rights."""
    opened = os.open

    def deny(name: str, number: int) -> None:
        def refuse(path: Any, *given: Any, **named: Any) -> int:
            if str(path).endswith(name):
                raise OSError(number, os.strerror(number))
            return opened(path, *given, **named)

        monkeypatch.setattr(os, "open", refuse)

    return deny


class StandardError:
    """Whatever standard error is at the moment of writing."""

    def write(self, text: str) -> None:
        sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


@pytest.fixture
def spoken(capsys):
    """What is logged from here on, whatever level and stream a test before this one chose."""
    before = structlog.get_config()
    telemetry.configure("info", StandardError())
    yield capsys
    structlog.configure(**before)
