from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.mapping_house import KeyPair, MappingHouse, make_keys, opened


@pytest.fixture
def pair(tmp_path: Path) -> KeyPair:
    return make_keys(tmp_path / "keys")


@pytest.fixture
async def house(database_url: str, pair: KeyPair) -> AsyncIterator[MappingHouse]:
    async with opened(database_url, pair) as house:
        yield house
