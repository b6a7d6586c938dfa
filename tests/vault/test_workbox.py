"""What workers must read again opens for nobody else, and cannot be moved or forged."""

import pytest

from app.errors import KeyUnavailable
from app.vault.keys import GatewayKeys
from app.vault.workbox import WorkBox

NAME = b"WORD^PLANTED/1.dcm"


@pytest.fixture
def box() -> WorkBox:
    return WorkBox(GatewayKeys(bytes(32), bytes(32), 1))


def test_what_was_sealed_opens_again(box):
    assert box.open("A", "request", box.seal("A", "request", NAME)) == NAME


def test_nothing_of_it_can_be_read(box):
    assert b"WORD" not in box.seal("A", "request", NAME)


def test_the_same_data_is_never_sealed_to_the_same_bytes(box):
    assert box.seal("A", "request", NAME) != box.seal("A", "request", NAME)


@pytest.mark.parametrize(("organization", "purpose"), [("B", "request"), ("A", "chunk 1")])
def test_it_does_not_open_in_another_place(box, organization, purpose):
    sealed = box.seal("A", "request", NAME)

    with pytest.raises(KeyUnavailable):
        box.open(organization, purpose, sealed)


def test_it_does_not_open_with_another_key(box):
    other = WorkBox(GatewayKeys(bytes([1]) * 32, bytes(32), 1))

    with pytest.raises(KeyUnavailable):
        other.open("A", "request", box.seal("A", "request", NAME))


@pytest.mark.parametrize("place", [0, 1, 20, -1])
def test_an_altered_byte_is_noticed(box, place):
    sealed = bytearray(box.seal("A", "request", NAME))
    sealed[place] ^= 1

    with pytest.raises(KeyUnavailable):
        box.open("A", "request", bytes(sealed))


def test_hashes_tell_organisations_and_purposes_apart(box):
    hashes = {
        box.hash(organization, purpose, NAME) for organization in "AB" for purpose in ("x", "y")
    }

    assert len(hashes) == 4
    assert box.hash("A", "x", NAME) in hashes
