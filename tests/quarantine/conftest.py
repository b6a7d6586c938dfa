from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.vault.keys_store import KeyFiles
from tests.quarantine.ward import Ward, make_keys, opened


@pytest.fixture
def keys(tmp_path: Path) -> KeyFiles:
    (tmp_path / "keys").mkdir(mode=0o700)
    return make_keys(tmp_path / "keys")


@pytest.fixture
async def ward(database_url: str, keys: KeyFiles, tmp_path: Path) -> AsyncIterator[Ward]:
    async with opened(database_url, keys, tmp_path / "held") as ward:
        yield ward
