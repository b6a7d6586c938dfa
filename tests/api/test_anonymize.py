"""``POST /anonymize-stream`` on the real pipeline and a real database."""

from io import BytesIO
from urllib.parse import urlsplit

import httpx
import psycopg
import pydicom
import pytest
from psycopg import sql

from app.api.routes.anonymize import gathered, warnings_header
from app.deid.planning import Remark
from tests import builders
from tests.api.conftest import WHO, House
from tests.canaries.search import found, searchable

DICOM = {"Content-Type": "application/dicom"}
BASIC = {"profile": "basic"}


def read(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(data))  # noqa: TID251 - what a receiver sees


def close_to_everybody(url: str, maintenance_url: str) -> None:
    name = urlsplit(url).path[1:]
    with psycopg.connect(maintenance_url, autocommit=True) as connection:
        statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false")
        connection.execute(statement.format(sql.Identifier(name)))
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )


async def test_an_object_comes_back_de_identified(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    answer = await client.post(
        "/anonymize-stream", content=instance, headers=DICOM | await house.headers()
    )

    dataset = read(answer.content)
    assert answer.status_code == 200
    assert dataset.PatientIdentityRemoved == "YES"
    assert dataset.AccessionNumber == answer.headers["X-Cloud-Study-Id"]
    assert dataset.PixelData == read(instance).PixelData
    assert not [text for text in WHO.texts if text.encode() in answer.content]


async def test_the_answer_says_what_was_done(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    answer = await client.post(
        "/anonymize-stream", content=instance, headers=DICOM | await house.headers()
    )

    study = answer.headers["X-Cloud-Study-Id"]
    assert answer.headers["Content-Type"] == "application/dicom"
    assert answer.headers["Content-Length"] == str(len(answer.content))
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{study}.dcm"'
    assert answer.headers["X-Processed-At"].endswith("Z")
    assert answer.headers["X-Deid-Profile"].startswith("basic;version=")
    assert answer.headers["Cache-Control"] == "no-store"
    assert len(answer.headers["X-Request-Id"]) == 16


async def test_a_form_gives_the_same_bytes_as_a_raw_body(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    headers = await house.headers()
    raw = await client.post("/anonymize-stream", content=instance, headers=DICOM | headers)

    form = await client.post("/anonymize-stream", files={"file": instance}, headers=headers)

    assert form.status_code == 200
    assert form.content == raw.content


@pytest.mark.parametrize("media_type", ["application/octet-stream", "Application/DICOM; x=y"])
async def test_raw_bodies_are_taken_under_these_media_types(
    client: httpx.AsyncClient, house: House, instance: bytes, media_type: str
) -> None:
    headers = await house.headers() | {"Content-Type": media_type}

    answer = await client.post("/anonymize-stream", content=instance, headers=headers)

    assert answer.status_code == 200


async def test_the_key_may_stand_in_x_api_key(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    headers = DICOM | {"X-API-Key": await house.token()}

    answer = await client.post("/anonymize-stream", content=instance, headers=headers)

    assert answer.status_code == 200


async def test_mapping_and_audit_are_there_when_the_answer_is(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    answer = await client.post(
        "/anonymize-stream", content=instance, headers=DICOM | await house.headers()
    )

    [row] = [row for row in house.audit() if row["action"] == "anonymize"]
    assert row["outcome"] == "success"
    assert row["cloud_study_id"] == answer.headers["X-Cloud-Study-Id"]
    assert row["request_id"] == answer.headers["X-Request-Id"]
    assert row["profile"] == "basic"


@pytest.mark.parametrize(
    ("headers", "because"),
    [
        ({}, "none"),
        ({"Authorization": "Bearer dgw_AAAAAAAA_" + "x" * 43}, "unknown"),
        ({"Authorization": "Basic dXNlcjpwYXNz"}, "other-scheme"),
        ({"Authorization": "Bearer a", "X-API-Key": "b"}, "two"),
    ],
    ids=["none", "unknown", "other-scheme", "two"],
)
async def test_without_a_valid_key_nothing_is_taken(
    client: httpx.AsyncClient,
    house: House,
    instance: bytes,
    headers: dict[str, str],
    because: str,
) -> None:
    answer = await client.post("/anonymize-stream", content=instance, headers=DICOM | headers)

    assert answer.status_code == 401, because
    assert answer.json()["code"] == "not-authenticated"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert house.outcomes("anonymize") == ["not-authenticated"]


async def test_a_key_without_the_scope_is_refused_and_audited(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    headers = await house.headers(scopes=frozenset({"reidentify"}))

    answer = await client.post("/anonymize-stream", content=instance, headers=DICOM | headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "not-authorised")
    assert house.outcomes("anonymize") == ["not-authorised"]


async def test_a_revoked_key_is_refused(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    record, token = await house.gateway.api_keys.create(
        name="leaver", organization="DEMO", scopes=frozenset({"anonymize"})
    )
    await house.gateway.api_keys.revoke(record.id)

    answer = await client.post(
        "/anonymize-stream", content=instance, headers=DICOM | {"X-API-Key": token}
    )

    assert answer.status_code == 401


async def test_the_caller_may_choose_a_profile_that_the_key_allows(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    headers = await house.headers(profiles=frozenset({"basic-per-study"}))

    answer = await client.post(
        "/anonymize-stream?profile=basic-per-study", content=instance, headers=DICOM | headers
    )

    assert answer.headers["X-Deid-Profile"].startswith("basic-per-study;")
    assert read(answer.content).PatientID == f"DEMO-{answer.headers['X-Cloud-Study-Id']}"


@pytest.mark.parametrize("query", ["profile=basic-per-study", "organization=OTHER"])
async def test_the_caller_may_not_choose_what_the_key_does_not_allow(
    client: httpx.AsyncClient, house: House, instance: bytes, query: str
) -> None:
    answer = await client.post(
        f"/anonymize-stream?{query}", content=instance, headers=DICOM | await house.headers()
    )

    assert (answer.status_code, answer.json()["code"]) == (403, "not-authorised")
    assert house.outcomes("anonymize") == ["not-authorised"]


async def test_an_unknown_profile_is_not_found(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    headers = await house.headers(profiles=frozenset({"*"}))

    answer = await client.post(
        "/anonymize-stream?profile=planted-name", content=instance, headers=DICOM | headers
    )

    assert (answer.status_code, answer.json()["code"]) == (404, "profile-not-found")
    assert "planted-name" not in answer.text


async def test_organisations_get_pseudonyms_that_cannot_be_linked(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    await house.gateway.organizations.create("OTHER", "Another organisation", actor="test")
    headers = await house.headers(organizations=frozenset({"OTHER"}))

    own = await client.post("/anonymize-stream", content=instance, headers=DICOM | headers)
    other = await client.post(
        "/anonymize-stream?organization=OTHER", content=instance, headers=DICOM | headers
    )

    assert other.status_code == 200
    assert own.headers["X-Cloud-Study-Id"] != other.headers["X-Cloud-Study-Id"]
    assert read(own.content).StudyInstanceUID != read(other.content).StudyInstanceUID


@pytest.mark.parametrize("query", ["organisation=DEMO", "profile=basic&profile=basic"])
async def test_a_misspelt_or_doubled_parameter_is_refused(
    client: httpx.AsyncClient, house: House, instance: bytes, query: str
) -> None:
    answer = await client.post(
        f"/anonymize-stream?{query}", content=instance, headers=DICOM | await house.headers()
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "invalid-request"),
        (b"PLANTED this is a letter, not an image" * 10, 400, "not-dicom"),
        (bytes(128) + b"DICM", 400, "truncated"),
    ],
    ids=["empty", "not-dicom", "nothing-behind-the-preamble"],
)
async def test_what_is_no_object_is_refused(
    client: httpx.AsyncClient, house: House, content: bytes, status: int, code: str
) -> None:
    answer = await client.post(
        "/anonymize-stream", content=content, headers=DICOM | await house.headers()
    )

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "PLANTED" not in answer.text


async def test_a_truncated_object_is_refused_and_audited(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    answer = await client.post(
        "/anonymize-stream", content=instance[:-100], headers=DICOM | await house.headers()
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "truncated")
    assert house.outcomes("anonymize") == ["truncated"]


async def test_burned_in_annotation_is_refused(client: httpx.AsyncClient, house: House) -> None:
    dataset = builders.ct(WHO)
    dataset.BurnedInAnnotation = "YES"

    answer = await client.post(
        "/anonymize-stream",
        content=builders.part10(dataset),
        headers=DICOM | await house.headers(),
    )

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "burned-in-annotation-suspected")
    assert problem["path"] == "(0028,0301)"


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/dicom", "Content-Encoding": "gzip"},
        {},
    ],
    ids=["text", "compressed", "unnamed"],
)
async def test_other_media_types_are_refused(
    client: httpx.AsyncClient, house: House, instance: bytes, headers: dict[str, str]
) -> None:
    answer = await client.post(
        "/anonymize-stream", content=instance, headers=headers | await house.headers()
    )

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")


async def test_a_form_with_another_field_is_refused(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    answer = await client.post(
        "/anonymize-stream", files={"image": instance}, headers=await house.headers()
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")


async def test_while_the_database_is_gone_nothing_leaves(
    client: httpx.AsyncClient, house: House, instance: bytes, postgres_url: str
) -> None:
    headers = DICOM | await house.headers()
    await client.post("/anonymize-stream", content=instance, headers=headers)
    close_to_everybody(house.url, postgres_url)

    answer = await client.post("/anonymize-stream", content=instance, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (503, "database-unavailable")
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("kind", ["ct", "sr", "rtstruct", "enhanced-mr"])
async def test_no_planted_value_is_in_answers_logs_audit_or_metrics(
    client: httpx.AsyncClient, house: House, kind: str
) -> None:
    data, canaries = builders.everything(kind, "1.2.840.10008.1.2.1")
    headers = DICOM | await house.headers()

    whole = await client.post("/anonymize-stream", content=data, headers=headers)
    cut = await client.post("/anonymize-stream", content=data[:-200], headers=headers)
    metrics = await client.get("/metrics")

    said = [
        whole.content,
        repr(whole.headers).encode(),
        cut.content,
        metrics.content,
        house.logs.getvalue().encode(),
        repr(house.audit()).encode(),
    ]
    places = {canary.text: canary.place for canary in canaries}
    survivors = [text for part in said for text in found([*places, *WHO.texts], searchable(part))]
    assert [places.get(text, "identity") for text in survivors] == []


def test_warnings_are_listed_with_their_places() -> None:
    warnings = [Remark("type-1-dummied", "(0008,0090)"), Remark("odd-length")]

    assert warnings_header(warnings) == "type-1-dummied (0008,0090), odd-length"


def test_many_warnings_are_cut_and_the_rest_is_counted() -> None:
    header = warnings_header([Remark("type-1-dummied", "(0008,0090)")] * 1000)

    kept = header.split(", ")
    assert len(header) <= 2048
    assert kept[-1] == f"more={1000 - (len(kept) - 1)}"


def test_small_chunks_are_joined_and_large_ones_pass() -> None:
    large = bytes(1 << 17)
    chunks = [b"a", b"b", large, b"c" * 40_000, b"d" * 40_000, b"e"]

    joined = list(gathered(chunks))

    assert b"".join(joined) == b"".join(chunks)
    assert [len(chunk) for chunk in joined] == [2, len(large), 80_000, 1]
