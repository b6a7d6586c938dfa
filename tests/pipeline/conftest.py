"""Fixtures of the pipeline's tests."""

from collections.abc import Iterator

import pytest

from app.pixels.children import Children


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    """One child process that works on pixels."""
    with Children(size=1) as pool:
        yield pool
