import dataclasses
import gc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import KeyUnavailable
from app.vault import sealing
from app.vault.keys import ReidentifyKeys
from app.vault.sealing import DATA_KEY_LIFETIME_S, DataKey, Opener, Sealer
from tests.mapping_house import KeyPair, make_keys

TEXTS = ("PAT-4711", "1.2.840.999.1")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sealer(pair: KeyPair, clock: Clock) -> Sealer:
    return Sealer(pair.keys, clock)


@pytest.fixture
def data_key(sealer: Sealer) -> DataKey:
    return sealer.data_key("NORTH", "P1")


@pytest.fixture(scope="module")
def opener(pair: KeyPair) -> Opener:
    return Opener(pair.private)


@given(texts=st.lists(st.text(max_size=80), min_size=1, max_size=5))
def test_what_is_sealed_opens_as_it_was(pair: KeyPair, opener: Opener, texts: list[str]) -> None:
    data_key = Sealer(pair.keys, Clock()).data_key("NORTH", "P1")

    sealed = data_key.seal("series", "ab", texts)

    assert opener.open(data_key.stored, sealed, table="series", pseudonym="ab") == tuple(texts)


def test_lone_surrogates_survive(data_key: DataKey, opener: Opener) -> None:
    sealed = data_key.seal("series", "ab", ["\udc80"])

    assert opener.open(data_key.stored, sealed, table="series", pseudonym="ab") == ("\udc80",)


def test_sealing_twice_gives_different_bytes(data_key: DataKey) -> None:
    assert data_key.seal("series", "ab", TEXTS) != data_key.seal("series", "ab", TEXTS)


def test_lengths_of_originals_do_not_show(data_key: DataKey) -> None:
    lengths = {len(data_key.seal("series", "ab", ["1" * size])) for size in range(33, 65)}

    assert len(lengths) == 1


@pytest.mark.parametrize(("table", "pseudonym"), [("studies", "ab"), ("series", "abc")])
def test_a_row_does_not_open_in_another_place(
    data_key: DataKey, opener: Opener, table: str, pseudonym: str
) -> None:
    sealed = data_key.seal("series", "ab", TEXTS)

    with pytest.raises(KeyUnavailable):
        opener.open(data_key.stored, sealed, table=table, pseudonym=pseudonym)


@pytest.mark.parametrize("change", [{"organization": "SOUTH"}, {"data_key_id": 7}], ids=str)
def test_a_data_key_does_not_open_in_another_place(
    data_key: DataKey, opener: Opener, change: dict[str, object]
) -> None:
    sealed = data_key.seal("series", "ab", TEXTS)
    moved = dataclasses.replace(data_key.stored, **change)

    with pytest.raises(KeyUnavailable):
        opener.open(moved, sealed, table="series", pseudonym="ab")


def test_a_changed_row_or_data_key_does_not_open(data_key: DataKey, opener: Opener) -> None:
    sealed = data_key.seal("series", "ab", TEXTS)
    stored = data_key.stored

    for place in range(len(sealed)):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(KeyUnavailable):
            opener.open(stored, changed, table="series", pseudonym="ab")
    for place in range(len(stored.sealed)):
        flipped = bytes([stored.sealed[place] ^ 1])
        changed = stored.sealed[:place] + flipped + stored.sealed[place + 1 :]
        with pytest.raises(KeyUnavailable):
            opener.open(
                dataclasses.replace(stored, sealed=changed), sealed, table="series", pseudonym="ab"
            )


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"\x01short", b"\x02" + bytes(60)], ids=str)
def test_what_was_never_sealed_does_not_open(
    data_key: DataKey, opener: Opener, sealed: bytes
) -> None:
    with pytest.raises(KeyUnavailable):
        opener.open(data_key.stored, sealed, table="series", pseudonym="ab")


def test_another_private_key_does_not_open(data_key: DataKey, tmp_path: Path) -> None:
    sealed = data_key.seal("series", "ab", TEXTS)
    stranger = Opener(make_keys(tmp_path).private)

    with pytest.raises(KeyUnavailable, match="does not open"):
        stranger.open(data_key.stored, sealed, table="series", pseudonym="ab")


def test_a_key_version_that_is_not_held_is_named(data_key: DataKey, pair: KeyPair) -> None:
    sealed = data_key.seal("series", "ab", TEXTS)
    newer = Opener(ReidentifyKeys({2: pair.private.sealing_private_keys[1]}))

    with pytest.raises(KeyUnavailable, match="version 1"):
        newer.open(data_key.stored, sealed, table="series", pseudonym="ab")


def test_the_sealing_side_holds_nothing_that_opens_an_earlier_process_rows(
    pair: KeyPair, data_key: DataKey
) -> None:
    """All 32-byte values that a fresh anonymising process holds are tried as private key."""
    sealed = data_key.seal("series", "ab", TEXTS)
    later = Sealer(pair.keys, Clock())
    later.data_key("NORTH", "P1")

    held = [pair.keys.pseudonym_root, pair.keys.sealing_public_key]
    held.append(pair.keys.organization_root("NORTH"))

    assert not hasattr(later, "open")
    assert not [thing for thing in gc.get_referents(later) if isinstance(thing, Opener)]
    for key in held:
        with pytest.raises(KeyUnavailable):
            Opener(ReidentifyKeys({1: key})).open(
                data_key.stored, sealed, table="series", pseudonym="ab"
            )


def test_a_subject_keeps_its_data_key_for_a_while(sealer: Sealer, clock: Clock) -> None:
    first = sealer.data_key("NORTH", "P1")
    clock.now += DATA_KEY_LIFETIME_S - 1

    assert sealer.data_key("NORTH", "P1") is first
    assert sealer.data_key("NORTH", "P2") is not first
    assert sealer.data_key("SOUTH", "P1") is not first


def test_a_data_key_is_forgotten_in_the_end(sealer: Sealer, clock: Clock) -> None:
    first = sealer.data_key("NORTH", "P1")
    clock.now += DATA_KEY_LIFETIME_S

    sealer.data_key("NORTH", "P2")

    assert first not in list(sealer._in_use.values())
    assert sealer.data_key("NORTH", "P1") is not first


def test_a_data_key_is_replaced_after_its_last_row(
    sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "MAX_ROWS_PER_DATA_KEY", 2)
    first = sealer.data_key("NORTH", "P1")
    first.seal("series", "a", TEXTS)
    first.seal("series", "b", TEXTS)

    assert sealer.data_key("NORTH", "P1") is not first


def test_only_so_many_data_keys_are_held(sealer: Sealer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "MAX_DATA_KEYS", 3)

    for number in range(10):
        sealer.data_key("NORTH", f"P{number}")

    assert len(sealer._in_use) == 3


def test_no_key_is_in_a_representation(data_key: DataKey) -> None:
    assert repr(data_key.stored.sealed) not in repr(data_key.stored)
    assert "AESGCM" not in repr(data_key)
