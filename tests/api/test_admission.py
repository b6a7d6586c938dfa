"""Who asks is known before anything else is: the same for every route that there is."""

import re
from typing import Final

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from app.api.application import create_app
from tests.api.conftest import House

# On purpose for everybody. The pages of the review send to their sign-in instead, see below.
PUBLIC: Final = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/problems/{code}"),
    ("GET", "/signing-keys"),
    ("GET", "/openapi.json"),
    ("GET", "/review/sign-in"),
    ("POST", "/review/sign-in"),
    ("GET", "/review/static/{version}/{name}"),
}
METHODS_BESIDE: Final = {"HEAD"}
JSON: Final = {"Content-Type": "application/json"}
# Those on this very machine may read the metrics without a key; a proxy's header says otherwise.
FROM_AFAR: Final = {"X-Forwarded-For": "192.0.2.1"}


def routes() -> list[tuple[str, str]]:
    found = iter_route_contexts(create_app().routes)
    return sorted(
        (method, str(route.path))
        for route in found
        for method in (route.methods or set()) - METHODS_BESIDE
    )


def malformed() -> str:
    """A query that is fit for no route: every parameter that there is, and one that is not."""
    operations = [
        operation
        for operations in create_app().openapi()["paths"].values()
        for operation in operations.values()
    ]
    names = {
        parameter["name"]
        for operation in operations
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query"
    }
    return "&".join(f"{name}={'%00' * 30}" for name in sorted(names)) + "&PLANTED=x&PLANTED=y"


GUARDED: Final = [route for route in routes() if route not in PUBLIC and "/review" not in route[1]]
PAGES: Final = [route for route in routes() if route not in PUBLIC and "/review" in route[1]]


def address_of(path: str) -> str:
    return f"{re.sub('{[a-z_]+}', '%20', path)}?{malformed()}"


async def asked(
    client: httpx.AsyncClient, route: tuple[str, str], **headers: str
) -> httpx.Response:
    method, path = route
    body = b"" if method == "GET" else b'{"\xff'
    return await client.request(
        method, address_of(path), content=body, headers=JSON | FROM_AFAR | headers
    )


def test_the_routes_are_found() -> None:
    assert {("POST", "/anonymize-stream"), ("GET", "/reidentify"), ("GET", "/batches")} <= {
        *GUARDED
    }
    assert set(routes()) >= PUBLIC
    assert len(GUARDED) > 30
    assert len(PAGES) > 5


@pytest.mark.parametrize("route", GUARDED, ids=" ".join)
async def test_whoever_has_no_key_is_told_nothing_else(
    client: httpx.AsyncClient, route: tuple[str, str]
) -> None:
    answer = await asked(client, route)

    assert (answer.status_code, answer.json()["code"]) == (401, "not-authenticated")
    assert answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("route", GUARDED, ids=" ".join)
async def test_whoever_lacks_the_scope_is_told_nothing_else(
    client: httpx.AsyncClient, house: House, route: tuple[str, str]
) -> None:
    other = "batch" if route[1].startswith("/audit") else "audit"

    answer = await asked(client, route, **await house.headers("nosy", scopes={other}))

    assert (answer.status_code, answer.json()["code"]) == (403, "not-authorised")
    assert [row["outcome"] for row in house.audit() if row["actor"] == "nosy"] == ["not-authorised"]


@pytest.mark.parametrize("route", PAGES, ids=" ".join)
async def test_whoever_is_not_signed_in_is_led_to_the_sign_in(
    client: httpx.AsyncClient, route: tuple[str, str]
) -> None:
    answer = await asked(client, route)

    assert answer.status_code == 303
    assert answer.headers["Location"] == "/review/sign-in"
