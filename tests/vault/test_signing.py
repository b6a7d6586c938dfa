"""Signatures of the gateway: one key per pseudonym root, checked with public keys alone."""

import base64
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from app.errors import InvalidRequest
from app.vault.keys import GatewayKeys
from app.vault.signing import PublicKeys, Signer, base64url, from_base64url, thumbprint

KEYS = GatewayKeys(bytes(range(32)), bytes(32), 1)
# RFC 8037, A.1 to A.3: a key, its private half and its thumbprint.
RFC_X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
RFC_D = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
RFC_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def jwks(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_a_key_is_named_as_the_standard_names_it() -> None:
    assert thumbprint(from_base64url(RFC_X)) == RFC_THUMBPRINT


def test_what_a_signer_signs_its_public_key_verifies() -> None:
    signer = Signer(KEYS)
    public = PublicKeys.from_jwks(jwks(signer.public_jwk()))

    assert public.verify(signer.key_id, b"message", signer.sign(b"message"))


def test_the_signature_is_plain_ed25519() -> None:
    signer = Signer(KEYS)
    raw = from_base64url(signer.public_jwk()["x"])

    Ed25519PublicKey.from_public_bytes(raw).verify(signer.sign(b"message"), b"message")


def test_the_signing_key_stays_the_same_for_ever() -> None:
    # Another value here would make every key that receivers hold useless.
    assert Signer(KEYS).key_id == "lnSG7P1OYjaQEfYO_HZ21ixaamo7NEh4hlOXkbPsaWA"


def test_gateways_with_other_roots_sign_with_other_keys() -> None:
    other = Signer(replace(KEYS, pseudonym_root=bytes(32)))

    assert other.key_id != Signer(KEYS).key_id
    assert not Signer(KEYS).public_keys().verify(other.key_id, b"m", other.sign(b"m"))


def test_the_sealing_key_does_not_change_the_signing_key() -> None:
    assert Signer(replace(KEYS, sealing_public_key=bytes(31) + b"1")).key_id == Signer(KEYS).key_id


def test_another_message_does_not_verify() -> None:
    signer = Signer(KEYS)

    assert not signer.public_keys().verify(signer.key_id, b"another", signer.sign(b"message"))


@pytest.mark.parametrize("place", [0, 31, 32, 63])
def test_a_changed_signature_does_not_verify(place: int) -> None:
    signer = Signer(KEYS)
    signature = bytearray(signer.sign(b"message"))
    signature[place] ^= 1

    assert not signer.public_keys().verify(signer.key_id, b"message", bytes(signature))


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_signature_of_another_length_does_not_verify(size: int) -> None:
    signer = Signer(KEYS)
    signature = (signer.sign(b"message") + b"\0")[:size]

    assert not signer.public_keys().verify(signer.key_id, b"message", signature)


def test_the_public_key_holds_nothing_private() -> None:
    jwk = Signer(KEYS).public_jwk()

    assert set(jwk) == {"kty", "crv", "x", "kid", "use"}


def test_a_representation_shows_the_public_name_alone() -> None:
    signer = Signer(KEYS)

    assert repr(signer) == f"Signer({signer.key_id!r})"


def test_one_key_may_stand_without_a_set() -> None:
    signer = Signer(KEYS)

    assert signer.key_id in PublicKeys.from_jwks(json.dumps(signer.public_jwk()).encode())


def test_keys_of_other_kinds_are_passed_over() -> None:
    signer = Signer(KEYS)
    others = ({"kty": "RSA", "n": "AQAB", "e": "AQAB"}, {"kty": "OKP", "crv": "X25519", "x": RFC_X})

    assert signer.key_id in PublicKeys.from_jwks(jwks(*others, signer.public_jwk()))


def test_the_name_that_a_key_gives_itself_is_not_believed() -> None:
    signer = Signer(KEYS)
    stranger = base64url(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    public = PublicKeys.from_jwks(jwks({**signer.public_jwk(), "x": stranger}))

    assert signer.key_id not in public


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"7",
        b"{}",
        b'{"keys": 7}',
        b'{"keys": [7]}',
        b'{"keys": []}',
        jwks({"kty": "OKP", "crv": "Ed25519"}),
        jwks({"kty": "OKP", "crv": "Ed25519", "x": 7}),
        jwks({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}),
        jwks({"kty": "OKP", "crv": "Ed25519", "x": RFC_X + "="}),
        jwks({"kty": "OKP", "crv": "Ed25519", "x": RFC_X[:-1] + "p"}),
        b"[" * 60_000,
        b"\xff\xfe",
    ],
    ids=range(14),
)
def test_what_is_no_key_set_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidRequest):
        PublicKeys.from_jwks(text)


def test_a_key_set_beyond_the_bound_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        PublicKeys.from_jwks(jwks(Signer(KEYS).public_jwk()) + b" " * 65_536)


def test_a_private_key_among_the_public_ones_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="private"):
        PublicKeys.from_jwks(jwks({"kty": "OKP", "crv": "Ed25519", "x": RFC_X, "d": RFC_D}))


@pytest.mark.parametrize("text", ["AA==", "AB", "A", "A A", "A+", "AAA\n"])
def test_only_one_spelling_of_bytes_is_read(text: str) -> None:
    with pytest.raises(ValueError, match="base64url"):
        from_base64url(text)


def test_bytes_are_written_without_padding() -> None:
    assert base64url(b"\xff\xfe") == base64.urlsafe_b64encode(b"\xff\xfe").decode().rstrip("=")
