import re

import psycopg
import pytest

from app.access import api_keys as module
from app.access.api_keys import CACHE_LIFETIME_S, ApiKeys
from app.access.scopes import Scope, parse_scopes
from app.audit.repository import AuditTrail
from app.audit.verifying import verify
from app.errors import (
    DatabaseUnavailable,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    OrganizationNotFound,
)
from tests.mapping_house import NORTH, SOUTH, MappingHouse

pytestmark = pytest.mark.db


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(house: MappingHouse, clock: Clock) -> ApiKeys:
    return ApiKeys(house.database, AuditTrail(), clock=clock)


async def make(keys: ApiKeys, **given):
    properties = {"name": "viewer", "organization": NORTH, "scopes": ["anonymize"]} | given
    return await keys.create(**properties)


async def test_a_new_key_is_recognised_with_what_it_allows(keys: ApiKeys) -> None:
    record, token = await make(
        keys,
        scopes=["anonymize", "batch"],
        profile="basic-per-study",
        profiles=["basic", "*"],
        organizations=[SOUTH],
    )

    principal = await keys.authenticate(token)

    assert principal.api_key_id == record.id
    assert (principal.name, principal.organization) == ("viewer", NORTH)
    assert principal.scopes == {Scope.ANONYMIZE, "batch"}
    assert principal.profile == "basic-per-study"
    assert (principal.profiles, principal.organizations) == ({"basic", "*"}, {SOUTH})


async def test_a_token_has_its_form(keys: ApiKeys) -> None:
    record, token = await make(keys)

    match = re.fullmatch(r"dgw_([a-z0-9]{8})_[A-Za-z0-9_-]{43}", token)

    assert match
    assert match[1] == record.id


async def test_the_database_does_not_hold_the_secret(keys: ApiKeys, house: MappingHouse) -> None:
    _, token = await make(keys)
    secret = token[13:]

    (row,) = house.query("SELECT * FROM api_keys")

    assert secret not in str(row)
    assert secret.encode() not in row["secret_hash"]
    assert len(row["secret_hash"]) == 32


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:0],
        lambda token: token[:-1],
        lambda token: token + "A",
        lambda token: token.upper(),
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
        lambda token: f"dgw_aaaaaaaa{token[12:]}",
        lambda token: f"{token}\n",
        lambda token: "\udcff" * len(token),
    ],
)
async def test_another_token_is_not_recognised(keys: ApiKeys, spoil) -> None:
    _, token = await make(keys)
    await keys.authenticate(token)

    with pytest.raises(NotAuthenticated):
        await keys.authenticate(spoil(token))


