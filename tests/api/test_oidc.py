"""Bearer tokens of a real OpenID provider, presented to the whole gateway over HTTP."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from app import bootstrap
from app.api.application import create_app
from app.settings import Settings
from tests.access.oidc_server import OidcServer, running
from tests.api.conftest import House

DICOM = {"Content-Type": "application/dicom"}


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcServer]:
    with running() as server:
        yield server


@pytest.fixture
def with_provider(
    configured: Callable[..., Settings], provider: OidcServer
) -> Callable[..., Settings]:
    def load(**given) -> Settings:
        given.setdefault("oidc_issuer", provider.issuer)
        return configured(oidc_audience=provider.audience, **given)

    return load


@pytest.fixture
async def house(with_provider, database_url: str, logs) -> AsyncIterator[House]:
    async with bootstrap.opened(with_provider()) as gateway:
        yield House(gateway, database_url, logs)


async def send(client: httpx.AsyncClient, instance: bytes, token: str) -> httpx.Response:
    headers = DICOM | {"Authorization": f"Bearer {token}"}
    return await client.post("/anonymize-stream", content=instance, headers=headers)


def decoded(part: str) -> dict[str, object]:
    return json.loads(base64.urlsafe_b64decode(part + "=="))


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def with_head(token: str, **members: object) -> str:
    """The same token with another head; its signature does not fit any more."""
    head, claims, signature = token.split(".")
    made = {name: value for name, value in (decoded(head) | members).items() if value is not None}
    return ".".join([encoded(json.dumps(made).encode()), claims, signature])


async def test_a_token_of_the_provider_is_as_good_as_a_key(
    client: httpx.AsyncClient, house: House, provider: OidcServer, instance: bytes
) -> None:
    token = provider.token()

    sent = await send(client, instance, token)
    found = await client.get(
        "/reidentify",
        params={
            "cloud_study_id": sent.headers["X-Cloud-Study-Id"],
            "purpose": "TREAT",
            "reference": "ACC-1",
        },
        headers={"Authorization": f"Bearer {token}"},
    )

    assert (sent.status_code, found.status_code) == (200, 200)
    rows = [row for row in house.audit() if row["action"] in {"anonymize", "reidentify"}]
    assert {(row["actor"], row["api_key_id"], row["chain"]) for row in rows} == {
        ("oidc:viewer", None, "DEMO")
    }


async def test_keys_go_on_working_beside_tokens(
    client: httpx.AsyncClient, house: House, instance: bytes
) -> None:
    answer = await send(client, instance, await house.token())

    assert answer.status_code == 200


async def test_a_token_is_in_no_log_and_no_audit_row(
    client: httpx.AsyncClient, house: House, provider: OidcServer, instance: bytes
) -> None:
    good, bad = provider.token(), provider.token(resource=provider.other)

    await send(client, instance, good)
    await send(client, instance, bad)

    written = house.logs.getvalue() + str(house.audit())
    parts = [part for token in (good, bad) for part in token.split(".")]
    assert not [part for part in parts if part in written]
    assert '"kind": "audience"' in written


@pytest.fixture
def refused(provider: OidcServer) -> dict[str, Callable[[], str]]:
    """Tokens that must not be accepted, by what is wrong with them."""
    good = provider.token()
    [published] = provider.published()
    modulus = base64.urlsafe_b64decode(published["n"] + "==")

    def confused() -> str:
        head = encoded(json.dumps({"alg": "HS256", "kid": published["kid"]}).encode())
        signed = f"{head}.{good.split('.')[1]}"
        return f"{signed}.{encoded(hmac.digest(modulus, signed.encode(), hashlib.sha256))}"

    def unsigned(spelling: str) -> str:
        return with_head(good, alg=spelling).rpartition(".")[0] + "."

    def for_somebody_else() -> str:
        head, claims, signature = good.split(".")
        other = encoded(json.dumps(decoded(claims) | {"organization": "SOUTH"}).encode())
        return f"{head}.{other}.{signature}"

    return {
        "wrong audience": lambda: provider.token(resource=provider.other),
        "wrong issuer": lambda: provider.token(issuer=provider.impostor),
        "no signature": lambda: unsigned("none"),
        "no signature, spelt otherwise": lambda: unsigned("nOnE"),
        "public key as a shared secret": confused,
        "another algorithm": lambda: with_head(good, alg="RS512"),
        "unknown key": lambda: with_head(good, kid="nobody"),
        "critical extension": lambda: with_head(good, crit=["b64"], b64=False),
        "own key in the head": lambda: with_head(good, jwk=published | {"n": "AQAB"}),
        "own key elsewhere": lambda: with_head(good, jku=f"{provider.impostor}/jwks"),
        "other type": lambda: with_head(good, typ="logout+jwt"),
        "changed claims": for_somebody_else,
        "cut": lambda: good[:-8],
        "no head": lambda: "." + good.partition(".")[2],
        "deep head": lambda: encoded(b"[" * 4000) + ".e30.e30",
    }


async def test_a_token_that_is_not_for_this_gateway_is_refused(
    client: httpx.AsyncClient, house: House, refused, instance: bytes
) -> None:
    answers = {what: await send(client, instance, make()) for what, make in refused.items()}

    codes = {what: (answer.status_code, answer.json()["code"]) for what, answer in answers.items()}
    assert codes == dict.fromkeys(refused, (401, "not-authenticated"))
    assert house.outcomes("anonymize") == ["not-authenticated"] * len(refused)


async def test_an_expired_token_is_told_from_a_wrong_one_even_when_it_is_remembered(
    client: httpx.AsyncClient,
    house: House,
    provider: OidcServer,
    instance: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = provider.token()
    before = await send(client, instance, token)
    monkeypatch.setattr(house.gateway.callers._tokens, "_now", lambda: time.time() + 631)

    after = await send(client, instance, token)

    assert (before.status_code, after.status_code) == (200, 401)
    assert after.json()["code"] == "token-expired"
    assert 'error="invalid_token"' in after.headers["WWW-Authenticate"]


async def test_a_token_is_good_within_the_leeway_after_its_end(
    client: httpx.AsyncClient,
    house: House,
    provider: OidcServer,
    instance: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(house.gateway.callers._tokens, "_now", lambda: time.time() + 605)

    answer = await send(client, instance, provider.token())

    assert answer.status_code == 200


async def test_a_scope_that_the_token_lacks_is_denied_and_audited(
    client: httpx.AsyncClient, house: House, provider: OidcServer, instance: bytes
) -> None:
    answer = await send(client, instance, provider.token(scope="deid:reidentify"))

    [row] = [row for row in house.audit() if row["action"] == "anonymize"]
    assert (answer.status_code, answer.json()["code"]) == (403, "not-authorised")
    assert (row["outcome"], row["actor"], row["chain"]) == (
        "not-authorised",
        "oidc:viewer",
        "DEMO",
    )


@pytest.mark.parametrize("client_id", ["stranger", "foreigner"])
async def test_a_token_without_an_organisation_of_this_gateway_is_denied_and_audited(
    client: httpx.AsyncClient, house: House, provider: OidcServer, instance: bytes, client_id: str
) -> None:
    answer = await send(client, instance, provider.token(client_id))

    [row] = [row for row in house.audit() if row["action"] == "anonymize"]
    assert (answer.status_code, answer.json()["code"]) == (403, "not-authorised")
    assert (row["outcome"], row["actor"], row["chain"]) == (
        "not-authorised",
        f"oidc:{client_id}",
        "",
    )


async def test_a_list_of_organisations_lets_the_caller_choose(
    client: httpx.AsyncClient, house: House, provider: OidcServer, instance: bytes
) -> None:
    await house.gateway.organizations.create("SOUTH", actor="test")
    headers = DICOM | {"Authorization": f"Bearer {provider.token('traveller')}"}

    answers = [
        await client.post(f"/anonymize-stream{query}", content=instance, headers=headers)
        for query in ("", "?organization=SOUTH", "?organization=NOWHERE")
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 403]
    ids = {answer.headers.get("X-Cloud-Study-Id") for answer in answers[:2]}
    assert len(ids) == 2


async def test_scopes_are_found_deep_inside_a_claim_and_in_a_list(
    with_provider, provider: OidcServer, instance: bytes
) -> None:
    settings = with_provider(oidc_scope_claim="nested.roles")
    async with bootstrap.opened(settings) as gateway, speaking(gateway) as client:
        answer = await send(client, instance, provider.token())

    assert answer.status_code == 200


async def test_the_provider_may_change_its_key_at_any_time(
    client: httpx.AsyncClient, house: House, provider: OidcServer, instance: bytes
) -> None:
    before = provider.token()
    first = await send(client, instance, before)
    provider.rotate()
    allow_fetching_now(house)

    second = await send(client, instance, provider.token())
    third = await send(client, instance, before)

    assert [answer.status_code for answer in (first, second)] == [200, 200]
    assert third.status_code == 401  # its key is not published any more


async def test_without_a_provider_from_the_start_tokens_wait_and_keys_work(
    with_provider, database_url: str, logs, provider: OidcServer, instance: bytes
) -> None:
    token = provider.token()
    async with bootstrap.opened(with_provider()) as gateway, speaking(gateway) as client:
        house = House(gateway, database_url, logs)
        with provider.away():
            waiting = await send(client, instance, token)
            by_key = await send(client, instance, await house.token())
        allow_fetching_now(house)
        afterwards = await send(client, instance, token)

    assert (waiting.status_code, waiting.json()["code"]) == (503, "identity-provider-unavailable")
    assert int(waiting.headers["Retry-After"]) > 0
    assert (by_key.status_code, afterwards.status_code) == (200, 200)


async def test_a_provider_that_goes_away_later_takes_nobody_with_it(
    client: httpx.AsyncClient, house: House, provider: OidcServer, instance: bytes
) -> None:
    known, fresh = provider.token(), provider.token()
    await send(client, instance, known)
    with provider.away():
        allow_fetching_now(house)
        answers = [await send(client, instance, token) for token in (known, fresh)]
        unknown = await send(client, instance, with_head(fresh, kid="nobody"))

    assert [answer.status_code for answer in answers] == [200, 200]
    assert unknown.status_code == 503  # it cannot be told whether the key is a new one


async def test_the_last_good_keys_are_not_trusted_for_ever(
    client: httpx.AsyncClient, house: House, provider: OidcServer, instance: bytes
) -> None:
    token = provider.token()
    await send(client, instance, token)
    with provider.away():
        allow_fetching_now(house)
        house.gateway.callers._tokens._keys._clock = lambda: time.monotonic() + 86_401
        answer = await send(client, instance, token)

    assert (answer.status_code, answer.json()["code"]) == (503, "identity-provider-unavailable")


async def test_keys_that_nobody_knows_make_the_gateway_ask_once(
    client: httpx.AsyncClient, house: House, provider: OidcServer, instance: bytes
) -> None:
    token = provider.token()
    await send(client, instance, token)
    keys = house.gateway.callers._tokens._keys
    asked, fetch = [], keys._fetch

    async def counted():
        asked.append(1)
        return await fetch()

    keys._fetch = counted
    allow_fetching_now(house)
    for number in range(5):
        await send(client, instance, with_head(token, kid=f"nobody-{number}"))

    assert len(asked) == 1


def speaking(gateway) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(gateway.services()))
    return httpx.AsyncClient(transport=transport, base_url="http://gateway.test")


def allow_fetching_now(house: House) -> None:
    """As if the pause between two fetches were over."""
    house.gateway.callers._tokens._keys._may_fetch_at = 0.0
