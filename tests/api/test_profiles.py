"""``/profiles``: listed, shown, explained on one object and compared, on a real database."""

import json

import httpx
import psycopg
import pytest
from psycopg import sql

from app.api.profile_schemas import Comparison, ExplainedObject, ProfileContent, ProfileList
from app.bootstrap import Gateway
from app.deid.profile import BUILT_IN
from tests import builders
from tests.api.conftest import WHO, House

DICOM = {"Content-Type": "application/dicom"}
SENDING = frozenset({"anonymize"})
# What every authorised request leaves behind.
NOT_MAPPING = {"audit_events", "audit_heads"}


def rows(url: str) -> dict[str, int]:
    """Count the rows of every table."""
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        statement = sql.SQL("SELECT count(*) FROM {}")
        counts = {
            name: connection.execute(statement.format(sql.Identifier(name))).fetchone()
            for (name,) in found.fetchall()
        }
        return {name: count[0] for name, count in counts.items() if count is not None}


async def explain(
    client: httpx.AsyncClient, house: House, instance: bytes, query: str = "", **key
) -> httpx.Response:
    key.setdefault("scopes", SENDING)
    return await client.post(
        f"/profiles/basic/explain{query}",
        content=instance,
        headers=DICOM | await house.headers(**key),
    )


# --- Lists -------------------------------------------------------------------------------------


async def test_a_caller_is_told_the_profiles_that_it_may_choose(
    client: httpx.AsyncClient, house: House
) -> None:
    headers = await house.headers(scopes=SENDING, profiles=frozenset({"teleradiology"}))

    answer = await client.get("/profiles", headers=headers)

    listed = ProfileList.model_validate(answer.json()).profiles
    assert [(one.name, one.is_default) for one in listed] == [
        ("basic", True),
        ("teleradiology", False),
    ]
    assert answer.headers["Cache-Control"] == "no-store"


async def test_a_profile_is_shown_with_its_content(client: httpx.AsyncClient, house: House) -> None:
    headers = await house.headers(scopes=SENDING, profiles=frozenset({"*"}))

    answer = await client.get("/profiles/teleradiology", headers=headers)

    shown = ProfileContent.model_validate(answer.json())
    assert shown.version == BUILT_IN["teleradiology"].version
    assert shown.content["identity"]["accession_number"] == "{cloud_study_id}"
    assert shown.method_codes[0].value == "113100"


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [("teleradiology", 403, "not-authorised"), ("basic", 200, None)],
)
async def test_a_profile_is_shown_to_those_who_may_choose_it(
    client: httpx.AsyncClient, house: House, name: str, status: int, code: str | None
) -> None:
    answer = await client.get(f"/profiles/{name}", headers=await house.headers(scopes=SENDING))

    assert (answer.status_code, answer.json().get("code")) == (status, code)


async def test_an_unknown_profile_is_not_found(client: httpx.AsyncClient, house: House) -> None:
    headers = await house.headers(scopes=SENDING, profiles=frozenset({"*"}))

    shown = await client.get("/profiles/planted-name", headers=headers)
    explained = await client.post(
        "/profiles/planted-name/explain", content=b"x", headers=DICOM | headers
    )

    assert shown.json()["code"] == explained.json()["code"] == "profile-not-found"
    assert "planted-name" not in shown.text + explained.text


# --- Explaining --------------------------------------------------------------------------------


