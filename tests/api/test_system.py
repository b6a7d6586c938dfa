"""Health, readiness, metrics, the description of the interface, and problem documents."""

from dataclasses import replace

import httpx
import pytest

from app import errors
from app.api import problems
from app.api.application import create_app
from app.api.dependencies import UNKNOWN_ROWS_PER_MINUTE, UnknownCallers
from app.api.routes.system import is_local
from app.bootstrap import Gateway
from tests.api.conftest import House


def scope(host: str | None, *headers: tuple[bytes, bytes]) -> dict[str, object]:
    return {"client": (host, 1) if host else None, "headers": list(headers)}


async def test_a_running_process_is_healthy(client: httpx.AsyncClient) -> None:
    answer = await client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_a_process_with_database_and_keys_is_ready(client: httpx.AsyncClient) -> None:
    answer = await client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json()["checks"] == {"database": True, "reidentification-key": True}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_load_balancers_probe_with_head(address: str, path: str) -> None:
    async with httpx.AsyncClient(base_url=address) as prober:
        shown, probed = await prober.get(path), await prober.head(path)
        further = await prober.get(path)  # on the same connection: nothing of a body was sent

    assert (probed.status_code, probed.content) == (200, b"")
    assert probed.headers["Content-Length"] == shown.headers["Content-Length"]
    assert further.json() == shown.json()


async def test_a_head_says_that_a_part_does_not_answer(house: House) -> None:
    async def readiness() -> dict[str, bool]:
        return {"database": False}

    services = replace(house.gateway.services(), readiness=readiness)
    transport = httpx.ASGITransport(create_app(services))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as prober:
        probed = await prober.head("/readyz")

    assert probed.status_code == 503
    assert int(probed.headers["Retry-After"]) > 0


