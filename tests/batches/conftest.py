"""Fixtures of the batch tests."""

import pytest

from tests.batches import house as houses
from tests.mapping_house import make_keys


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
async def house(database_url, pair):
    async with houses.opened(database_url, pair) as made:
        yield made
