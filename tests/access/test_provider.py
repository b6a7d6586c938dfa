"""How long the provider's keys are trusted, and how often it is asked for others."""

import asyncio
from itertools import pairwise

import pytest
from joserfc.jwk import RSAKey

from app.access.key_sets import KeySet, read_key_set
from app.access.provider import (
    LONGEST_PAUSE_S,
    REFETCH_PAUSE_S,
    Provider,
    ProviderKeys,
    Unreachable,
)
from app.access.tokens import Head
from app.errors import IdentityProviderUnavailable, Misconfigured

OLD = RSAKey.generate_key(2048, {"kid": "old"})
NEW = RSAKey.generate_key(2048, {"kid": "new"})


class World:
    """A clock and a provider that answer what the test says."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.answer: KeySet | None = read_key_set({"keys": [OLD.as_dict(private=False)]})
        self.asked = 0
        self.keys = ProviderKeys(self.fetch, fresh_s=300, max_age_s=3600, clock=lambda: self.now)

    async def fetch(self) -> KeySet:
        self.asked += 1
        await asyncio.sleep(0)
        if self.answer is None:
            raise Unreachable
        return self.answer

    def rotate(self) -> None:
        self.answer = read_key_set({"keys": [NEW.as_dict(private=False)]})

    async def ids(self, key_id: str | None) -> list[str | None]:
        return [key.key_id for key in await self.keys.fitting(Head("RS256", key_id))]


@pytest.fixture
def world() -> World:
    return World()


async def test_everybody_who_waits_shares_one_fetch(world: World) -> None:
    found = await asyncio.gather(*[world.ids("old") for _ in range(20)])

    assert found == [["old"]] * 20
    assert world.asked == 1


async def test_an_unknown_key_is_asked_for_once_and_then_after_a_pause(world: World) -> None:
    await world.ids("old")
    world.now += REFETCH_PAUSE_S
    for number in range(100):
        assert await world.ids(f"made up {number}") == []
    assert world.asked == 2

    world.now += REFETCH_PAUSE_S
    world.rotate()

    assert await world.ids("new") == ["new"]
    assert world.asked == 3


async def test_other_keys_are_another_generation_and_the_same_ones_are_not(world: World) -> None:
    await world.ids("old")
    first = world.keys.generation
    world.now += REFETCH_PAUSE_S
    await world.ids("unknown")
    second = world.keys.generation
    world.now += REFETCH_PAUSE_S
    world.rotate()
    await world.ids("new")

    assert (second, world.keys.generation) == (first, first + 1)


async def test_old_keys_are_fetched_anew_while_requests_go_on_with_them(world: World) -> None:
    await world.ids("old")
    world.rotate()
    world.now += 300

    assert await world.ids("old") == ["old"]  # nobody waits
    await asyncio.sleep(0.01)
    assert await world.ids("new") == ["new"]
    assert world.asked == 2


async def test_pauses_grow_while_the_provider_is_down_and_end_when_it_is_back(
    world: World,
) -> None:
    asked, world.answer = [], None
    for _ in range(300):
        before = world.asked
        with pytest.raises(IdentityProviderUnavailable):
            await world.ids("old")
        asked += [world.now] if world.asked > before else []
        world.now += 1

    pauses = [later - earlier for earlier, later in pairwise(asked)]
    assert pauses[:6] == [1, 2, 4, 8, 16, 32]
    assert set(pauses[6:]) == {LONGEST_PAUSE_S}
    world.now += LONGEST_PAUSE_S
    world.rotate()
    assert await world.ids("new") == ["new"]


async def test_last_good_keys_serve_while_the_provider_is_down_up_to_their_age(
    world: World,
) -> None:
    await world.ids("old")
    world.answer = None

    world.now += 3599
    assert await world.ids("old") == ["old"]
    await asyncio.sleep(0.01)
    world.now += 1
    with pytest.raises(IdentityProviderUnavailable):
        await world.ids("old")


async def test_whoever_gives_up_waiting_does_not_end_the_fetch_of_others(world: World) -> None:
    waiting = [asyncio.create_task(world.ids("old")) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()

    assert await waiting[1] == ["old"]


async def test_a_fetch_under_way_ends_with_the_gateway(world: World) -> None:
    world.keys._start()

    await world.keys.close()

    assert world.keys._task is None


@pytest.mark.parametrize(
    "issuer",
    ["http://idp.test", "https://", "ftp://idp.test", "https://u:p@idp.test", "https://idp.test?a=b",
     "https://idp.test#x", "http://10.0.0.1", "https://[::1", "http://127.0.0.1.idp.test"],
)  # fmt: skip
def test_an_issuer_that_could_be_anybody_is_refused(issuer: str) -> None:
    with pytest.raises(Misconfigured):
        Provider(issuer, is_loopback_allowed=True)


def test_loopback_without_tls_is_for_development_alone() -> None:
    Provider("http://127.0.0.1:9", is_loopback_allowed=True)

    with pytest.raises(Misconfigured):
        Provider("http://127.0.0.1:9")


def test_certificates_that_cannot_be_read_stop_the_start(tmp_path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")

    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(Misconfigured, match="DEID_OIDC_CA_FILE"):
            Provider("https://idp.test", ca_file=tmp_path / name)
