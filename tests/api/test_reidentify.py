"""``GET /reidentify``: the way back, for those who may, with every outcome in the audit."""

from collections.abc import Callable

import httpx
import pytest

from app import bootstrap
from app.api.application import create_app
from app.settings import Settings
from tests.api.conftest import WHO, House

REASON = "report delivery"
WHY = {"purpose": "TREAT", "reference": "TICKET-1"}


async def study_of(client: httpx.AsyncClient, house: House, instance: bytes) -> str:
    answer = await client.post(
        "/anonymize-stream",
        content=instance,
        headers={"Content-Type": "application/dicom"} | await house.headers("sender"),
    )
    return str(answer.headers["X-Cloud-Study-Id"])


def asking(study: str, **given: str) -> dict[str, str]:
    return {"cloud_study_id": study} | WHY | given


async def test_the_original_identifiers_come_back(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    study = await study_of(client, house, instance)

    answer = await client.get("/reidentify", params=asking(study), headers=await house.headers())

    found = answer.json()
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert found["cloud_study_id"] == study
    assert found["original_patient_id"] == WHO.patient_id
    assert found["original_accession_number"] == WHO.accession
    assert found["original_study_uid"] == "1.2.826.0.1.3680043.10.998.1"
    assert found["other_identities"] == []


async def test_a_carelessly_typed_id_is_understood(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    study = await study_of(client, house, instance)
    typed = study.replace("-", " ").lower()

    answer = await client.get("/reidentify", params=asking(typed), headers=await house.headers())

    assert answer.json()["cloud_study_id"] == study


async def test_a_corrected_patient_id_shows_both_identities(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    study = await study_of(client, house, instance)
    corrected = instance.replace(WHO.patient_id.encode(), b"PZ-7741-0099")
    await study_of(client, house, corrected)

    answer = await client.get("/reidentify", params=asking(study), headers=await house.headers())

    found = answer.json()
    others = [other["original_patient_id"] for other in found["other_identities"]]
    assert found["original_patient_id"] == "PZ-7741-0099"
    assert others == [WHO.patient_id]


async def test_purpose_reference_and_reason_are_kept_in_the_audit(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    study = await study_of(client, house, instance)
    stated = {"X-Purpose-Of-Use": "treat", "X-Reference": "TICKET-9", "X-Reason": "Größe prüfen"}
    headers = await house.headers("reader") | {k: v.encode() for k, v in stated.items()}

    answer = await client.get("/reidentify", params={"cloud_study_id": study}, headers=headers)

    [row] = [row for row in house.audit() if row["action"] == "reidentify"]
    assert answer.status_code == 200
    assert (row["outcome"], row["purpose"]) == ("success", "TREAT Größe prüfen")
    assert (row["actor"], row["detail"]["reference"]) == ("reader", "TICKET-9")
    assert (row["cloud_study_id"], row["request_id"]) == (study, answer.headers["X-Request-Id"])


@pytest.mark.parametrize(
    "stated",
    [
        {"reference": "TICKET-1"},
        {"purpose": "report delivery", "reference": "TICKET-1"},
        {"purpose": "HMARKT", "reference": "TICKET-1"},
        {"purpose": "TREAT"},
        {"purpose": "TREAT", "reference": "x"},
        {"purpose": "TREAT", "reference": "two\nlines"},
        {"purpose": "TREAT", "reference": "TICKET-1", "reason": "x" * 201},
        {"purpose": "ETREAT", "reference": "TICKET-1"},
    ],
    ids=["none", "in-words", "marketing", "no-reference", "short", "lines", "long", "emergency"],
)
async def test_without_a_proper_purpose_nothing_is_told(
    client: httpx.AsyncClient, house: House, instance: bytes, stated: dict[str, str]
) -> None:
    study = await study_of(client, house, instance)

    answer = await client.get(
        "/reidentify", params={"cloud_study_id": study} | stated, headers=await house.headers()
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")
    assert house.outcomes("reidentify") == ["invalid-request"]


async def test_a_purpose_in_words_is_told_what_to_state(
    client: httpx.AsyncClient, house: House
) -> None:
    stated = asking("7QM2X-9THV4-CBK8", purpose="report delivery")

    answer = await client.get("/reidentify", params=stated, headers=await house.headers())

    assert "TREAT" in answer.json()["detail"]
    assert "reason" in answer.json()["detail"]
    assert "report delivery" not in answer.text


async def test_two_different_purposes_are_refused(client: httpx.AsyncClient, house: House) -> None:
    headers = await house.headers() | {"X-Purpose-Of-Use": "HRESCH"}

    answer = await client.get("/reidentify", params=asking("7QM2X-9THV4-CBK8"), headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")


@pytest.mark.parametrize("name", ["cloud_study_id", "patient_id", "series_uid"])
async def test_even_what_is_far_too_long_is_refused_to_who_may_ask_and_in_the_audit(
    client: httpx.AsyncClient, house: House, name: str
) -> None:
    stated = {name: "9" * 5000, "purpose": "TREAT", "reference": "T-1"}

    unknown = await client.get("/reidentify", params=stated)
    answer = await client.get("/reidentify", params=stated, headers=await house.headers())

    assert unknown.status_code == 401
    assert answer.status_code == 422
    assert house.outcomes("reidentify") == ["not-authenticated", answer.json()["code"]]


@pytest.mark.parametrize(
    "query", ["cloud_study_id=A&cloud_study_id=B", "serie_uid=2.25.1&cloud_study_id=A"]
)
async def test_a_parameter_that_comes_twice_or_that_nobody_reads_is_refused(
    client: httpx.AsyncClient, house: House, query: str
) -> None:
    answer = await client.get(
        f"/reidentify?{query}&purpose=TREAT&reference=T-1", headers=await house.headers()
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")
    assert house.outcomes("reidentify") == ["invalid-request"]


async def test_a_missing_id_is_refused(client: httpx.AsyncClient, house: House) -> None:
    answer = await client.get("/reidentify", params=WHY, headers=await house.headers())

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")
    assert house.outcomes("reidentify") == ["invalid-request"]


async def test_a_mistyped_id_is_told_apart_from_an_unknown_one(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    study = await study_of(client, house, instance)
    mistyped = ("2" if study[0] != "2" else "3") + study[1:]

    answer = await client.get("/reidentify", params=asking(mistyped), headers=await house.headers())

    assert (answer.status_code, answer.json()["code"]) == (422, "mistyped-cloud-study-id")
    assert house.outcomes("reidentify") == ["mistyped-cloud-study-id"]


async def test_an_id_that_was_never_issued_is_not_found(
    client: httpx.AsyncClient, house: House
) -> None:
    never = house.gateway.vault.pseudonyms("DEMO").cloud_study_id("1.2.3.4")

    answer = await client.get("/reidentify", params=asking(never), headers=await house.headers())

    assert (answer.status_code, answer.json()["code"]) == (404, "pseudonym-not-found")
    assert house.outcomes("reidentify") == ["pseudonym-not-found"]


async def test_another_organisations_study_is_answered_like_one_that_was_never_issued(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    study = await study_of(client, house, instance)
    never = house.gateway.vault.pseudonyms("DEMO").cloud_study_id("1.2.3.4")
    await house.gateway.organizations.create("OTHER", "Another organisation", actor="test")
    headers = await house.headers(organization="OTHER")

    answers = [
        await client.get("/reidentify", params=asking(one), headers=headers)
        for one in (study, never)
    ]

    first, second = [answer.json() | {"request_id": ""} for answer in answers]
    assert first == second
    assert (first["status"], first["code"]) == (404, "pseudonym-not-found")
    assert house.outcomes("reidentify") == ["pseudonym-not-found"] * 2


async def test_a_key_without_the_scope_learns_nothing(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    study = await study_of(client, house, instance)
    headers = await house.headers(scopes=frozenset({"anonymize"}))

    answer = await client.get("/reidentify", params=asking(study), headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "not-authorised")
    assert house.outcomes("reidentify") == ["not-authorised"]


async def test_without_a_key_nothing_is_told(client: httpx.AsyncClient, house: House) -> None:
    answer = await client.get("/reidentify", params=asking("7QM2X-9THV4-CBK8"))

    assert (answer.status_code, answer.json()["code"]) == (401, "not-authenticated")
    assert house.outcomes("reidentify") == ["not-authenticated"]


async def test_a_process_without_the_private_key_says_that_it_cannot(
    client: httpx.AsyncClient,
    house: House,
    instance: bytes,
    configured: Callable[..., Settings],
) -> None:
    study = await study_of(client, house, instance)
    headers = await house.headers()
    settings = configured()
    settings.reidentify_key_path.unlink()

    async with bootstrap.opened(settings) as keyless:
        transport = httpx.ASGITransport(create_app(keyless.services()))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as other:
            answer = await other.get("/reidentify", params=asking(study), headers=headers)
            ready = await other.get("/readyz")

    assert (answer.status_code, answer.json()["code"]) == (503, "key-unavailable")
    assert house.outcomes("reidentify") == ["key-unavailable"]
    assert (ready.status_code, ready.json()["checks"]["reidentification-key"]) == (503, False)


async def test_a_role_that_is_not_served_says_so(
    house: House, configured: Callable[..., Settings]
) -> None:
    headers = await house.headers()
    async with bootstrap.opened(configured(roles=frozenset({"anonymize"}))) as sender:
        transport = httpx.ASGITransport(create_app(sender.services()))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as other:
            answer = await other.get("/reidentify", params=asking("x"), headers=headers)
            ready = await other.get("/readyz")

    assert (answer.status_code, answer.json()["code"]) == (503, "role-not-served")
    assert ready.json() == {"ready": True, "roles": ["anonymize"], "checks": {"database": True}}


async def test_addresses_and_what_was_found_are_not_logged(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    study = await study_of(client, house, instance)
    headers = await house.headers()

    await client.get("/reidentify", params=asking(study, reason="PLANTED"), headers=headers)
    await client.get("/reidentify", params=asking("PLANTED", reason="PLANTED"), headers=headers)
    await client.get("/PLANTED", params={"PLANTED": "PLANTED"})

    logged = house.logs.getvalue()
    assert not [text for text in ("PLANTED", study, *WHO.texts) if text in logged]
