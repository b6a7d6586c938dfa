"""The gateway's signature: made with the signing key, checked with public keys alone.

The first signing key is derived from the pseudonym root; later ones lie in the key file, so that
every process of a gateway signs alike. Public halves stay published for ever. Whoever signs a new
kind of message puts a prefix of its own before it: a signature of one kind must never pass for
another.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from app.errors import InvalidRequest
from app.vault.keys import FIRST_VERSION, GatewayKeys

ALGORITHM: Final = "Ed25519"
MAX_JWKS_BYTES: Final = 65_536
_INFO: Final = b"deid-gateway signing v1"


class Signer:
    """Signs what leaves the gateway, with the newest key that is in use.

    Attributes:
        key_id: thumbprint of the public key (RFC 7638).
    """

    __slots__ = ("_key", "_published", "key_id")

    def __init__(self, keys: GatewayKeys) -> None:
        self.renew(keys)

    def __repr__(self) -> str:
        return f"Signer({self.key_id!r})"

    def renew(self, keys: GatewayKeys) -> None:
        """Sign with other keys from now on."""
        held = {FIRST_VERSION: _derived_seed(keys), **keys.signing_seeds}
        private = {
            version: Ed25519PrivateKey.from_private_bytes(seed) for version, seed in held.items()
        }
        public = {
            **keys.signing_public_keys,
            **{version: key.public_key().public_bytes_raw() for version, key in private.items()},
        }
        self._key = private[keys.signing_key_version]
        self.key_id = thumbprint(public[keys.signing_key_version])
        newest_first = sorted(public, reverse=True)
        self._published = tuple(
            [public[keys.signing_key_version]]
            + [public[version] for version in newest_first if version != keys.signing_key_version]
        )

    def pinned(self) -> "Signer":
        """Return a signer that keeps the key of now, for one message whose key is named in it."""
        pinned = Signer.__new__(Signer)
        pinned._key, pinned._published, pinned.key_id = self._key, self._published, self.key_id  # noqa: SLF001
        return pinned

    def sign(self, message: bytes) -> bytes:
        """Sign with Ed25519: 64 bytes, the same for the same message.

        Source: RFC 8032, 5.1.6.
        """
        return self._key.sign(message)

    def public_jwk(self) -> dict[str, str]:
        """Return the public key in use as a JSON Web Key.

        Source: RFC 8037, 2.
        """
        return _jwk(self._published[0])

    def public_jwks(self) -> list[dict[str, str]]:
        """Return every key that ever signed, or soon will: the one in use, then the newest."""
        return [_jwk(key) for key in self._published]

    def public_keys(self) -> "PublicKeys":
        """Return what others check signatures of this gateway with, old ones too."""
        return PublicKeys(self._published)


def signing_public_key(seed: bytes) -> bytes:
    """Return the public half of a signing key."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def _derived_seed(keys: GatewayKeys) -> bytes:
    """Derive the first signing key from the pseudonym root."""
    return HKDFExpand(algorithm=SHA256(), length=32, info=_INFO).derive(keys.pseudonym_root)


class PublicKeys:
    """Public keys that are trusted, by the thumbprint that is computed here.

    Args:
        keys: Ed25519 public keys of 32 bytes.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._keys = {thumbprint(key): Ed25519PublicKey.from_public_bytes(key) for key in keys}

    @classmethod
    def from_jwks(cls, text: bytes) -> "PublicKeys":
        """Read a JSON Web Key Set, or one key; keys of other kinds in it are passed over.

        What a key says of itself (``kid``) is not believed.

        Raises:
            InvalidRequest: the text is neither, holds no Ed25519 key, or holds a private one.
        """
        if len(text) > MAX_JWKS_BYTES:
            raise InvalidRequest("The key set is too large")
        try:
            jwks = json.loads(text)
            found = [_public_key(jwk) for jwk in jwks.get("keys", [jwks]) if _is_ours(jwk)]
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            raise InvalidRequest("The keys are not a JSON Web Key Set") from None
        if not found:
            raise InvalidRequest("There is no Ed25519 key among the keys")
        return cls(found)

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._keys

    def verify(self, key_id: str, message: bytes, signature: bytes) -> bool:
        """Say whether the signature of a message was made with the trusted key of that id."""
        key = self._keys.get(key_id)
        if key is None:
            return False
        try:
            key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


def thumbprint(public_key: bytes) -> str:
    """Name an Ed25519 public key by the hash of its JWK.

    Source: RFC 7638, 3; RFC 8037, 2.
    """
    members = json.dumps(_required_members(public_key), sort_keys=True, separators=(",", ":"))
    return base64url(hashlib.sha256(members.encode()).digest())


def base64url(raw: bytes) -> str:
    """Encode without padding, as JSON Web Keys do."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Decode the one spelling that ``base64url`` makes.

    Raises:
        ValueError: the text is any other.
    """
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raw = b""
    if base64url(raw) != text:
        raise ValueError("not base64url")
    return raw


def _jwk(public_key: bytes) -> dict[str, str]:
    return {**_required_members(public_key), "kid": thumbprint(public_key), "use": "sig"}


def _required_members(public_key: bytes) -> dict[str, str]:
    return {"crv": ALGORITHM, "kty": "OKP", "x": base64url(public_key)}


def _is_ours(jwk: Mapping[str, Any]) -> bool:
    return jwk.get("kty") == "OKP" and jwk.get("crv") == ALGORITHM


def _public_key(jwk: Mapping[str, Any]) -> bytes:
    if "d" in jwk:
        raise InvalidRequest("The keys hold a private key; give out the public one alone")
    public_key = from_base64url(jwk["x"])
    if len(public_key) != 32:
        raise ValueError
    return public_key
