"""Events of a batch over a real socket: every change, signs of life, and nothing left behind."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator

import httpx
import psycopg
import pytest

from app.api import batch_watching
from app.api.batch_schemas import BatchRepresentation
from app.api.batch_watching import Watchers
from app.batches.service import BatchService
from app.batches.states import ItemState
from tests.api.batch_worker import Worker, prepare, taken
from tests.api.conftest import House, listening


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_watching, "PAUSE_S", 0.02)


@pytest.fixture
async def headers(house: House) -> dict[str, str]:
    return await house.headers("sender")


@pytest.fixture
async def worker(house: House) -> Worker:
    return await Worker.joined(house)


@pytest.fixture
async def speaking(address: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=address, timeout=20) as client:
        yield client


@pytest.fixture
async def own(speaking: httpx.AsyncClient, house: House, headers: dict[str, str]) -> str:
    answer = await prepare(speaking, house, headers, on_error="skip")
    return answer.headers["Location"]


class Listener:
    """Reads a stream of events."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._blocks = self._read()

    async def block(self) -> dict[str, str]:
        """The next event or comment."""
        return await anext(self._blocks)

    async def rest(self) -> list[dict[str, str]]:
        return [block async for block in self._blocks]

    async def _read(self) -> AsyncIterator[dict[str, str]]:
        block: dict[str, str] = {}
        async for line in self.answer.aiter_lines():
            if line:
                name, _, value = line.partition(":")
                block[name] = value.removeprefix(" ")
            elif block:
                yield block
                block = {}


@contextlib.asynccontextmanager
async def listening_to(
    client: httpx.AsyncClient, own: str, headers: dict[str, str]
) -> AsyncIterator[Listener]:
    async with client.stream("GET", f"{own}/events", headers=headers) as answer:
        yield Listener(answer)


async def test_every_change_is_told_until_the_end(
    speaking: httpx.AsyncClient, headers: dict[str, str], own: str, worker: Worker
) -> None:
    async with listening_to(speaking, own, headers) as listener:
        opening, first = await listener.block(), await listener.block()
        await worker.scan(2)
        second = await listener.block()
        await worker.process(ItemState.REFUSED)
        await worker.publish()
        rest = await listener.rest()

    told = [first, second, *rest]
    batches = [json.loads(block["data"]) for block in told]
    assert listener.answer.headers["Content-Type"].startswith("text/event-stream")
    assert listener.answer.headers["Cache-Control"] == "no-store"
    assert opening == {"retry": "2000"}
    assert [block["event"] for block in told] == ["progress"] * (len(told) - 1) + ["ended"]
    assert [int(block["id"]) for block in told] == [batch["version"] for batch in batches]
    assert batches == sorted(batches, key=lambda batch: batch["version"])
    assert (batches[0]["state"], batches[-1]["state"]) == ("queued", "partial")
    assert BatchRepresentation.model_validate(batches[-1])


async def test_who_comes_back_is_told_what_is_new_alone(
    speaking: httpx.AsyncClient, headers: dict[str, str], own: str, worker: Worker
) -> None:
    async with listening_to(speaking, own, headers) as listener:
        await listener.block()
        seen = (await listener.block())["id"]

    async with listening_to(speaking, own, headers | {"Last-Event-ID": seen}) as listener:
        await listener.block()
        await worker.scan(2)
        following = await listener.block()

    assert int(following["id"]) > int(seen)


async def test_what_a_batch_waits_for_is_an_event_though_the_batch_does_not_change(
    speaking: httpx.AsyncClient, headers: dict[str, str], own: str, worker: Worker
) -> None:
    await worker.scan(2)
    async with listening_to(speaking, own, headers) as listener:
        await listener.block()
        before = await listener.block()
        await worker.house.gateway.work.tell_waiting(worker.worker, "staging-full")
        after = await listener.block()

    waiting = json.loads(after["data"])["waiting_for"]
    assert json.loads(before["data"])["waiting_for"] is None
    assert (waiting["code"], waiting["title"]) == ("staging-full", "The staging area is full")
    assert after["id"] == before["id"]
    assert BatchRepresentation.model_validate(json.loads(after["data"]))


@pytest.mark.parametrize("seen", ["0", "x", "-1", "9" * 40, "\u0661"])
async def test_an_id_that_was_never_given_begins_anew(
    speaking: httpx.AsyncClient, headers: dict[str, str], own: str, seen: str
) -> None:
    async with listening_to(speaking, own, headers | {"Last-Event-ID": seen.encode()}) as listener:
        await listener.block()
        first = await listener.block()

    assert first["event"] == "progress"


