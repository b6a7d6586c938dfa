"""A gateway whose review page is visited."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, sync_playwright

from app.api.application import create_app
from tests.api.conftest import House
from tests.api.review.desk import Browser, Desk
from tools import browser

Done = TypeVar("Done")


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


class Chromium:
    """One real browser; everything it does happens in a thread of its own.

    The gateway answers in the event loop of the test, so that nothing here may wait in it.
    """

    def __init__(self, home: Path) -> None:
        self._thread = ThreadPoolExecutor(1, "chromium")
        self._home = home
        self.does(self._start)

    def does(self, work: Callable[..., Done], *arguments: object) -> Done:
        return self._thread.submit(work, *arguments).result()

    async def do(self, work: Callable[..., Done], *arguments: object) -> Done:
        return await asyncio.wrap_future(self._thread.submit(work, *arguments))

    def _start(self) -> None:
        found = browser.provide()
        environment = {"HOME": str(self._home), "PATH": os.defpath, **found.environment}
        self._playwright = sync_playwright().start()
        self.browser = self._playwright.chromium.launch(
            executable_path=found.path, env=environment, args=["--disable-gpu"]
        )

    def close(self) -> None:
        self.does(self._stop)
        self._thread.shutdown()

    def _stop(self) -> None:
        self.browser.close()
        self._playwright.stop()


@dataclass
class Seat:
    """One person before the browser; what its console complains about fails the test.

    Attributes:
        complaints: errors and warnings of the console, and uncaught errors of scripts.
    """

    chromium: Chromium
    context: BrowserContext
    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)

    async def do(self, work: Callable[[Page], Done]) -> Done:
        return await self.chromium.do(work, self.page)

    async def sign_in(self, token: str) -> None:
        def work(page: Page) -> None:
            page.goto(f"{self.address}/review")
            page.get_by_label("API key").fill(token)
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("heading", name="Held objects").wait_for()

        await self.do(work)

    async def look_at(self, object_id: object) -> None:
        def work(page: Page) -> None:
            page.goto(f"{self.address}/review/objects/DEMO/{object_id}")
            page.locator("#stage[data-shown='1']:not([aria-busy])").wait_for()

        await self.do(work)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    started = Chromium(tmp_path_factory.mktemp("chromium"))
    yield started
    started.close()


Sit = Callable[..., Awaitable[Seat]]


@pytest.fixture
async def sit(chromium: Chromium, address: str) -> AsyncIterator[Sit]:
    """Gives somebody a browser window of their own."""
    seats: list[Seat] = []

    async def take(**options: object) -> Seat:
        options.setdefault("viewport", {"width": 1280, "height": 720})
        context = await chromium.do(lambda: chromium.browser.new_context(**options))
        context.set_default_timeout(30_000)
        page = await chromium.do(context.new_page)
        seat = Seat(chromium, context, page, address)
        page.on("console", lambda said: _note(seat, said.type, said.text))
        page.on("pageerror", lambda error: seat.complaints.append(str(error)))
        seats.append(seat)
        return seat

    yield take
    for seat in seats:
        await chromium.do(seat.context.close)
    assert [seat.complaints for seat in seats] == [[] for _ in seats]


def _note(seat: Seat, kind: str, text: str) -> None:
    if kind in {"error", "warning"}:
        seat.complaints.append(text)


@pytest.fixture
async def seat(sit: Sit, desk: Desk) -> Seat:
    """A browser in which a reviewer is signed in."""
    taken = await sit()
    await taken.sign_in(await desk.key())
    return taken
