"""New versions of keys: nothing sealed, signed or named before is lost, nothing is named anew."""

import json
import os
import zlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.errors import InvalidRequest, KeyUnavailable, Misconfigured
from app.vault import keys_store
from app.vault.keyrings import files as key_files
from app.vault.keys import ensure_key_files, load_keys, load_reidentify_keys
from app.vault.keys_ring import KeyRing
from app.vault.keys_store import KeyFiles, KeyMaterial
from app.vault.pseudonyms import Pseudonyms
from app.vault.sealing import Opener, Sealer
from app.vault.sealing_kems import Kem, SealingKey
from app.vault.signing import Signer
from app.vault.workbox import WorkBox, sealed_version

NOW = 2_000_000_000


@pytest.fixture
def held(tmp_path: Path) -> KeyFiles:
    ensure_key_files(tmp_path / "keys.json", tmp_path / "private.json")
    return KeyFiles(tmp_path / "keys.json", tmp_path / "private.json")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_store.time, "time", lambda: float(NOW))


def test_a_rotation_changes_no_pseudonym(held: KeyFiles) -> None:
    before = held.content().at(NOW)
    after = held.rotate(activate_in_s=0).at(NOW)

    assert after.pseudonym_root == before.pseudonym_root
    named = [
        Pseudonyms(keys.organization_root("A"), "A").cloud_patient_id("P")
        for keys in (before, after)
    ]
    assert named[0] == named[1]
    assert WorkBox(before).hash("A", "x", b"y") == WorkBox(after).hash("A", "x", b"y")


def test_new_keys_are_known_before_they_are_used(held: KeyFiles) -> None:
    content = held.rotate(activate_in_s=60)

    waiting, used = content.at(NOW + 59), content.at(NOW + 60)

    assert (waiting.sealing_key_version, waiting.work_key_version) == (1, 1)
    assert (used.sealing_key_version, used.work_key_version, used.signing_key_version) == (2, 2, 2)
    assert Signer(waiting).public_jwks()[1] == Signer(used).public_jwk()


def test_a_second_rotation_waits_until_the_first_is_in_use(held: KeyFiles) -> None:
    held.rotate(activate_in_s=60)

    with pytest.raises(InvalidRequest, match="not come into use"):
        held.rotate(activate_in_s=60)


