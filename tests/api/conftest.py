"""A whole gateway on a database of its own, spoken to in process or over a real socket."""

import asyncio
import contextlib
import io
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pytest
import uvicorn
from psycopg.rows import dict_row
from pydantic import SecretStr

from app import bootstrap, settings, telemetry
from app.access.scopes import Scope
from app.api.application import create_app
from app.api.protocol import BoundedProtocol
from app.bootstrap import Gateway
from app.settings import Settings
from tests import builders

ALL_SCOPES = frozenset(map(str, Scope))
WHO = builders.Identity()


@dataclass
class House:
    """One gateway under test."""

    gateway: Gateway
    url: str
    logs: io.StringIO
    answers: list[bytes] = field(default_factory=list)

    async def token(self, name: str = "tester", **properties) -> str:
        properties.setdefault("scopes", ALL_SCOPES)
        properties.setdefault("organization", "DEMO")
        _, token = await self.gateway.api_keys.create(name=name, **properties)
        return token

    async def headers(self, name: str = "tester", **properties) -> dict[str, str]:
        return {"Authorization": f"Bearer {await self.token(name, **properties)}"}

    def audit(self) -> list[dict[str, object]]:
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            return connection.execute(
                "SELECT * FROM audit_events ORDER BY recorded_at, seq"
            ).fetchall()

    def outcomes(self, action: str) -> list[str]:
        return [str(row["outcome"]) for row in self.audit() if row["action"] == action]


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers, root.level
    telemetry.configure("debug", stream)
    yield stream
    root.handlers, root.level = before
    logging.captureWarnings(capture=False)


@pytest.fixture
def configured(database_url: str, tmp_path: Path) -> Callable[..., Settings]:
    def load(**given) -> Settings:
        given.setdefault("data_dir", tmp_path / "data")
        return settings.load(**given, database_url=SecretStr(database_url))

    return load


@pytest.fixture
async def house(
    configured: Callable[..., Settings], database_url: str, logs: io.StringIO
) -> AsyncIterator[House]:
    async with bootstrap.opened(configured()) as gateway:
        yield House(gateway, database_url, logs)


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(house.gateway.services()))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as speaking:
        yield speaking


@contextlib.asynccontextmanager
async def listening(
    gateway: Gateway, protocol: type[BoundedProtocol] = BoundedProtocol
) -> AsyncIterator[str]:
    """Serve on a free port of the loopback interface, in this very event loop."""
    config = uvicorn.Config(
        create_app(gateway.services()),
        port=0,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers a flag, no event
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def address(house: House) -> AsyncIterator[str]:
    async with listening(house.gateway) as url:
        yield url


@pytest.fixture(scope="session")
def instance() -> bytes:
    return builders.part10(builders.ct(WHO))
