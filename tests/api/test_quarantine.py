"""``/quarantine``: who may look and decide, what is answered, and what the audit keeps of it."""

from dataclasses import replace
from uuid import UUID

import httpx
import pytest

from app.api.application import create_app
from app.dicom.source import MemorySource
from app.pixels.model import Decision, Mark, Picture, Reason, Risk, Rung, Verdict
from app.pixels.rulings import Case
from tests.api.conftest import House
from tests.quarantine.images import GREY, SHOWN
from tests.quarantine.ward import BOX, PICTURE

REVIEW = frozenset({"review"})
MARK = {"left": 10, "top": 0, "right": 200, "bottom": 24}
DECISION = Decision(
    Verdict.QUARANTINE,
    Risk.HIGH,
    marks=(Mark(BOX, Rung.OCR, "patient-name", 0.9),),
    reasons=(Reason(Rung.OCR, "identifying-text", "patient-name", 0, 0.9),),
)
EVERY_WAY = [
    ("GET", "/quarantine"),
    ("GET", "/quarantine/{id}"),
    ("GET", "/quarantine/{id}/preview"),
    ("POST", "/quarantine/{id}/release"),
    ("POST", "/quarantine/{id}/mask"),
    ("POST", "/quarantine/{id}/reject"),
    ("POST", "/quarantine/{id}/remember"),
    ("GET", "/quarantine/rules"),
    ("POST", "/quarantine/rules/{id}/approve"),
    ("POST", "/quarantine/rules/{id}/deny"),
    ("POST", "/quarantine/rules/{id}/revoke"),
]

LISTS = {"/quarantine", "/quarantine/rules"}


async def hold(
    house: House, data: bytes = b"DICM", picture: Picture = PICTURE, organization: str = "DEMO"
) -> UUID:
    assert house.gateway.quarantine is not None
    source = MemorySource(data)
    case = Case(
        organization=organization,
        profile="basic",
        profile_version="7",
        digest=house.gateway.quarantine.digest(organization, source),
        picture=picture,
        decision=DECISION,
        actor="viewer",
    )
    return await house.gateway.quarantine.hold(source, case)


@pytest.fixture
async def reviewer(house: House) -> dict[str, str]:
    return await house.headers("reviewer", scopes=REVIEW)


async def test_every_way_needs_the_scope_and_says_so_in_the_audit(
    client: httpx.AsyncClient, house: House
) -> None:
    object_id = await hold(house)
    others = frozenset({"anonymize", "batch", "reidentify", "audit", "admin", "approve"})
    headers = await house.headers("nosy", scopes=others)

    for method, path in EVERY_WAY:
        address = path.format(id=object_id)
        refused = await client.request(method, address, headers=headers)
        unknown = await client.request(method, address)
        assert (refused.status_code, refused.json()["code"]) == (403, "not-authorised"), path
        assert unknown.status_code == 401, path

    denied = [row["outcome"] for row in house.audit() if row["actor"] == "nosy"]
    assert denied == ["not-authorised"] * len(EVERY_WAY)


async def test_another_organisation_finds_nothing(client: httpx.AsyncClient, house: House) -> None:
    object_id = await hold(house)
    await house.gateway.organizations.ensure("SOUTH")
    headers = await house.headers("reviewer", scopes=REVIEW, organization="SOUTH")

    for method, path in EVERY_WAY:
        body = {"marks": [MARK]} if path.endswith(("mask", "remember")) else None
        address = path.format(id=object_id)
        answer = await client.request(method, address, headers=headers, json=body)
        asked = await client.request(
            method, f"{address}?organization=DEMO", headers=headers, json=body
        )
        assert (asked.status_code, asked.json()["code"]) == (403, "not-authorised"), path
        assert answer.status_code == (200 if path in LISTS else 404), path
        assert str(object_id) not in answer.text

    shown = await client.get(
        f"/quarantine/{object_id}", headers=await house.headers("own", scopes=REVIEW)
    )
    assert shown.json()["state"] == "held"


async def test_a_reviewer_of_two_organisations_names_the_one_that_is_meant(
    client: httpx.AsyncClient, house: House
) -> None:
    await house.gateway.organizations.ensure("SOUTH")
    object_id = await hold(house, organization="SOUTH")
    headers = await house.headers("reviewer", scopes=REVIEW, organizations=["SOUTH"])

    own = await client.get("/quarantine", headers=headers)
    other = await client.get("/quarantine?organization=SOUTH", headers=headers)
    done = await client.post(f"/quarantine/{object_id}/reject?organization=SOUTH", headers=headers)

    assert own.json()["objects"] == []
    assert [one["quarantine_id"] for one in other.json()["objects"]] == [str(object_id)]
    assert done.json()["state"] == "rejected"
    assert house.audit()[-1]["chain"] == "SOUTH"