async def test_an_object_is_explained_element_by_element(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    answer = await explain(client, house, instance)

    told = ExplainedObject.model_validate(answer.json())
    by_path = {element.path: element for element in told.elements}
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert by_path["(0010,0010)"].new == "pseudonym"
    assert by_path["(0010,1002)[0].(0010,0020)"].result == "removed"
    assert sum(told.counts.values()) == len(told.elements)


async def test_an_explanation_tells_no_value_and_makes_no_mapping(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    headers = DICOM | await house.headers(scopes=SENDING)
    before = rows(house.url)

    answer = await client.post("/profiles/basic/explain", content=instance, headers=headers)

    after = rows(house.url)
    assert answer.status_code == 200
    assert [text for text in WHO.texts if text in answer.text] == []
    assert {name for name in after if after[name] != before[name]} <= NOT_MAPPING
    assert after["audit_events"] == before["audit_events"] + 1


async def test_an_explanation_is_audited(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    answer = await explain(client, house, instance)

    [row] = [row for row in house.audit() if row["action"] == "explain"]
    assert (row["outcome"], row["profile"], row["detail"]) == ("success", "basic", None)
    assert row["request_id"] == answer.headers["X-Request-Id"]
    assert row["cloud_study_id"] is None


async def test_values_are_told_to_those_who_may_find_patients_and_audited(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    answer = await explain(
        client, house, instance, "?values=true", scopes=frozenset({"anonymize", "reidentify"})
    )

    told = ExplainedObject.model_validate(answer.json())
    [name] = [element for element in told.elements if element.path == "(0010,0010)"]
    [row] = [row for row in house.audit() if row["action"] == "explain"]
    assert name.old_value == f"{WHO.family}^{WHO.given}"
    assert name.new_value is None
    assert row["detail"] == {"values": "shown"}


async def test_values_need_the_scope_reidentify(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    answer = await explain(client, house, instance, "?values=true")

    assert (answer.status_code, answer.json()["code"]) == (403, "not-authorised")
    assert house.outcomes("explain") == ["not-authorised"]


@pytest.mark.parametrize(
    ("path", "scopes"),
    [
        ("/profiles/basic/explain", frozenset({"reidentify"})),
        ("/profiles/compare?left=basic&right=basic", frozenset({"batch"})),
    ],
    ids=["explain", "compare"],
)
async def test_a_caller_without_the_scope_is_refused_and_audited(
    client: httpx.AsyncClient, house: House, instance: bytes, path: str, scopes: frozenset[str]
) -> None:
    headers = DICOM | await house.headers(scopes=scopes)

    answer = await client.post(path, content=instance, headers=headers)

    assert answer.status_code == 403
    assert house.outcomes("explain") == ["not-authorised"]


async def test_nobody_explains_without_a_key(client: httpx.AsyncClient, house: House) -> None:
    answer = await client.post("/profiles/basic/explain", content=b"x", headers=DICOM)

    assert answer.status_code == 401
    assert house.outcomes("explain") == ["not-authenticated"]


async def test_a_refused_object_answers_with_its_problem(
    client: httpx.AsyncClient, house: House
) -> None:
    dataset = builders.ct(WHO)
    dataset.BurnedInAnnotation = "YES"

    answer = await explain(client, house, builders.part10(dataset))

    assert (answer.status_code, answer.json()["code"]) == (422, "burned-in-annotation-suspected")
    assert answer.json()["path"] == "(0028,0301)"
    assert house.outcomes("explain") == ["burned-in-annotation-suspected"]


@pytest.mark.parametrize(
    ("query", "content", "headers", "status"),
    [
        ("?values=maybe", b"x", DICOM, 400),
        ("?profile=basic", b"x", DICOM, 400),
        ("", b"", DICOM, 400),
        ("", b"not DICOM at all", DICOM, 400),
        ("", b"x", {"Content-Type": "text/plain"}, 415),
        ("", b"x", DICOM | {"Content-Encoding": "gzip"}, 415),
        ("", b"x", DICOM | {"Content-Length": str(1 << 50)}, 413),
        ("?organization=OTHER", b"x", DICOM, 403),
    ],
    ids=["flag", "parameter", "empty", "no-dicom", "type", "gzip", "large", "organization"],
)
async def test_what_anonymize_stream_would_not_take_is_not_explained(
    client: httpx.AsyncClient,
    house: House,
    query: str,
    content: bytes,
    headers: dict[str, str],
    status: int,
) -> None:
    answer = await client.post(
        f"/profiles/basic/explain{query}",
        content=content,
        headers=headers | await house.headers(scopes=SENDING),
    )

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_form_is_explained_like_a_raw_body(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    headers = await house.headers(scopes=SENDING)
    raw = await client.post("/profiles/basic/explain", content=instance, headers=DICOM | headers)

    form = await client.post("/profiles/basic/explain", files={"file": instance}, headers=headers)

    assert form.json() == raw.json()


async def test_an_object_from_the_spool_is_explained(
    client: httpx.AsyncClient, house: House
) -> None:
    dataset = builders.ct(WHO)
    dataset.Rows = dataset.Columns = 2304
    dataset.PixelData = bytes(2304 * 2304 * 2)
    gateway: Gateway = house.gateway

    answer = await explain(client, house, builders.part10(dataset))

    pixels = answer.json()["elements"][-1]
    assert len(dataset.PixelData) > gateway.settings.memory_body_bytes
    assert (pixels["path"], pixels["result"]) == ("(7FE0,0010)", "kept")
    assert pixels["old"] == f"OW({len(dataset.PixelData)} bytes)"


# --- Comparing ---------------------------------------------------------------------------------


async def test_two_profiles_are_compared_on_one_object(
    client: httpx.AsyncClient, house: House
) -> None:
    dataset = builders.ct(WHO)
    dataset.StudyDescription = "HEAD"
    headers = DICOM | await house.headers(scopes=SENDING, profiles=frozenset({"*"}))

    answer = await client.post(
        "/profiles/compare?left=basic&right=teleradiology",
        content=builders.part10(dataset),
        headers=headers,
    )

    told = Comparison.model_validate(answer.json())
    found = {one.path: (one.left, one.right) for one in told.differences}
    left, right = found["(0008,1030)"]
    [row] = [row for row in house.audit() if row["action"] == "explain"]
    assert (told.left.profile, told.right.profile) == ("basic", "teleradiology")
    assert left is not None
    assert right is not None
    assert (left.action, right.action) == ("remove", "clean")
    assert row["detail"]["compared-with"].startswith("teleradiology ")
    assert [text for text in WHO.texts if text in json.dumps(answer.json())] == []


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 400), ("?left=basic", 400), ("?left=basic&right=strict", 403), ("?values=true", 400)],
)
async def test_a_comparison_needs_two_profiles_that_the_caller_may_choose(
    client: httpx.AsyncClient, house: House, instance: bytes, query: str, status: int
) -> None:
    headers = DICOM | await house.headers(scopes=SENDING)

    answer = await client.post(f"/profiles/compare{query}", content=instance, headers=headers)

    assert answer.status_code == status


# --- The description ---------------------------------------------------------------------------


async def test_the_description_has_schemas_and_problems_of_explanations(
    client: httpx.AsyncClient,
) -> None:
    document = (await client.get("/openapi.json")).json()
    paths, schemas = document["paths"], document["components"]["schemas"]

    operation = paths["/profiles/{name}/explain"]["post"]
    reference = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert reference == "#/components/schemas/ExplainedObject"
    assert schemas["ExplainedObject"]["examples"]
    assert schemas["Comparison"]["examples"]
    assert "application/problem+json" in operation["responses"]["422"]["content"]
    assert operation["security"] == [{"bearer": []}, {"apiKey": []}]
    assert {"get", "post"} <= set(paths["/profiles"]) | set(paths["/profiles/compare"])
    text = json.dumps(document)
    names = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert names <= set(schemas)


def test_the_examples_of_the_description_fit_their_schemas() -> None:
    for model in (ExplainedObject, Comparison):
        [example] = model.model_json_schema()["examples"]
        assert model.model_validate(example)
