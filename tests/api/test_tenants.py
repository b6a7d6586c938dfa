"""Two organisations in one gateway: what they may use, and that nothing links what they send."""

import asyncio
import io
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border

from app import bootstrap, samples
from app.api.application import create_app
from app.batches.worker import run_worker
from app.cli.working import parts_of
from app.settings import Settings
from tests.api.conftest import House

DICOM = {"Content-Type": "application/dicom"}
# Values that are the standard's own or the same for everybody.
SHARED_KEYWORDS = re.compile(r"SOPClassUID|TransferSyntaxUID|ImplementationClassUID|CodingScheme")


async def allow(house: House, organization: str = "DEMO", **changes: object) -> None:
    organizations = house.gateway.organizations
    policy = replace(await organizations.policy(organization), **changes)
    await organizations.change(organization, policy, actor="cli:admin")


async def send(
    client: httpx.AsyncClient, instance: bytes, headers: dict[str, str], query: str = ""
) -> httpx.Response:
    return await client.post(f"/anonymize-stream{query}", content=instance, headers=headers | DICOM)


def identifiers(directory_or_bytes: Path | bytes) -> set[str]:
    """Every UID, id and date of the results, but what everybody has."""
    if isinstance(directory_or_bytes, Path):
        found: set[str] = set()
        for path in directory_or_bytes.rglob("*.dcm"):
            found |= identifiers(path.read_bytes())
        return found
    dataset = dcmread(io.BytesIO(directory_or_bytes))
    return {
        str(element.value)
        for element in dataset.iterall()
        if (element.VR == "UI" and not SHARED_KEYWORDS.search(element.keyword))
        or element.keyword in {"PatientID", "PatientName", "AccessionNumber", "StudyID"}
        if element.value
    }