async def test_the_description_names_get_alone(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    assert [list(paths[path]) for path in ("/healthz", "/readyz")] == [["get"]] * 2


async def test_requests_are_counted_by_route_and_status(
    client: httpx.AsyncClient,
) -> None:
    await client.post("/anonymize-stream")
    await client.get("/PLANTED-PATH")

    text = (await client.get("/metrics")).text

    assert 'deid_http_requests_total{endpoint="/anonymize-stream",status="401"} 1.0' in text
    assert 'deid_http_requests_total{endpoint="none",status="404"} 1.0' in text
    assert 'deid_refusals_total{code="not-authenticated"} 1.0' in text
    assert "PLANTED" not in text


async def test_the_metrics_tell_what_waits_in_batches(client: httpx.AsyncClient) -> None:
    text = (await client.get("/metrics")).text

    assert 'deid_batch_backlog{what="waiting_batches"} 0.0' in text
    assert 'deid_batch_staging_state{state="open"}' in text


@pytest.mark.parametrize(
    ("request_scope", "local"),
    [
        (scope("127.0.0.1"), True),
        (scope("::1"), True),
        (scope("192.0.2.7"), False),
        (scope("127.0.0.1", (b"x-forwarded-for", b"192.0.2.7")), False),
        (scope("127.0.0.1", (b"via", b"1.1 proxy")), False),
        (scope(None), False),
        (scope("somewhere"), False),
    ],
)
def test_only_direct_callers_of_this_machine_are_local(
    request_scope: dict[str, object], local: bool
) -> None:
    assert is_local(request_scope) is local


@pytest.mark.parametrize(
    ("scopes", "status"),
    [(None, 401), (frozenset({"anonymize"}), 403), (frozenset({"admin"}), 200)],
)
async def test_metrics_need_the_scope_admin_through_a_proxy(
    client: httpx.AsyncClient, house: House, scopes: frozenset[str] | None, status: int
) -> None:
    headers = {"Via": "1.1 proxy"} | (await house.headers(scopes=scopes) if scopes else {})

    answer = await client.get("/metrics", headers=headers)

    assert answer.status_code == status


@pytest.mark.parametrize(
    "path", ["/anonymize-stream/", "/batch-prepare/", "/batches/", "/batches/.."]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_nobody_is_sent_with_a_study_to_the_host_that_a_header_names(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path, headers={"Host": "elsewhere.example"}, content=b"x")

    assert answer.status_code in {404, 405}
    assert "location" not in answer.headers


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/oauth2-redirect"])
async def test_no_page_loads_scripts_from_elsewhere(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


async def test_the_description_has_every_endpoint_with_examples(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()

    operation = document["paths"]["/anonymize-stream"]["post"]
    assert set(document["paths"]) == {
        *("/anonymize-stream", "/reidentify", "/healthz", "/readyz", "/metrics"),
        *("/problems/{code}", "/signing-keys", "/batch-prepare", "/batches"),
        *("/profiles", "/profiles/{name}", "/profiles/{name}/explain", "/profiles/compare"),
        *(f"/batches/{{batch_id}}{part}" for part in ("", "/items", "/originals", "/events")),
        *(f"/batches/{{batch_id}}{part}" for part in ("/cancel", "/retry")),
        *("/audit", "/audit/checkpoint", "/subjects/{pseudonym}", "/reidentify/batch"),
        "/reidentify/requests",
        *(f"/reidentify/requests/{{request_id}}{part}" for part in ("", "/approve", "/deny")),
        *("/quarantine", "/quarantine/rules"),
        *(f"/quarantine/{{quarantine_id}}{part}" for part in ("", "/preview", "/remember")),
        *(f"/quarantine/{{quarantine_id}}/{part}" for part in ("release", "mask", "reject")),
        *(f"/quarantine/rules/{{rule_id}}/{part}" for part in ("approve", "deny", "revoke")),
    }
    assert set(operation["requestBody"]["content"]) == {
        *("application/dicom", "application/octet-stream", "multipart/form-data"),
    }
    assert operation["responses"]["200"]["headers"]["X-Cloud-Study-Id"]["example"]
    assert operation["security"] == [{"bearer": []}, {"apiKey": []}]
    assert document["components"]["schemas"]["Reidentification"]["examples"]


async def test_the_description_names_problem_documents_not_the_frameworks_errors(
    client: httpx.AsyncClient,
) -> None:
    text = (await client.get("/openapi.json")).text

    assert "HTTPValidationError" not in text
    assert problems.MEDIA_TYPE in text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/PLANTED", 404, "not-found"),
        ("GET", "/anonymize-stream", 405, "method-not-allowed"),
        ("DELETE", "/reidentify", 405, "method-not-allowed"),
        ("GET", "/problems/PLANTED", 404, "not-found"),
    ],
)
async def test_the_routers_own_refusals_are_problem_documents(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await client.request(method, path)

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == problems.MEDIA_TYPE
    assert answer.json()["code"] == code
    assert "PLANTED" not in answer.text


@pytest.mark.parametrize(
    "code", sorted([*problems.known_codes(), "internal-error", "method-not-allowed"])
)
async def test_the_type_of_every_problem_can_be_looked_up(
    client: httpx.AsyncClient, code: str
) -> None:
    answer = await client.get(f"/problems/{code}")

    assert answer.json()["code"] == code
    assert answer.json()["meaning"]


async def test_an_unforeseen_failure_is_opaque(house: House) -> None:
    class Faulty(Gateway):
        async def _readiness(self) -> dict[str, bool]:
            raise RuntimeError("PLANTED^NAME")

    gateway = house.gateway
    broken = Faulty(**{name: getattr(gateway, name) for name in Gateway.__slots__})
    transport = httpx.ASGITransport(create_app(broken.services()))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
        answer = await client.get("/readyz")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
    assert "PLANTED" not in answer.text
    assert "PLANTED" not in house.logs.getvalue()
    assert answer.json()["request_id"] in house.logs.getvalue()


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (errors.NotDicom(), 400, ()),
        (errors.NotAuthenticated(), 401, (b"www-authenticate",)),
        (errors.ApprovalRequired(), 403, ()),
        (errors.ProfileNotFound(), 404, ()),
        (errors.PseudonymCollision(), 409, ()),
        (errors.TooLarge(), 413, ()),
        (errors.UnsupportedTransferSyntax(), 415, ()),
        (errors.ResidualIdentifier(path="(0010,4000)"), 422, ()),
        (errors.KeyUnavailable(), 503, (b"retry-after",)),
    ],
)
def test_every_branch_of_the_error_tree_has_its_status(
    error: errors.GatewayError, status: int, headers: tuple[bytes, ...]
) -> None:
    problem = problems.of_error(error)

    assert problem.status == status
    assert tuple(name for name, _ in problem.headers) == headers
    assert problem.document("id").get("path") == error.path


def test_every_error_that_can_be_answered_has_a_status_of_its_own_kind() -> None:
    for code, kind in problems.known_codes().items():
        assert 400 <= problems.status_of(kind) < 600, code
        assert problems.status_of(kind) != 500, code


def test_unknown_callers_cannot_fill_the_audit() -> None:
    seconds = iter([0.0] * (UNKNOWN_ROWS_PER_MINUTE + 5) + [61.0])
    callers = UnknownCallers(lambda: next(seconds))

    first = [callers.admit() for _ in range(UNKNOWN_ROWS_PER_MINUTE + 5)]

    assert first.count(0) == UNKNOWN_ROWS_PER_MINUTE
    assert first.count(None) == 5
    assert callers.admit() == 5


def test_the_document_can_be_described_without_services() -> None:
    assert create_app().openapi()["info"]["title"] == "deid-gateway"


def test_problem_documents_carry_nothing_but_their_members() -> None:
    document = problems.of_error(errors.TooLarge()).document("9f86d081884c7d65")

    assert set(document) == {"type", "title", "status", "detail", "code", "request_id"}
