"""The keys that an OpenID provider publishes: which of them may check a signature. Pure.

Source: RFC 7517 (JSON Web Key sets); RFC 7518, 3 and RFC 8037 (which key fits which algorithm).
"""

from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

MAX_KEYS: Final = 64
MIN_RSA_BITS: Final = 2048
_CURVES: Final[Mapping[str, str]] = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_ED25519: Final = frozenset({"EdDSA", "Ed25519"})


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """One public key and the algorithms that it may be used with."""

    key_id: str | None
    algorithms: frozenset[str]
    key: RSAKey | ECKey | OKPKey


@dataclass(frozen=True, slots=True, repr=False)
class KeySet:
    """The usable keys of one provider at one time."""

    keys: tuple[SigningKey, ...]

    def fitting(self, algorithm: str, key_id: str | None) -> Sequence[SigningKey]:
        """Return the keys that may have made a signature; a key of another kind never does."""
        return [
            key
            for key in self.keys
            if algorithm in key.algorithms and (key_id is None or key.key_id == key_id)
        ]

    def identity(self) -> frozenset[str]:
        """Tell this set from another one: the thumbprints of its keys."""
        return frozenset([key.key.thumbprint() for key in self.keys])


def read_key_set(document: object) -> KeySet:
    """Read a published set; keys that are not for signatures or too weak are left out.

    Raises:
        ValueError: this is no key set, or none of its keys can be used.
    """
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError("not a key set")
    read = [_signing_key(entry) for entry in entries if isinstance(entry, dict)]
    usable = tuple([key for key in read if key is not None])
    if not usable:
        raise ValueError("no usable key")
    return KeySet(usable)


def _signing_key(entry: Mapping[str, Any]) -> SigningKey | None:
    try:
        if entry.get("use", "sig") != "sig" or "verify" not in entry.get("key_ops", ["verify"]):
            return None
        key, algorithms = _public(entry)
        if "alg" in entry:
            algorithms &= {entry["alg"]}
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    key_id = entry.get("kid")
    if not algorithms or not (key_id is None or isinstance(key_id, str)):
        return None
    return SigningKey(key_id, algorithms, key)


def _public(entry: Mapping[str, Any]) -> tuple[RSAKey | ECKey | OKPKey, frozenset[str]]:
    """Read the public half of a key; a secret one is none."""
    kind = entry.get("kty")
    if kind == "RSA":
        modulus = int.from_bytes(urlsafe_b64decode(entry["n"] + "=="), "big")
        if modulus.bit_length() < MIN_RSA_BITS:
            raise ValueError("a weak key")
        return RSAKey.import_key({"kty": "RSA", "n": entry["n"], "e": entry["e"]}), _RSA
    if kind == "EC":
        members = {name: entry[name] for name in ("kty", "crv", "x", "y")}
        return ECKey.import_key(members), frozenset({_CURVES[entry["crv"]]})
    if kind == "OKP" and entry.get("crv") == "Ed25519":
        members = {name: entry[name] for name in ("kty", "crv", "x")}
        return OKPKey.import_key(members), _ED25519
    raise ValueError("not a kind of key that signs here")
