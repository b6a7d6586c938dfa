"""Names at the source stand behind the same safeguards as every other look."""

import asyncio

import httpx
import pytest

from app.audit.events import AuditEvent
from app.audit.repository import AuditTrail
from app.vault.disclosure import safeguards
from app.vault.disclosure.transactions import Recorder
from tests.api.batch_worker import Worker, prepare
from tests.api.conftest import House
from tests.batches.house import SECRET

pytestmark = pytest.mark.db
STATED = {"X-Purpose-Of-Use": "HOPERAT", "X-Reference": "T-1"}


async def change(house: House, **changes: bool | int) -> None:
    event = AuditEvent(action="", organization="DEMO", actor="owner")
    await safeguards.change(Recorder(house.gateway.database, AuditTrail), event, **changes)


@pytest.fixture
async def headers(house: House) -> dict[str, str]:
    return await house.headers("sender") | STATED


@pytest.fixture
async def originals(client: httpx.AsyncClient, house: House, headers: dict[str, str]) -> str:
    """Where the names of a batch of three files are."""
    worker = await Worker.joined(house)
    answer = await prepare(client, house, headers)
    await worker.scan(3)
    return f"{answer.headers['Location']}/originals"


async def test_where_a_second_person_must_approve_no_name_is_told(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], originals: str
) -> None:
    await change(house, needs_approval=True)
    study = house.gateway.vault.pseudonyms("DEMO").cloud_study_id("1.2.3.4")
    look = await client.get("/reidentify", params={"cloud_study_id": study}, headers=headers)

    answer = await client.get(originals, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "approval-required")
    assert (look.status_code, look.json()["code"]) == (403, "approval-required")
    assert SECRET not in answer.text
    assert house.outcomes("batch-originals") == ["approval-required"]


async def test_every_page_counts_like_a_look(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], originals: str
) -> None:
    await change(house, per_hour=2)

    pages = [await client.get(f"{originals}?limit=1", headers=headers) for _ in range(4)]
    study = house.gateway.vault.pseudonyms("DEMO").cloud_study_id("1.2.3.4")
    look = await client.get("/reidentify", params={"cloud_study_id": study}, headers=headers)

    assert [page.status_code for page in pages] == [200, 200, 429, 429]
    assert pages[2].json()["code"] == look.json()["code"] == "reidentify-quota-exceeded"
    assert int(pages[2].headers["Retry-After"]) > 3000
    assert SECRET not in pages[2].text
    assert house.outcomes("batch-originals") == [*["success"] * 2, "reidentify-quota-exceeded"]


async def test_pages_that_are_asked_for_at_once_do_not_slip_past_the_quota(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], originals: str
) -> None:
    await change(house, per_day=3)

    pages = await asyncio.gather(*[client.get(originals, headers=headers) for _ in range(8)])

    assert sorted(page.status_code for page in pages) == [200] * 3 + [429] * 5


@pytest.mark.parametrize("code", ["BTG", "ETREAT"])
async def test_an_emergency_opens_no_list_of_names(
    client: httpx.AsyncClient, house: House, headers: dict[str, str], originals: str, code: str
) -> None:
    emergency = headers | {"X-Purpose-Of-Use": code, "X-Reason": "nobody to be reached"}

    answer = await client.get(originals, headers=emergency)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")
    assert SECRET not in answer.text
    assert house.outcomes("batch-originals") == ["invalid-request"]
