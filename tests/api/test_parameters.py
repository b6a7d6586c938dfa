"""Query parameters that nobody reads, and those that come twice, are refused by every endpoint."""

from uuid import UUID

import httpx
import pytest

from app.api.application import create_app
from app.api.openapi import PUBLIC_PATHS
from tests.api.conftest import House

# Probes, documents for anybody, what collects metrics: some callers add parameters of their own.
LENIENT = PUBLIC_PATHS | {"/metrics"}
NOBODY = str(UUID(int=7))
MEDIA_TYPES = dict.fromkeys(
    ("/anonymize-stream", "/profiles/compare", "/profiles/{name}/explain"), "application/dicom"
)
PLACES = ("batch_id", "quarantine_id", "rule_id", "request_id")
OPERATIONS = [
    (method, path)
    for path, operations in create_app().openapi()["paths"].items()
    for method in operations
    if path not in LENIENT
]


def address(path: str) -> str:
    named = path.replace("{name}", "basic").replace("{pseudonym}", "P61YDC2TP2FXA")
    for place in PLACES:
        named = named.replace(f"{{{place}}}", NOBODY)
    return named


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_a_misspelt_parameter_and_one_that_comes_twice_are_refused(
    client: httpx.AsyncClient, house: House, method: str, path: str
) -> None:
    headers = await house.headers() | {"Content-Type": MEDIA_TYPES.get(path, "application/json")}

    for query in ("orgnization=DEMO", "limit=1&limit=2"):
        answer = await client.request(method, f"{address(path)}?{query}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request"), query
        assert "parameter" in answer.json()["detail"]
        assert "orgnization" not in answer.text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/signing-keys"])
async def test_probes_and_public_documents_take_any_parameter(
    client: httpx.AsyncClient, path: str
) -> None:
    assert (await client.get(f"{path}?probe=1&probe=2")).status_code == 200
