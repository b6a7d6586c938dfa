"""Fixtures of the batch tests."""

import sys

import pytest
import structlog

from app import telemetry
from app.batches import reopening
from tests.batches import house as houses
from tests.mapping_house import make_keys


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
async def house(database_url, pair):
    async with houses.opened(database_url, pair) as made:
        yield made


@pytest.fixture
def two_chunks_a_page(monkeypatch):
    """A batch is opened again two chunks at a time."""
    monkeypatch.setattr(reopening, "MAX_CHUNKS", 2)


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