async def test_secrets_are_compared_in_constant_time(
    keys: ApiKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = await make(keys)
    compared = []
    digest = module.hmac.compare_digest
    monkeypatch.setattr(
        module.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or digest(a, b)
    )

    await keys.authenticate(token)
    with pytest.raises(NotAuthenticated):
        await keys.authenticate(f"dgw_aaaaaaaa{token[12:]}")

    assert [(len(a), len(b)) for a, b in compared] == [(32, 32), (32, 32)]


async def test_a_revoked_key_is_refused_at_once_by_who_revoked_it(keys: ApiKeys) -> None:
    record, token = await make(keys)
    await keys.authenticate(token)

    await keys.revoke(record.id)

    with pytest.raises(NotAuthenticated):
        await keys.authenticate(token)


async def test_a_revoked_key_is_refused_elsewhere_within_five_seconds(
    keys: ApiKeys, house: MappingHouse, clock: Clock
) -> None:
    record, token = await make(keys)
    await keys.authenticate(token)
    await house.api_keys.revoke(record.id)
    clock.now += CACHE_LIFETIME_S

    with pytest.raises(NotAuthenticated):
        await keys.authenticate(token)

    assert CACHE_LIFETIME_S <= 5


async def test_a_wrong_secret_of_a_cached_key_is_refused(keys: ApiKeys) -> None:
    _, token = await make(keys)
    await keys.authenticate(token)

    with pytest.raises(NotAuthenticated):
        await keys.authenticate(token[:13] + "A" * 43)


async def test_a_key_seen_lately_outlives_a_short_absence_of_the_database(
    keys: ApiKeys, house: MappingHouse, clock: Clock
) -> None:
    _, token = await make(keys)
    await keys.authenticate(token)
    with psycopg.connect(house.url, autocommit=True) as owner:
        owner.execute("ALTER TABLE api_keys RENAME TO gone")

    await keys.authenticate(token)
    clock.now += CACHE_LIFETIME_S

    with pytest.raises(DatabaseUnavailable):
        await keys.authenticate(token)


async def test_keys_are_listed_without_anything_secret(keys: ApiKeys) -> None:
    first, token = await make(keys, name="first")
    await make(keys, name="second", organization=SOUTH)
    await keys.revoke(first.id)

    listed = await keys.list()

    assert [(record.name, record.organization) for record in listed] == [
        ("first", NORTH),
        ("second", SOUTH),
    ]
    assert listed[0].revoked_at is not None
    assert listed[0].created_at <= listed[0].revoked_at
    assert listed[1].revoked_at is None
    assert token[13:] not in repr(listed)


async def test_keys_of_one_organisation_are_listed_alone(keys: ApiKeys) -> None:
    await make(keys)
    await make(keys, organization=SOUTH)

    assert [record.organization for record in await keys.list(SOUTH)] == [SOUTH]


async def test_revoking_twice_keeps_the_first_time(keys: ApiKeys, house: MappingHouse) -> None:
    record, _ = await make(keys)

    first = await keys.revoke(record.id)
    second = await keys.revoke(record.id)

    assert first.revoked_at == second.revoked_at
    assert house.count("audit_events") == 2


async def test_revoking_an_unknown_key_says_so(keys: ApiKeys) -> None:
    with pytest.raises(NotFound):
        await keys.revoke("nobody00")


async def test_making_and_revoking_are_audited(keys: ApiKeys, house: MappingHouse) -> None:
    record, token = await make(keys, actor="cli:admin", scopes=["audit", "admin"])
    await keys.revoke(record.id, actor="cli:admin")

    rows = house.query("SELECT * FROM audit_events ORDER BY seq")

    assert [row["action"] for row in rows] == ["create-api-key", "revoke-api-key"]
    assert rows[0]["detail"] == {"key": record.id, "scopes": "admin audit"}
    assert {row["actor"] for row in rows} == {"cli:admin"}
    assert token[13:] not in str(rows)
    assert (await verify(house.database, NORTH)).is_intact


@pytest.mark.parametrize(
    "given", [{"organization": "NOBODY"}, {"organizations": ["NOBODY", SOUTH]}], ids=str
)
async def test_a_key_needs_organisations_that_exist(
    keys: ApiKeys, house: MappingHouse, given: dict[str, object]
) -> None:
    with pytest.raises(OrganizationNotFound):
        await make(keys, **given)

    assert (house.count("api_keys"), house.count("audit_events")) == (0, 0)


@pytest.mark.parametrize(
    "given",
    [{"name": ""}, {"name": "x" * 101}, {"name": "a\nb"}, {"scopes": []}, {"scopes": ["root"]}],
    ids=str,
)
async def test_a_key_needs_a_name_and_known_scopes(keys: ApiKeys, given: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        await make(keys, **given)


async def test_a_scope_of_a_newer_release_is_not_granted(
    keys: ApiKeys, house: MappingHouse
) -> None:
    _, token = await make(keys)
    with psycopg.connect(house.url, autocommit=True) as owner:
        owner.execute("UPDATE api_keys SET scopes = '{anonymize,tomorrow}'")

    assert (await keys.authenticate(token)).scopes == {"anonymize"}


def test_scopes_are_read_by_name() -> None:
    assert parse_scopes(["audit", "audit", "admin"]) == {Scope.AUDIT, Scope.ADMIN}


@pytest.mark.parametrize("name", ["oidc:f3c1", "cli:root", " OIDC:f3c1"])
async def test_a_key_cannot_be_named_like_another_actor_of_the_audit(
    keys: ApiKeys, name: str
) -> None:
    with pytest.raises(InvalidRequest):
        await make(keys, name=name)