async def test_a_batch_that_has_ended_is_told_at_once(
    speaking: httpx.AsyncClient, headers: dict[str, str], own: str, worker: Worker
) -> None:
    await worker.succeed()

    async with listening_to(speaking, own, headers) as listener:
        _, [ended] = await listener.block(), await listener.rest()
    again = await speaking.get(f"{own}/events", headers=headers | {"Last-Event-ID": ended["id"]})

    assert ended["event"] == "ended"
    assert (again.status_code, again.content) == (204, b"")


async def test_while_nothing_changes_there_are_signs_of_life(
    speaking: httpx.AsyncClient,
    headers: dict[str, str],
    own: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_watching, "HEARTBEAT_S", 0.05)

    async with listening_to(speaking, own, headers) as listener:
        blocks = [await listener.block() for _ in range(4)]

    assert blocks[2:] == [{"": "still here"}] * 2


async def test_a_stream_asks_the_database_no_more_than_once_in_a_pause(
    speaking: httpx.AsyncClient,
    headers: dict[str, str],
    own: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, get = [], BatchService.get

    async def counted(service: BatchService, *named: object):
        asked.append(asyncio.get_running_loop().time())
        return await get(service, *named)

    monkeypatch.setattr(BatchService, "get", counted)
    monkeypatch.setattr(batch_watching, "HEARTBEAT_S", 0.2)
    async with listening_to(speaking, own, headers) as listener:
        for _ in range(4):
            await listener.block()

    gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert len(asked) > 2
    assert min(gaps) >= 0.019  # what the clock tells apart


async def test_who_hangs_up_leaves_no_task_and_frees_the_place(
    house: House, headers: dict[str, str]
) -> None:
    services = house.gateway.services()
    free = services.watchers._free
    async with listening(house.gateway) as address:
        before = asyncio.all_tasks()
        async with httpx.AsyncClient(base_url=address, timeout=20) as client:
            own = (await prepare(client, house, headers)).headers["Location"]
            for _ in range(3):
                async with listening_to(client, own, headers) as listener:
                    await listener.block()
        async with asyncio.timeout(10):
            while asyncio.all_tasks() - before:  # noqa: ASYNC110 - tasks end by themselves
                await asyncio.sleep(0.01)

    assert services.watchers._free == free


async def test_a_server_that_stops_ends_its_streams_and_waits(
    house: House, headers: dict[str, str]
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        server = listening(house.gateway)
        address = await server.__aenter__()
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=address, timeout=20))
        own = (await prepare(client, house, headers)).headers["Location"]
        waiting = asyncio.create_task(prepare(client, house, headers | {"Prefer": "wait=60"}))
        listener = await stack.enter_async_context(listening_to(client, own, headers))
        await listener.block()
        await taken(client, headers, count=2)
        async with asyncio.timeout(5):
            await server.__aexit__(None, None, None)
            rest, answer = await listener.rest(), await waiting

    assert [block["event"] for block in rest] == ["progress"]
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")


async def test_a_key_that_is_revoked_is_told_nothing_more(
    speaking: httpx.AsyncClient, house: House, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_watching, "CHECK_S", 0.05)
    headers = await house.headers("leaving")

    async with listening_to(speaking, own, headers) as listener:
        await listener.block()
        [key] = [key for key in await house.gateway.api_keys.list() if key.name == "leaving"]
        await house.gateway.api_keys.revoke(key.id)
        told = await listener.rest()

    assert told[-1] == {"": "not-authenticated"}
    assert house.outcomes("batch-read") == ["not-authenticated"]


async def test_a_batch_that_is_forgotten_ends_its_streams_without_an_error(
    speaking: httpx.AsyncClient, house: House, headers: dict[str, str], own: str
) -> None:
    async with listening_to(speaking, own, headers) as listener:
        opening, first = await listener.block(), await listener.block()
        with psycopg.connect(house.url) as connection:
            connection.execute("DELETE FROM batches WHERE id = %s", [own.rpartition("/")[2]])
        told = await listener.rest()
    again = await speaking.get(f"{own}/events", headers=headers)

    assert (opening, first["event"]) == ({"retry": "2000"}, "progress")
    assert told == [{"": "batch-not-found"}]
    assert again.status_code == 404
    lines = [json.loads(line) for line in house.logs.getvalue().splitlines()]
    assert [line for line in lines if line["level"] in {"error", "critical"}] == []
    assert [line["code"] for line in lines if line["event"] == "request-refused"] == [
        "batch-not-found"
    ] * 2


async def test_a_listener_who_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_watching, "SEND_TIMEOUT_S", 0.02)
    sent: list[str] = []

    async def send(message) -> None:
        sent.append(message["type"])
        if message.get("body"):
            await asyncio.Event().wait()

    async def receive():
        await asyncio.Event().wait()

    stream = batch_watching.EventStream(None, seen=None, now=None, check=None, watchers=Watchers(1))
    await stream({"state": {}}, receive, send)

    assert sent == ["http.response.start", "http.response.body", "http.response.body"]