async def test_one_patient_in_two_organisations_cannot_be_linked(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    await house.gateway.organizations.create("SOUTH", actor="test")
    sent = [
        await send(client, instance, await house.headers(organization=organization))
        for organization in ("DEMO", "SOUTH")
    ]

    [mine, theirs] = [identifiers(answer.content) for answer in sent]
    assert mine
    assert mine & theirs == set()


async def test_a_study_of_another_organisation_is_not_told(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    await house.gateway.organizations.create("SOUTH", actor="test")
    sent = await send(client, instance, await house.headers(organization="SOUTH"))
    batch = {"study_directory": str(house.gateway.settings.roots[0].absolute())}
    house.gateway.settings.roots[0].mkdir(parents=True, exist_ok=True)
    made = await client.post(
        "/batch-prepare", json=batch, headers=await house.headers(organization="SOUTH")
    )

    headers = await house.headers()
    shown = await client.get(made.headers["Location"], headers=headers)
    listed = await client.get("/batches", headers=headers)

    assert sent.status_code == 200
    assert (made.status_code, shown.status_code) == (202, 404)
    assert listed.json()["batches"] == []


async def test_a_profile_that_the_organisation_does_not_allow_is_denied(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    await allow(house, profiles=frozenset({"strict"}))
    headers = await house.headers(profiles=["*"])

    answers = [
        await send(client, instance, headers, query)
        for query in ("", "?profile=strict", "?profile=research")
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 403]
    assert [answer.headers.get("X-Deid-Profile", "").split(";")[0] for answer in answers[:2]] == [
        "basic",
        "strict",
    ]
    assert house.outcomes("anonymize") == ["success", "success", "not-authorised"]


async def test_a_key_without_a_profile_follows_its_organisation(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    await allow(house, profile="strict")

    answer = await send(client, instance, await house.headers())

    assert answer.headers["X-Deid-Profile"].startswith("strict;")


async def test_a_key_may_not_bring_a_profile_to_an_organisation_that_has_it_not(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    await house.gateway.organizations.create("SOUTH", actor="test")
    await allow(house, "SOUTH", profile="strict", profiles=frozenset())
    headers = await house.headers(profiles=["strict"], organizations=["SOUTH"])

    answers = [
        await send(client, instance, headers, f"?organization=SOUTH{query}")
        for query in ("", "&profile=strict")
    ]

    assert [answer.status_code for answer in answers] == [403, 200]


async def test_a_day_has_so_many_instances(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    await allow(house, objects_per_day=2)
    headers = await house.headers()

    answers = [await send(client, instance, headers) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert answers[2].json()["code"] == "quota-exceeded"
    assert 0 < int(answers[2].headers["Retry-After"]) <= 86_400
    assert house.outcomes("anonymize") == ["success", "success", "quota-exceeded"]


async def test_so_many_batches_are_open_at_once(client: httpx.AsyncClient, house: House) -> None:
    await allow(house, open_batches=1)
    root = house.gateway.settings.roots[0]
    samples.write_sample_study(root / "study")
    asked = {"study_directory": str((root / "study").absolute())}
    headers = await house.headers()

    answers = [await client.post("/batch-prepare", json=asked, headers=headers) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 429]
    assert answers[1].json()["code"] == "quota-exceeded"
    assert house.outcomes("batch-prepare")[-1] == "quota-exceeded"


@pytest.fixture
async def with_stores(
    configured: Callable[..., Settings], tmp_path: Path, database_url: str, logs
) -> AsyncIterator[tuple[House, httpx.AsyncClient, Path]]:
    """A gateway with three destinations, two of them of one domain, and a worker beside it."""
    stores = tmp_path / "stores.yaml"
    entries = [("readers", ""), ("trial-a", "trial"), ("trial-b", "trial")]
    lines = ["stores:"]
    for name, domain in entries:
        (tmp_path / name).mkdir()
        lines += [f"  {name}:", f"    url: file://{tmp_path / name}", "    organizations: '*'"]
        lines += [f"    pseudonym_domain: {domain}"] if domain else []
    stores.write_text("\n".join(lines) + "\n")
    async with bootstrap.opened(configured(stores_file=stores)) as gateway:
        stop = asyncio.Event()
        parts = await asyncio.to_thread(parts_of, gateway)
        task = asyncio.create_task(run_worker(parts, stop))
        transport = httpx.ASGITransport(create_app(gateway.services()))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
            yield House(gateway, database_url, logs), client, tmp_path
        stop.set()
        await task


async def test_a_destination_with_a_domain_has_pseudonyms_of_its_own(with_stores) -> None:
    house, client, place = with_stores
    study = house.gateway.settings.roots[0] / "study"
    samples.write_sample_study(study)
    headers = await house.headers() | {"Prefer": "wait=60"}
    states = []
    for name in ("readers", "trial-a", "trial-b"):
        asked = {"study_directory": str(study.absolute()), "destination": name}
        answer = await client.post("/batch-prepare", json=asked, headers=headers)
        states.append(answer.json()["state"])

    [readers, trial, same] = [
        identifiers(place / name) for name in ("readers", "trial-a", "trial-b")
    ]
    assert states == ["succeeded"] * 3
    assert trial
    assert readers & trial == set()
    assert trial == same


async def test_what_went_into_a_domain_is_found_again(with_stores) -> None:
    house, client, place = with_stores
    study = house.gateway.settings.roots[0] / "study"
    originals = samples.write_sample_study(study)
    headers = await house.headers()
    found = set()
    for name in ("readers", "trial-a"):
        asked = {"study_directory": str(study.absolute()), "destination": name}
        await client.post("/batch-prepare", json=asked, headers=headers | {"Prefer": "wait=60"})
        result = dcmread(next((place / name).rglob("*.dcm")))
        answer = await client.get(
            "/reidentify",
            params={
                "cloud_study_id": result.AccessionNumber,
                "purpose": "TREAT",
                "reference": "ACC-1",
            },
            headers=headers,
        )
        found.add(answer.json().get("original_study_uid", answer.text))

    sent = dcmread(originals[0])
    assert found == {str(sent.StudyInstanceUID)}