async def test_what_is_held_is_listed_page_by_page(
    client: httpx.AsyncClient, house: House, reviewer: dict[str, str]
) -> None:
    ids = [str(await hold(house, bytes([number]))) for number in range(3)]

    first = (await client.get("/quarantine?limit=2&state=held", headers=reviewer)).json()
    second = (await client.get(first["next"], headers=reviewer)).json()

    found = [one["quarantine_id"] for one in (*first["objects"], *second["objects"])]
    assert found == ids[::-1]
    assert second["next"] is None
    assert first["objects"][0]["image"]["columns"] == 640
    assert "model" not in str(first)


async def test_one_of_them_is_shown_with_what_is_proposed(
    client: httpx.AsyncClient, house: House, reviewer: dict[str, str]
) -> None:
    object_id = await hold(house)

    answer = await client.get(f"/quarantine/{object_id}", headers=reviewer)

    shown = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert shown["proposed_marks"] == [
        MARK | {"frames": None, "rung": "ocr", "rule": "patient-name", "confidence": 0.9}
    ]
    assert shown["reasons"][0]["code"] == "identifying-text"
    assert (shown["state"], shown["risk"], shown["sent_by"]) == ("held", "high", "viewer")
    assert house.outcomes("quarantine-look") == ["success"]


async def test_a_preview_is_an_image_that_nobody_keeps(
    client: httpx.AsyncClient, house: House, reviewer: dict[str, str]
) -> None:
    object_id = await hold(house, SHOWN, GREY)

    answer = await client.get(
        f"/quarantine/{object_id}/preview?frame=0&marks=fill&max_edge=64", headers=reviewer
    )

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.content.startswith(b"\x89PNG")
    assert house.outcomes("quarantine-preview") == ["success"]


async def test_what_cannot_be_shown_is_refused(
    client: httpx.AsyncClient, house: House, reviewer: dict[str, str]
) -> None:
    address = f"/quarantine/{await hold(house, SHOWN, GREY)}/preview"
    refused = {"frame=7": 422, "frame=-1": 400, "marks=all": 400, "max_edge=1000000": 400}

    for query, status in refused.items():
        answer = await client.get(f"{address}?{query}", headers=reviewer)
        assert answer.status_code == status, query


async def test_a_damaged_file_is_told_and_not_shown(
    client: httpx.AsyncClient, house: House, reviewer: dict[str, str]
) -> None:
    object_id = await hold(house, SHOWN, GREY)
    path = house.gateway.settings.quarantine_path / str(object_id)
    path.write_bytes(path.read_bytes()[:-1])

    answer = await client.get(f"/quarantine/{object_id}/preview", headers=reviewer)

    assert (answer.status_code, answer.json()["code"]) == (422, "held-object-damaged")
    assert house.outcomes("quarantine-preview") == ["success", "held-object-damaged"]


@pytest.mark.parametrize(
    ("act", "body", "state"),
    [
        ("release", None, "released"),
        ("mask", {"marks": [MARK | {"right": 200.0}]}, "masked"),
        ("reject", None, "rejected"),
    ],
)
async def test_a_decision_is_answered_and_the_second_one_refused(
    client: httpx.AsyncClient,
    house: House,
    reviewer: dict[str, str],
    act: str,
    body: dict | None,
    state: str,
) -> None:
    object_id = await hold(house)

    first = await client.post(f"/quarantine/{object_id}/{act}", headers=reviewer, json=body)
    second = await client.post(f"/quarantine/{object_id}/reject", headers=reviewer)

    assert first.status_code == 200
    assert (first.json()["state"], first.json()["decided_by"]) == (state, "reviewer")
    assert (second.status_code, second.json()["code"]) == (409, "already-decided")
    assert [one["left"] for one in first.json()["marks"]] == ([10] if act == "mask" else [])


async def test_the_key_that_sent_an_object_does_not_let_it_pass(
    client: httpx.AsyncClient, house: House
) -> None:
    object_id = await hold(house)
    headers = await house.headers("viewer", scopes=REVIEW)

    answer = await client.post(f"/quarantine/{object_id}/release", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "own-object")


