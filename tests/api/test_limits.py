"""Lock-out after failures and bounds on requests, as callers meet them."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from app import bootstrap
from app.api.application import create_app
from app.settings import Settings
from tests.api.conftest import House

ANSWERED = 422  # the id is mistyped: the caller was recognised
WRONG = "dgw_aaaaaaaa_" + "A" * 43
ASKING = {"cloud_study_id": "mistyped", "purpose": "TREAT", "reference": "ACC-1"}


@pytest.fixture
async def house(
    configured: Callable[..., Settings], database_url: str, logs
) -> AsyncIterator[House]:
    settings = configured(
        lockout_failures=3,
        requests_per_minute=5,
        uploads_per_minute=2,
        anonymous_requests_per_minute=4,
        trusted_proxies="127.0.0.0/8",
    )
    async with bootstrap.opened(settings) as gateway:
        yield House(gateway, database_url, logs)


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(house.gateway.services())
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as speaking:
        yield speaking


def bearing(token: str, address: str = "192.0.2.7") -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "X-Forwarded-For": address}


async def ask(client: httpx.AsyncClient, headers: dict[str, str]) -> httpx.Response:
    return await client.get("/reidentify", params=ASKING, headers=headers)


async def test_a_key_that_fails_too_often_is_not_listened_to(
    client: httpx.AsyncClient, house: House
) -> None:
    answers = [await ask(client, bearing(WRONG)) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert answers[3].json()["code"] == "locked-out"
    assert answers[3].headers["Content-Type"] == "application/problem+json"
    assert 0 < int(answers[3].headers["Retry-After"]) <= 60
    details = [row["detail"] for row in house.audit() if row["action"] == "reidentify"]
    assert [detail and detail.get("locks-out") for detail in details] == [None, None, 1]


async def test_a_locked_key_keeps_nobody_else_out(client: httpx.AsyncClient, house: House) -> None:
    token = await house.token()
    for _ in range(4):
        await ask(client, bearing(WRONG))

    same_address = await ask(client, bearing(token))
    other_address = await ask(client, bearing(WRONG, "192.0.2.8"))

    assert (same_address.status_code, other_address.status_code) == (ANSWERED, 401)


async def test_an_address_that_tries_many_keys_is_not_listened_to(
    client: httpx.AsyncClient, house: House
) -> None:
    token = await house.token()
    for number in range(30):
        await ask(client, bearing(f"dgw_aaaaaa{number:02}_" + "A" * 43))

    assert (await ask(client, bearing(token))).json()["code"] == "locked-out"
    assert (await ask(client, bearing(token, "192.0.2.8"))).status_code == ANSWERED


async def test_an_address_that_the_caller_made_up_does_not_count(
    client: httpx.AsyncClient,
) -> None:
    made_up = [f"198.51.100.{number}, 192.0.2.7" for number in range(4)]

    answers = [await ask(client, bearing(WRONG, address)) for address in made_up]

    assert answers[-1].json()["code"] == "locked-out"


async def test_one_caller_has_so_many_requests_a_minute(
    client: httpx.AsyncClient, house: House
) -> None:
    token, other = await house.token("busy"), await house.token("calm")

    answers = [await ask(client, bearing(token)) for _ in range(7)]

    assert [answer.status_code for answer in answers] == [ANSWERED] * 5 + [429] * 2
    assert answers[5].json()["code"] == "rate-limited"
    assert int(answers[5].headers["Retry-After"]) > 0
    assert (await ask(client, bearing(other))).status_code == ANSWERED
    assert house.outcomes("reidentify").count("rate-limited") == 1  # once, not for every one


async def test_single_instances_are_counted_apart(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    headers = bearing(await house.token()) | {"Content-Type": "application/dicom"}

    answers = [
        await client.post("/anonymize-stream", content=instance, headers=headers) for _ in range(3)
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert (await ask(client, headers)).status_code == ANSWERED


async def test_nobody_asks_without_a_key_all_the_time(client: httpx.AsyncClient) -> None:
    here, there = {"X-Forwarded-For": "192.0.2.7"}, {"X-Forwarded-For": "192.0.2.8"}

    answers = [await client.get("/healthz", headers=here) for _ in range(5)]

    assert [answer.status_code for answer in answers] == [200] * 4 + [429]
    assert (await client.get("/healthz", headers=there)).status_code == 200


async def test_metrics_count_refusals_without_naming_anybody(
    client: httpx.AsyncClient, house: House
) -> None:
    token = await house.token("busy")
    for _ in range(6):
        await ask(client, bearing(token))

    exposition = (await client.get("/metrics")).text

    assert 'deid_refusals_total{code="rate-limited"} 1.0' in exposition
    assert "busy" not in exposition
    assert "192.0.2.7" not in exposition
