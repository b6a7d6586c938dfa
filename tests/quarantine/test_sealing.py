"""What is held cannot be read by who holds it, and cannot be altered without being noticed."""

from dataclasses import replace
from itertools import pairwise
from uuid import uuid4

import pytest

from app.dicom.source import MemorySource
from app.errors import HeldObjectDamaged, KeyUnavailable, Misconfigured, Truncated
from app.quarantine.sealing import (
    CHUNK_BYTES,
    HeldSource,
    HoldOpener,
    HoldSealer,
    Place,
    SealedKey,
)
from app.vault.keys import ensure_key_files
from app.vault.keys_review import review_content
from app.vault.keys_store import KeyFiles
from app.vault.sealing_kems import Kem
from tests.quarantine.ward import NORTH, PICTURE, SOUTH

SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 17]


def content(size: int) -> bytes:
    return bytes(index * 31 % 251 for index in range(size))


def sealed(keys: KeyFiles, size: int) -> tuple[Place, SealedKey, bytes]:
    place = Place(NORTH, uuid4(), size)
    cipher, key = HoldSealer(keys.content().at(4e9)).begin(place, PICTURE)
    return place, key, b"".join(cipher.sealed(MemorySource(content(size))))


def opened(keys: KeyFiles, place: Place, key: SealedKey, data: bytes) -> HeldSource:
    cipher, _ = HoldOpener(keys.review()).open(place, key)
    return HeldSource(MemorySource(data), cipher)


@pytest.mark.parametrize("size", SIZES)
def test_an_object_of_any_size_comes_back_whole(keys: KeyFiles, size: int) -> None:
    place, key, data = sealed(keys, size)

    assert len(data) == place.sealed_size
    assert opened(keys, place, key, data).read(0, size) == content(size)


def test_any_piece_can_be_read_by_itself(keys: KeyFiles) -> None:
    size = 3 * CHUNK_BYTES
    source, plain = opened(keys, *sealed(keys, size)), content(size)

    for offset in (0, 5, CHUNK_BYTES - 3, CHUNK_BYTES, 2 * CHUNK_BYTES + 9):
        for length in (0, 1, 7, CHUNK_BYTES - 20):
            assert source.read(offset, length) == plain[offset : offset + length]
    with pytest.raises(Truncated):
        source.read(size - 3, 4)


def test_the_picture_is_sealed_with_the_key_and_stands_nowhere_in_clear(keys: KeyFiles) -> None:
    place, key, data = sealed(keys, 4000)

    cipher, picture = HoldOpener(keys.review()).open(place, key)

    assert picture == PICTURE
    assert cipher.place == place
    assert PICTURE.model.encode() not in key.sealed + data
    assert content(4000)[:64] not in data


@pytest.mark.parametrize("place_of_damage", [0, 3, 4, 100, CHUNK_BYTES + 30, -1])
def test_an_altered_byte_anywhere_is_noticed(keys: KeyFiles, place_of_damage: int) -> None:
    size = 2 * CHUNK_BYTES + 100
    place, key, data = sealed(keys, size)
    altered = bytearray(data)
    altered[place_of_damage] ^= 1

    with pytest.raises(HeldObjectDamaged):
        opened(keys, place, key, bytes(altered)).read(0, size)


def test_chunks_cannot_be_exchanged_left_out_or_cut_off(keys: KeyFiles) -> None:
    size, step = 3 * CHUNK_BYTES, CHUNK_BYTES + 16
    place, key, data = sealed(keys, size)
    head, chunks = data[:4], [data[4 + n * step : 4 + (n + 1) * step] for n in range(3)]

    for order in ((1, 0, 2), (0, 0, 2), (0, 2, 1), (0, 1, 1)):
        moved = head + b"".join(chunks[number] for number in order)
        with pytest.raises(HeldObjectDamaged):
            opened(keys, place, key, moved).read(0, size)
    with pytest.raises(HeldObjectDamaged):
        opened(keys, place, key, data[:-step])
    # The shorter object that is left is not one of that length either.
    shorter = replace(place, size=2 * CHUNK_BYTES)
    with pytest.raises(HeldObjectDamaged):
        opened(keys, shorter, key, data[:-step])


