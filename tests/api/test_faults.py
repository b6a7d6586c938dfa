"""Faults that nobody foresaw, on the way of a request: opaque to the caller, and in the audit."""

import httpx
import pytest

from app import errors, pipeline
from app.api.application import create_app
from app.api.routes import reidentify
from app.vault.disclosure.look import Look
from app.vault.service import Vault
from tests.api.conftest import WHO, House

DICOM = {"Content-Type": "application/dicom"}
PLANTED = "PLANTED^NAME"
LOOKED_FOR = {"purpose": "TREAT", "reference": f"T-{WHO.patient_id}", "reason": WHO.patient_id}


def fail(*_: object, **__: object) -> None:
    raise RuntimeError(PLANTED)


@pytest.fixture
def faulty_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "deidentify", fail)


@pytest.fixture
def faulty_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Look, "answers", fail)


async def sent(client: httpx.AsyncClient, house: House, instance: bytes) -> httpx.Response:
    headers = DICOM | await house.headers("sender")
    return await client.post("/anonymize-stream", content=instance, headers=headers)


@pytest.mark.usefixtures("faulty_pipeline")
async def test_a_fault_while_an_object_is_de_identified_is_in_the_audit(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    answer = await sent(client, house, instance)

    [row] = [row for row in house.audit() if row["action"] == "anonymize"]
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert (row["outcome"], row["actor"], row["profile"]) == ("internal-error", "sender", "basic")
    assert row["request_id"] == answer.headers["X-Request-Id"]
    assert row["api_key_id"] is not None
    assert row["detail"] is None
    assert PLANTED not in answer.text + str(house.audit()) + house.logs.getvalue()


@pytest.mark.usefixtures("faulty_look")
async def test_a_fault_while_a_patient_is_looked_for_is_in_the_audit(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    study = (await sent(client, house, instance)).headers["X-Cloud-Study-Id"]

    answer = await client.get(
        "/reidentify",
        params={"cloud_study_id": study} | LOOKED_FOR,
        headers=await house.headers("staff"),
    )

    [row] = [row for row in house.audit() if row["action"] == "reidentify"]
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert (row["outcome"], row["actor"], row["purpose"]) == ("internal-error", "staff", "TREAT")
    assert row["cloud_study_id"] == study
    assert PLANTED not in answer.text + str(house.audit())
    assert WHO.patient_id not in str(house.audit())


@pytest.mark.usefixtures("faulty_look")
async def test_a_fault_in_an_emergency_is_audited_as_one(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    study = (await sent(client, house, instance)).headers["X-Cloud-Study-Id"]
    asked = {"cloud_study_id": study} | LOOKED_FOR | {"purpose": "BTG"}

    await client.get("/reidentify", params=asked, headers=await house.headers())

    assert house.outcomes("reidentify-break-glass") == ["internal-error"]


async def test_a_fault_after_the_look_is_in_the_audit_beside_it(
    client: httpx.AsyncClient, house: House, instance: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = (await sent(client, house, instance)).headers["X-Cloud-Study-Id"]
    monkeypatch.setattr(reidentify, "told", fail)

    answer = await client.get(
        "/reidentify", params={"cloud_study_id": study} | LOOKED_FOR, headers=await house.headers()
    )

    assert answer.status_code == 500
    assert sorted(house.outcomes("reidentify")) == ["internal-error", "success"]


@pytest.mark.parametrize("trouble", [errors.DatabaseUnavailable(), OSError(PLANTED)])
@pytest.mark.usefixtures("faulty_pipeline")
async def test_a_fault_that_cannot_be_audited_is_answered_as_an_outage(
    client: httpx.AsyncClient,
    house: House,
    instance: bytes,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Exception,
) -> None:
    async def refuse(_vault: Vault, _event: object) -> None:
        raise trouble

    monkeypatch.setattr(Vault, "audit", refuse)

    answer = await sent(client, house, instance)

    assert (answer.status_code, answer.json()["code"]) == (503, "database-unavailable")
    assert answer.headers["Retry-After"]
    assert PLANTED not in answer.text + house.logs.getvalue()


async def test_a_fault_before_it_is_known_who_asks_has_no_row(
    client: httpx.AsyncClient, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(house.gateway.services().callers), "recognise", fail)
    before = house.audit()

    answer = await client.get("/profiles", headers={"X-API-Key": "x"})

    assert answer.status_code == 500
    assert house.audit() == before


async def test_a_caller_that_goes_away_is_no_fault(house: House) -> None:
    headers = {"content-type": "application/json"} | await house.headers()
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/reidentify/batch",
        "query_string": b"",
        "headers": [(name.lower().encode(), text.encode()) for name, text in headers.items()],
    }
    messages: list[dict[str, object]] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        return messages.pop(0)

    async def send(message: object) -> None:
        sent.append(message)

    await create_app(house.gateway.services())(scope, receive, send)

    assert sent == []
    assert "request-failed" not in house.logs.getvalue()
    assert house.outcomes("reidentify") == []