UNFIT = [
    b"",
    b"[]",
    b'{"marks": []}',
    b'{"marks": [{"left": 0}]}',
    b'{"marks": [{"left": "0", "top": 0, "right": 9, "bottom": 9}]}',
    b'{"marks": [{"left": -1, "top": 0, "right": 9, "bottom": 9}]}',
    b'{"marks": [{"left": 0, "top": 0, "right": 9, "bottom": 9, "name": "PLANTED"}]}',
    b'{"marks": [{"left": 0, "top": 0, "right": 9, "bottom": 9, "frames": [0]}]}',
    b'{"marks": [{"left": 9, "top": 0, "right": 9, "bottom": 9}]}',
    b'{"marks": [{"left": 0, "top": 0, "right": 9, "bottom": 9}], "note": "PLANTED"}',
]


async def test_marks_that_are_not_fit_are_refused_and_recorded(
    client: httpx.AsyncClient, house: House, reviewer: dict[str, str]
) -> None:
    object_id = await hold(house)
    headers = reviewer | {"Content-Type": "application/json"}

    for body in UNFIT:
        for act in ("mask", "remember"):
            address = f"/quarantine/{object_id}/{act}"
            answer = await client.post(address, headers=headers, content=body)
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request"), body
            assert "PLANTED" not in answer.text

    assert house.outcomes("quarantine-mask") == ["invalid-request"] * len(UNFIT)
    assert "PLANTED" not in house.logs.getvalue()


async def test_what_is_no_id_of_a_held_object_is_not_found(
    client: httpx.AsyncClient, reviewer: dict[str, str]
) -> None:
    for wrong in ("x", "%00", str(UUID(int=7)), UUID(int=7).hex, "0" * 99):
        answer = await client.get(f"/quarantine/{wrong}", headers=reviewer)
        assert (answer.status_code, answer.json()["code"]) == (404, "quarantine-not-found")


async def test_a_misspelt_filter_is_refused(
    client: httpx.AsyncClient, reviewer: dict[str, str]
) -> None:
    refused = {
        "?sate=held": 400,
        "?limit=0": 400,
        "?state=open": 400,
        "?state=held&state=released": 400,
        "?profile=%00": 400,
        "?before=x": 404,
        f"?before={UUID(int=7)}": 404,
    }
    for query, status in refused.items():
        assert (await client.get(f"/quarantine{query}", headers=reviewer)).status_code == status


async def test_a_page_behind_a_rule_that_is_not_there_is_not_found(
    client: httpx.AsyncClient, reviewer: dict[str, str]
) -> None:
    for before in ("x", str(UUID(int=7))):
        answer = await client.get(f"/quarantine/rules?before={before}", headers=reviewer)
        assert (answer.status_code, answer.json()["code"]) == (404, "mask-rule-not-found")


async def test_a_rule_is_remembered_approved_by_another_and_revoked(
    client: httpx.AsyncClient, house: House, reviewer: dict[str, str]
) -> None:
    object_id = await hold(house)
    second = await house.headers("second", scopes=REVIEW)

    made = await client.post(
        f"/quarantine/{object_id}/remember", headers=reviewer, json={"marks": [MARK]}
    )
    rule = f"/quarantine/rules/{made.json()['rule']['rule_id']}"
    own = await client.post(f"{rule}/approve", headers=reviewer)
    approved = await client.post(f"{rule}/approve", headers=second)
    listed = await client.get("/quarantine/rules?state=approved", headers=reviewer)
    revoked = await client.post(f"{rule}/revoke", headers=reviewer)

    assert made.json()["object"]["state"] == "masked"
    assert made.json()["rule"]["state"] == "proposed"
    assert (own.status_code, own.json()["code"]) == (403, "own-request")
    assert approved.json()["state"] == "approved"
    assert listed.json()["rules"][0]["rule"] == made.json()["rule"]["rule"]
    assert PICTURE.model in str(listed.json())
    assert revoked.json()["revoked_by"] == "reviewer"
    assert house.outcomes("mask-rule-approve") == ["own-request", "success"]


async def test_a_process_without_the_role_or_its_key_shows_nothing(
    house: House, reviewer: dict[str, str]
) -> None:
    services = house.gateway.services()
    without = (
        (replace(services, roles=frozenset({"anonymize"})), "role-not-served"),
        (replace(services, review=None), "key-unavailable"),
    )
    for changed, code in without:
        transport = httpx.ASGITransport(create_app(changed))
        async with httpx.AsyncClient(transport=transport, base_url="http://other.test") as other:
            answer = await other.get("/quarantine", headers=reviewer)
        assert (answer.status_code, answer.json()["code"]) == (503, code)


async def test_every_status_that_is_answered_stands_in_the_description(
    client: httpx.AsyncClient,
) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    for method, path in EVERY_WAY:
        name = path.replace("rules/{id}", "rules/{rule_id}").replace("{id}", "{quarantine_id}")
        described = set(paths[name][method.lower()]["responses"])
        assert {"200", "400", "401", "403", "404", "429", "503"} <= described, name