@pytest.mark.parametrize("change", ["organization", "object_id", "size"])
def test_a_row_opens_only_the_object_that_it_was_written_for(keys: KeyFiles, change: str) -> None:
    place, key, _ = sealed(keys, 10)
    other = {"organization": SOUTH, "object_id": uuid4(), "size": 11}[change]

    with pytest.raises(HeldObjectDamaged):
        HoldOpener(keys.review()).open(replace(place, **{change: other}), key)


def test_two_objects_with_the_same_bytes_look_different(keys: KeyFiles) -> None:
    first, second = sealed(keys, 5000)[2], sealed(keys, 5000)[2]

    assert first[4:64] != second[4:64]


def test_a_version_that_is_not_held_opens_nothing(keys: KeyFiles) -> None:
    place, key, _ = sealed(keys, 10)

    with pytest.raises(KeyUnavailable):
        HoldOpener(keys.review()).open(place, replace(key, version=9))


def test_an_installation_without_a_review_key_seals_nothing(keys: KeyFiles) -> None:
    without = replace(keys.content().at(4e9), review_public_key=None)

    with pytest.raises(KeyUnavailable):
        HoldSealer(without)


def test_the_key_of_the_mapping_is_no_review_key(keys: KeyFiles) -> None:
    with pytest.raises(Misconfigured, match="damaged"):
        review_content(keys.reidentify_path.read_bytes(), "private.json")
    assert keys.review().private_keys[1] != keys.private().sealing_private_keys[1]


def test_what_was_held_before_a_rotation_opens_after_it(keys: KeyFiles) -> None:
    before = sealed(keys, 100)

    keys.rotate(activate_in_s=0, kem=Kem.HYBRID)
    after = sealed(keys, 100)

    assert (before[1].version, after[1].version) == (1, 2)
    for one in (before, after):
        assert opened(keys, *one).read(0, 100) == content(100)


def test_a_rotation_where_the_review_key_is_not_leaves_it_as_it_is(keys: KeyFiles) -> None:
    elsewhere = keys.review_path.rename(keys.review_path.with_name("elsewhere.json"))

    content_after = keys.rotate(activate_in_s=0)

    assert set(content_after.review) == {1}
    assert set(content_after.sealing) == {1, 2}
    assert elsewhere.exists()


def test_a_killed_start_is_taken_up_again(keys: KeyFiles, tmp_path) -> None:
    """The private half lies there, and the key file does not know it yet."""
    held = KeyFiles(tmp_path / "new" / "keys.json", tmp_path / "new" / "private.json")
    ensure_key_files(held.path, held.reidentify_path)
    held.review_path.write_bytes(keys.review_path.read_bytes())
    held.review_path.chmod(0o600)

    assert held.ensure_review(Kem.X25519)
    assert not held.ensure_review(Kem.X25519)
    assert held.review() == keys.review()
    assert held.content().review == keys.content().review


def test_a_rotation_that_was_killed_between_the_files_is_taken_up_again(keys: KeyFiles) -> None:
    before = keys.path.read_bytes()
    keys.rotate(activate_in_s=0)
    made = keys.review()
    keys.path.write_bytes(before)

    keys.rotate(activate_in_s=0)

    assert keys.review() == made
    assert set(keys.content().review) == {1, 2}


def test_versions_follow_each_other(keys: KeyFiles) -> None:
    for _ in range(3):
        keys.rotate(activate_in_s=0)
    keys.retire_review(1)

    versions = sorted(keys.review().private_keys)

    assert versions == sorted(keys.content().review) == [2, 3, 4]
    assert all(later == earlier + 1 for earlier, later in pairwise(versions))
