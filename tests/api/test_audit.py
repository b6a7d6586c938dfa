"""``GET /audit``: an organisation reads its own audit, and that it did is in it."""

import httpx
import pytest
from fhir.resources.R4B.bundle import Bundle

from app.audit.checkpoints import read
from app.audit.events import AuditEvent
from app.audit.sealing import Sealer
from app.errors import DatabaseUnavailable
from app.vault.service import Vault
from tests.api.conftest import House

pytestmark = pytest.mark.db
STUDY = "7QM2X-9THV4-CBK9"


async def write(house: House, count: int, **given: object) -> None:
    given = {"action": "a", "organization": "DEMO", **given}
    for number in range(count):
        await house.gateway.vault.audit(AuditEvent(detail={"number": number}, **given))


@pytest.fixture
async def reader(house: House, client: httpx.AsyncClient) -> httpx.AsyncClient:
    client.headers.update(await house.headers("officer", scopes={"audit"}))
    return client


def actions(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [event["action"] for event in answer.json()["events"]]


async def test_the_newest_events_come_first(house: House, reader: httpx.AsyncClient) -> None:
    await write(house, 1, action="older")
    await write(house, 1, action="newer")

    answer = await reader.get("/audit")

    assert actions(answer)[:2] == ["newer", "older"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["organization"] == "DEMO"


async def test_reading_is_in_the_audit(house: House, reader: httpx.AsyncClient) -> None:
    await write(house, 2)

    answer = await reader.get("/audit", params={"actor": "PLANTED^NAME", "limit": 5})

    (row,) = [row for row in house.audit() if row["action"] == "read-audit"]
    assert (row["actor"], row["outcome"]) == ("officer", "success")
    assert row["request_id"] == answer.headers["x-request-id"]
    assert row["detail"] == {"rows": 0, "filters": "actor"}
    assert "PLANTED" not in str(house.audit())


async def test_nothing_is_answered_that_cannot_be_recorded(
    house: House, reader: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(house, 1, action="secretive")

    async def fail(_self: Vault, _event: AuditEvent) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(Vault, "audit", fail)
    answer = await reader.get("/audit")

    assert answer.status_code == 503
    assert "secretive" not in answer.text


async def test_pages_lead_to_every_event_once(house: House, reader: httpx.AsyncClient) -> None:
    await write(house, 5, action="sought")

    found, address = [], "/audit?action=sought&limit=2"
    while address:
        answer = await reader.get(address)
        found += [event["seq"] for event in answer.json()["events"]]
        address = answer.json()["next"]
        assert ("link" in answer.headers) is bool(address)

    assert len(found) == 5
    assert found == sorted(found, reverse=True)


async def test_another_organisations_events_are_not_seen(
    house: House, reader: httpx.AsyncClient
) -> None:
    await house.gateway.organizations.ensure("OTHER")
    await write(house, 1, action="theirs", organization="OTHER")
    await write(house, 1, action="nobodys", organization=None)

    assert not {"theirs", "nobodys"} & set(actions(await reader.get("/audit?limit=1000")))


async def test_a_key_that_may_act_for_others_reads_its_own_alone(
    house: House, client: httpx.AsyncClient
) -> None:
    await house.gateway.organizations.ensure("OTHER")
    await write(house, 1, action="theirs", organization="OTHER")
    headers = await house.headers(scopes={"audit"}, organizations={"OTHER"})

    everything = await client.get("/audit", headers=headers)
    asked = await client.get("/audit?organization=OTHER", headers=headers)

    assert "theirs" not in actions(everything)
    assert asked.status_code == 400


FILTERS = (
    ({"action": "b"}, ["b"]),
    ({"outcome": "not-authorised"}, ["denied"]),
    ({"actor": "someone"}, ["acted"]),
    ({"request_id": "r1"}, ["asked"]),
    ({"until": "2020-01-01T00:00:00Z"}, []),
    ({"since": "2020-01-01T00:00:00+02:00", "action": "b"}, ["b"]),
)


async def test_filters_are_followed(house: House, reader: httpx.AsyncClient) -> None:
    await write(house, 1, action="b")
    await write(house, 1, action="denied", outcome="not-authorised")
    await write(house, 1, action="acted", actor="someone")
    await write(house, 1, action="asked", request_id="r1")

    answers = [actions(await reader.get("/audit", params=given)) for given, _ in FILTERS]

    assert answers == [wanted for _, wanted in FILTERS]


async def test_a_study_is_found_however_its_id_is_typed(
    house: House, reader: httpx.AsyncClient
) -> None:
    study = house.gateway.vault.pseudonyms("DEMO").cloud_study_id("1.2.3")
    await write(house, 1, action="b", cloud_study_id=study)

    typed = study.replace("-", "").lower()
    answer = await reader.get("/audit", params={"cloud_study_id": typed})

    assert actions(answer) == ["b"]
    assert house.audit()[-1]["cloud_study_id"] == study


async def test_a_mistyped_study_is_refused_and_recorded_without_it(
    house: House, reader: httpx.AsyncClient
) -> None:
    answer = await reader.get("/audit", params={"cloud_study_id": "PLANTED NAME"})

    assert (answer.status_code, answer.json()["code"]) == (422, "mistyped-cloud-study-id")
    assert house.outcomes("read-audit") == ["mistyped-cloud-study-id"]
    assert "PLANTED" not in str(house.audit()) + answer.text


MEANINGLESS = (
    "limit=0",
    "limit=1001",
    "since=yesterday",
    "since=2026-01-01T00:00:00",
    "acton=x",
    "actor=x&actor=y",
)


async def test_parameters_that_mean_nothing_are_refused(reader: httpx.AsyncClient) -> None:
    answers = [await reader.get(f"/audit?{query}") for query in MEANINGLESS]

    assert {answer.status_code for answer in answers} == {400}


async def test_a_place_that_no_page_named_is_refused(
    house: House, reader: httpx.AsyncClient
) -> None:
    assert (await reader.get("/audit?before=x")).json()["code"] == "invalid-request"
    assert house.outcomes("read-audit") == ["invalid-request"]


NEVER_STORED = (
    *[f"{name}=a%00b" for name in ("action", "outcome", "actor", "request_id")],
    "before=1-9223372036854775808",
    "before=1-9999999999999999999",
)


@pytest.mark.parametrize("query", NEVER_STORED, ids=range(6))
async def test_what_no_row_can_hold_is_the_callers_mistake_and_no_fault_of_the_database(
    house: House, reader: httpx.AsyncClient, query: str
) -> None:
    answer = await reader.get(f"/audit?{query}")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")
    assert house.outcomes("read-audit") == ["invalid-request"]


@pytest.mark.parametrize("path", ["/audit", "/audit/checkpoint"])
async def test_without_the_scope_nothing_is_read(
    house: House, client: httpx.AsyncClient, path: str
) -> None:
    headers = await house.headers(scopes={"anonymize", "reidentify", "admin"})

    answer = await client.get(path, headers=headers)

    assert answer.status_code == 403
    assert house.outcomes("read-audit") == ["not-authorised"]


@pytest.mark.parametrize("path", ["/audit", "/audit/checkpoint"])
async def test_without_a_key_nothing_is_read(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 401


ACCEPTED = (
    ("application/fhir+json", "application/fhir+json"),
    ("Application/FHIR+JSON; fhirVersion=4.0, application/json", "application/fhir+json"),
    ("application/json, application/fhir+json", "application/json"),
    ("*/*", "application/json"),
)


async def test_fhir_is_answered_to_those_who_ask_for_it(reader: httpx.AsyncClient) -> None:
    answers = [await reader.get("/audit", headers={"Accept": accept}) for accept, _ in ACCEPTED]

    assert [answer.headers["content-type"] for answer in answers] == [kind for _, kind in ACCEPTED]
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}


async def test_a_bundle_is_valid_and_leads_to_the_next(
    house: House, reader: httpx.AsyncClient
) -> None:
    await write(house, 3, action="sought", purpose="TREAT", cloud_study_id=STUDY)

    reader.headers["Accept"] = "application/fhir+json"
    first = Bundle.model_validate((await reader.get("/audit?action=sought&limit=2")).json())
    links = {link.relation: link.url for link in first.link}
    second = Bundle.model_validate((await reader.get(links["next"])).json())

    assert len(first.entry) == 2
    assert len(second.entry) == 1
    assert [link.relation for link in second.link] == ["self"]


async def test_the_newest_checkpoint_is_answered_as_a_file(
    house: House, reader: httpx.AsyncClient
) -> None:
    signer = house.gateway.signer
    await house.gateway.organizations.ensure("OTHER")
    await write(house, 2)
    await write(house, 1, organization="OTHER")
    await Sealer(house.gateway.database, signer).seal(at_once=True)

    answer = await reader.get("/audit/checkpoint")

    (found,) = read(answer.content)
    assert found.chain == "DEMO"
    assert found.is_signed_by(signer.public_keys())
    assert answer.headers["cache-control"] == "no-store"


async def test_before_anything_was_sealed_the_file_is_empty(reader: httpx.AsyncClient) -> None:
    assert read((await reader.get("/audit/checkpoint")).content) == []