def test_the_private_key_is_there_before_anything_is_sealed_to_it(
    held: KeyFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = key_files.replace

    def killed(path: Path, content: bytes) -> None:
        if path == held.path:
            raise KeyboardInterrupt
        replace(path, content)

    monkeypatch.setattr(key_files, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        held.rotate(activate_in_s=0)
    left = held.private().sealing_private_keys
    monkeypatch.undo()

    content = held.rotate(activate_in_s=0)

    assert set(left) == set(content.sealing) == {1, 2}
    assert held.private().sealing_private_keys == left


@pytest.mark.parametrize("kem", Kem)
def test_what_older_keys_sealed_opens_after_a_rotation(held: KeyFiles, kem: Kem) -> None:
    old = Sealer(held.content().at(NOW), lambda: 0.0).data_key("A", "P")
    old_row = old.seal("subjects", "P", ["ORIGINAL"])
    keys = held.rotate(activate_in_s=0, kem=kem).at(NOW)
    new = Sealer(keys, lambda: 0.0).data_key("A", "P")
    new_row = new.seal("subjects", "P", ["ORIGINAL"])
    opener = Opener(held.private())

    opened = [
        opener.open(key.stored, row, table="subjects", pseudonym="P")
        for key, row in ((old, old_row), (new, new_row))
    ]

    assert opened == [("ORIGINAL",), ("ORIGINAL",)]
    assert (old.stored.key_version, new.stored.key_version) == (1, 2)
    assert SealingKey(keys.sealing_public_key).kem is kem


def test_a_data_key_is_sealed_to_the_hybrid_and_its_rows_stay(held: KeyFiles) -> None:
    key = Sealer(held.content().at(NOW), lambda: 0.0).data_key("A", "P")
    row = key.seal("subjects", "P", ["ORIGINAL"])
    keys = held.rotate(activate_in_s=0, kem=Kem.HYBRID).at(NOW)
    opener = Opener(held.private())

    resealed = opener.resealed(key.stored, 2, SealingKey(keys.sealing_public_key))

    assert opener.open(resealed, row, table="subjects", pseudonym="P") == ("ORIGINAL",)
    newest_alone = Opener(type(held.private())({2: held.private().sealing_private_keys[2]}))
    assert newest_alone.open(resealed, row, table="subjects", pseudonym="P") == ("ORIGINAL",)


def test_a_rotation_keeps_the_kind_of_key_unless_told(held: KeyFiles) -> None:
    held.rotate(activate_in_s=0, kem=Kem.HYBRID)
    content = held.rotate(activate_in_s=0)

    assert SealingKey(content.at(NOW).sealing_public_key).kem is Kem.HYBRID


def test_work_of_older_keys_opens_and_says_its_version(held: KeyFiles) -> None:
    first = WorkBox(held.content().at(NOW))
    sealed = first.seal("A", "request", b"name")
    second = WorkBox(held.rotate(activate_in_s=0).at(NOW))

    resealed = second.resealed("A", "request", sealed)

    assert [sealed_version(sealed), sealed_version(resealed)] == [1, 2]
    assert second.open("A", "request", sealed) == second.open("A", "request", resealed) == b"name"
    with pytest.raises(KeyUnavailable, match="version 2"):
        first.open("A", "request", resealed)


def test_work_of_the_first_release_opens(held: KeyFiles) -> None:
    # Its format: 1, nonce, AES-256-GCM under the key derived from the organisation's root.
    box = WorkBox(held.content().at(NOW))
    key = box._derived(1, "A", "seal")
    nonce = os.urandom(12)
    sealed = b"\x01" + nonce + AESGCM(key).encrypt(nonce, zlib.compress(b"x"), b"\x01A\nrequest")

    assert box.open("A", "request", sealed) == b"x"


def test_every_key_that_ever_signed_stays_published(held: KeyFiles) -> None:
    signers = [
        Signer(held.content().at(NOW)),
        *[Signer(held.rotate(activate_in_s=0).at(NOW)) for _ in range(3)],
    ]

    newest = signers[-1]

    assert len({signer.key_id for signer in signers}) == 4
    assert newest.public_jwks()[0]["kid"] == newest.key_id
    assert {jwk["kid"] for jwk in newest.public_jwks()} == {signer.key_id for signer in signers}
    for signer in signers:
        assert newest.public_keys().verify(signer.key_id, b"m", signer.sign(b"m"))


def test_a_pinned_signer_keeps_its_key(held: KeyFiles) -> None:
    signer = Signer(held.content().at(NOW))
    pinned = signer.pinned()

    signer.renew(held.rotate(activate_in_s=0).at(NOW))

    assert pinned.key_id != signer.key_id
    assert signer.public_keys().verify(pinned.key_id, b"m", pinned.sign(b"m"))


def test_an_old_version_is_destroyed_in_both_files(held: KeyFiles) -> None:
    held.rotate(activate_in_s=0)

    held.retire(1)

    assert set(held.private().sealing_private_keys) == set(held.content().sealing) == {2}


@pytest.mark.parametrize("version", [2, 3])
def test_the_newest_version_and_unknown_ones_are_not_destroyed(
    held: KeyFiles, version: int
) -> None:
    held.rotate(activate_in_s=0)

    with pytest.raises(InvalidRequest):
        held.retire(version)


def test_files_stay_private_to_their_owner(held: KeyFiles) -> None:
    held.rotate(activate_in_s=0)

    modes = [path.stat().st_mode & 0o777 for path in (held.path, held.reidentify_path)]
    assert modes == [0o600, 0o600]
    assert len(list(held.path.parent.iterdir())) == 2


@pytest.mark.parametrize(
    ("mode", "owner", "user", "is_open"),
    [
        (0o400, 1000, 1000, False),
        (0o440, 0, 1000, False),  # as an orchestrator mounts secrets for a group
        (0o440, 1000, 1000, True),
        (0o440, 0, 0, True),
        (0o460, 0, 1000, True),
        (0o444, 0, 1000, True),
    ],
)
def test_only_what_root_mounts_may_be_readable_by_the_group(
    mode: int, owner: int, user: int, is_open: bool
) -> None:
    status = os.stat_result((0o100000 | mode, 0, 0, 1, owner, owner, 0, 0, 0, 0))

    assert key_files._is_open_to_others(status, user) is is_open


def test_keys_may_come_from_the_environment(held: KeyFiles) -> None:
    material = KeyMaterial(held.path.read_bytes(), held.reidentify_path.read_bytes())

    assert material.content().at(NOW) == load_keys(held.path)
    assert material.private() == load_reidentify_keys(held.reidentify_path)
    assert "pseudonym_root" not in repr(material)


def test_damaged_keys_of_the_environment_are_refused_without_being_shown() -> None:
    with pytest.raises(Misconfigured) as refused:
        KeyMaterial(b'{"version": 1, "pseudonym_root": "PLANTED"}', None).content()

    assert "PLANTED" not in str(refused.value)


async def test_a_running_process_takes_up_new_keys(held: KeyFiles) -> None:
    now = [float(NOW)]
    ring = KeyRing(held, is_private_held=True, clock=lambda: now[0])
    told: list[int] = []
    ring.tell(lambda renewed: told.append(renewed.gateway.sealing_key_version))

    assert await ring.look() is False
    held.rotate(activate_in_s=60)
    assert await ring.look() is True
    assert ring.private is not None
    assert set(ring.private.sealing_private_keys) == {1, 2}
    now[0] += 60
    assert await ring.look() is True

    assert told == [1, 2]


async def test_a_damaged_file_leaves_the_old_keys_in_use(held: KeyFiles) -> None:
    ring = KeyRing(held, is_private_held=True, clock=lambda: NOW)
    before = ring.gateway
    content = json.loads(held.path.read_text())
    held.path.write_text("{")

    assert await ring.look() is False
    assert ring.gateway == before

    key_files.replace(held.path, json.dumps(content).encode())
    held.rotate(activate_in_s=0)
    assert await ring.look() is True
    assert ring.gateway.sealing_key_version == 2


async def test_a_process_without_the_private_key_never_reads_it(held: KeyFiles) -> None:
    held.reidentify_path.unlink()

    ring = KeyRing(held, is_private_held=False, clock=lambda: NOW)

    assert ring.private is None
