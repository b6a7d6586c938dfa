"""The gateway's signature: made with the signing key, checked with public keys alone.

The signing key is derived from the pseudonym root, so that every process of a gateway signs alike
and there is no further key to keep. Whoever signs a new kind of message puts a prefix of its own
before it: a signature of one kind must never pass for another.
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
from app.vault.keys import GatewayKeys

ALGORITHM: Final = "Ed25519"
MAX_JWKS_BYTES: Final = 65_536
_INFO: Final = b"deid-gateway signing v1"


class Signer:
    """Signs what leaves the gateway.

    Attributes:
        key_id: thumbprint of the public key (RFC 7638).
    """

    __slots__ = ("_key", "key_id")

    def __init__(self, keys: GatewayKeys) -> None:
        expand = HKDFExpand(algorithm=SHA256(), length=32, info=_INFO)
        self._key = Ed25519PrivateKey.from_private_bytes(expand.derive(keys.pseudonym_root))
        self.key_id = thumbprint(self._public_bytes())

    def __repr__(self) -> str:
        return f"Signer({self.key_id!r})"

    def sign(self, message: bytes) -> bytes:
        """Sign with Ed25519: 64 bytes, the same for the same message.

        Source: RFC 8032, 5.1.6.
        """
        return self._key.sign(message)

    def public_jwk(self) -> dict[str, str]:
        """Return the public key as a JSON Web Key.

        Source: RFC 8037, 2.
        """
        jwk = _required_members(self._public_bytes())
        return {**jwk, "kid": self.key_id, "use": "sig"}

    def public_keys(self) -> "PublicKeys":
        """Return what others check this signer's signatures with."""
        return PublicKeys([self._public_bytes()])

    def _public_bytes(self) -> bytes:
        return self._key.public_key().public_bytes_raw()


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
