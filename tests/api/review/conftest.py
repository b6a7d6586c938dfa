"""A gateway whose review page is visited."""

from collections.abc import AsyncIterator

import httpx
import pytest

from app.api.application import create_app
from tests.api.conftest import House
from tests.api.review.desk import Browser, Desk


@pytest.fixture
def desk(house: House) -> Desk:
    return Desk(house.gateway)


@pytest.fixture
async def anybody(house: House) -> AsyncIterator[Browser]:
    """A browser in which nobody is signed in."""
    transport = httpx.ASGITransport(create_app(house.gateway.services()))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
        yield Browser(client)


@pytest.fixture
async def reviewer(anybody: Browser, desk: Desk) -> Browser:
    """A browser in which a reviewer is signed in."""
    answer = await anybody.sign_in(await desk.key())
    assert answer.status_code == 303, answer.text
    return anybody
