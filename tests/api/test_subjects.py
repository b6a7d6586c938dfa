"""``DELETE /subjects/{pseudonym}``: who may, what is answered, and what uploads meet afterwards."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from app import bootstrap
from app.api.application import create_app
from app.audit.events import AuditEvent
from app.audit.repository import AuditTrail
from app.settings import Settings
from app.settings.service import Role
from app.vault import keys_ring
from app.vault.erasing_policy import AfterErasure, RetentionPolicies, RetentionPolicy
from app.vault.keys_store import KeyFiles
from tests.api.conftest import House

pytestmark = pytest.mark.db
WHY = {"purpose": "PATRQT", "reference": "DPO-1"}


async def upload(client: httpx.AsyncClient, instance: bytes, headers: dict[str, str]):
    return await client.post(
        "/anonymize-stream",
        content=instance,
        headers={**headers, "Content-Type": "application/dicom"},
    )


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_ring, "LOOK_EVERY_S", 0.05)


@pytest.fixture
async def officer(house: House) -> dict[str, str]:
    return await house.headers("officer", scopes={"admin"})


@pytest.fixture
async def viewer(house: House) -> dict[str, str]:
    return await house.headers("viewer", scopes={"anonymize"})


async def test_a_patient_is_erased_by_a_study_and_taken_no_more(
    client: httpx.AsyncClient,
    instance: bytes,
    officer: dict[str, str],
    viewer: dict[str, str],
) -> None:
    study = (await upload(client, instance, viewer)).headers["x-cloud-study-id"]

    answer = await client.delete(f"/subjects/{study}", params=WHY, headers=officer)
    refused = await upload(client, instance, viewer)

    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["destroyed"] == {
        "data_keys": 1,
        "identities": 1,
        "studies": 1,
        "series": 1,
        "instances": 1,
        "file_names": 0,
        "held_objects": 0,
    }
    assert (refused.status_code, refused.json()["code"]) == (422, "subject-erased")


async def test_the_same_patient_may_be_erased_again_by_his_id(
    client: httpx.AsyncClient, instance: bytes, officer: dict[str, str], viewer: dict[str, str]
) -> None:
    study = (await upload(client, instance, viewer)).headers["x-cloud-study-id"]
    first = await client.delete(f"/subjects/{study}", params=WHY, headers=officer)
    patient = first.json()["cloud_patient_id"]

    again = await client.delete(f"/subjects/DEMO-{patient}", params=WHY, headers=officer)

    assert again.status_code == 200, again.text
    assert set(again.json()["destroyed"].values()) == {0}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"path": "/subjects/P000000000000"}, (404, "pseudonym-not-found")),
        ({"path": "/subjects/PLANTED"}, (400, "invalid-request")),
        ({"path": f"/subjects/{'P' * 2000}"}, (400, "invalid-request")),
        ({"path": f"/subjects/{'P' * 2000}", "scopes": None}, (401, "not-authenticated")),
        ({"params": {}}, (400, "invalid-request")),
        ({"params": {"purpose": "request of PLANTED"}}, (400, "invalid-request")),
        ({"params": {"purpose": "PATRQT"}}, (400, "invalid-request")),
        ({"params": WHY | {"purpose": "BTG", "reason": "in haste"}}, (400, "invalid-request")),
        ({"params": WHY | {"PLANTED": "1"}}, (400, "invalid-request")),
        ({"params": [*WHY.items(), ("purpose", "TREAT")]}, (400, "invalid-request")),
        ({"scopes": {"reidentify"}}, (403, "not-authorised")),
        ({"scopes": None}, (401, "not-authenticated")),
    ],
    ids=range(12),
)
async def test_what_may_not_be_erased_is_refused_and_in_the_audit(
    house: House,
    client: httpx.AsyncClient,
    given: dict[str, object],
    expected: tuple[int, str],
) -> None:
    scopes = given.get("scopes", {"admin"})
    headers = {} if scopes is None else await house.headers("somebody", scopes=scopes)

    answer = await client.delete(
        str(given.get("path", "/subjects/P000000000000")),
        params=given.get("params", WHY),
        headers=headers,
    )

    assert (answer.status_code, answer.json()["code"]) == expected
    assert house.outcomes("erase-subject") == [expected[1]]
    assert "PLANTED" not in str(house.audit()) + house.logs.getvalue()


async def test_why_somebody_is_erased_may_stand_in_headers_and_is_in_the_audit(
    house: House,
    client: httpx.AsyncClient,
    instance: bytes,
    officer: dict[str, str],
    viewer: dict[str, str],
) -> None:
    study = (await upload(client, instance, viewer)).headers["x-cloud-study-id"]
    stated = {"X-Purpose-Of-Use": "patrqt", "X-Reference": "DPO-1", "X-Reason": "asked in writing"}

    answer = await client.delete(f"/subjects/{study}", headers=officer | stated)

    [row] = [row for row in house.audit() if row["action"] == "erase-subject"]
    assert answer.status_code == 200, answer.text
    assert (row["outcome"], row["purpose"]) == ("success", "PATRQT asked in writing")
    assert row["detail"]["reference"] == "DPO-1"


async def test_another_organisations_patient_is_unknown(
    house: House,
    client: httpx.AsyncClient,
    instance: bytes,
    viewer: dict[str, str],
) -> None:
    study = (await upload(client, instance, viewer)).headers["x-cloud-study-id"]
    await house.gateway.organizations.ensure("SOUTH")
    stranger = await house.headers("stranger", organization="SOUTH", scopes={"admin"})

    answer = await client.delete(f"/subjects/{study}", params=WHY, headers=stranger)

    assert (answer.status_code, answer.json()["code"]) == (404, "pseudonym-not-found")
    assert (await upload(client, instance, viewer)).status_code == 200


async def test_a_process_without_the_role_erases_nothing(
    configured: Callable[..., Settings], officer: dict[str, str]
) -> None:
    async with bootstrap.opened(configured(roles="anonymize")) as gateway:
        transport = httpx.ASGITransport(create_app(gateway.services()))
        async with httpx.AsyncClient(transport=transport, base_url="http://g.test") as client:
            answer = await client.delete("/subjects/P1", params=WHY, headers=officer)

    assert (answer.status_code, answer.json()["code"]) == (503, "role-not-served")


async def test_originals_expire_while_a_process_of_the_role_runs(
    house: House,
    configured: Callable[..., Settings],
    client: httpx.AsyncClient,
    instance: bytes,
    viewer: dict[str, str],
) -> None:
    await upload(client, instance, viewer)
    await RetentionPolicies(house.gateway.database).set(
        RetentionPolicy("DEMO", 30, AfterErasure.REFUSE),
        AuditEvent(action="", actor="officer"),
        AuditTrail(),
    )
    async with house.gateway.database.engine.begin() as connection:
        for change in (
            "UPDATE data_keys SET created_at = created_at - interval '31 days'",
            "UPDATE instances SET first_seen_at = first_seen_at - interval '31 days'",
        ):
            await connection.exec_driver_sql(change)

    async with (
        bootstrap.opened(configured(roles="admin", retention_every_s=1)) as gateway,
        bootstrap.retention_kept(gateway),
        asyncio.timeout(30),
    ):
        while house.outcomes("erase-expired") != ["success"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    assert Role.ADMIN == "admin"
    assert (await upload(client, instance, viewer)).status_code == 200


async def test_a_running_gateway_takes_up_new_keys_and_publishes_the_old_ones(
    house: House,
    client: httpx.AsyncClient,
    instance: bytes,
    viewer: dict[str, str],
) -> None:
    before = (await client.get("/signing-keys")).json()["keys"]
    study = (await upload(client, instance, viewer)).headers["x-cloud-study-id"]

    files: KeyFiles = bootstrap.key_files(house.gateway.settings)
    await asyncio.to_thread(files.rotate, activate_in_s=0)
    async with asyncio.timeout(30):
        while (await client.get("/signing-keys")).json()["keys"] == before:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    after = (await client.get("/signing-keys")).json()["keys"]
    assert after[1:] == before
    assert (await upload(client, instance, viewer)).headers["x-cloud-study-id"] == study
    assert house.gateway.vault.data_key("DEMO", "P1").stored.key_version == 2
