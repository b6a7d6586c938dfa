"""Bearer tokens of an OpenID provider: what makes one valid. Pure: no I/O and no clock.

Keys come from the provider's published set alone: whatever a token says about where its key could
be found (``jku``, ``x5u``, ``jwk``, ``x5c``) is not looked at.

Source: RFC 7515 (signatures), RFC 7519 (claims), RFC 8725 (what goes wrong with both).
"""

import binascii
import json
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError

from app.access.key_sets import SigningKey

ASYMMETRIC: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"}
    | {"EdDSA", "Ed25519"}
)
"""Algorithms that may be allowed: none with a shared secret, because a public key is no secret."""
MAX_TOKEN_CHARACTERS: Final = 16_384
MAX_HEAD_CHARACTERS: Final = 8_192
MAX_SUBJECT_CHARACTERS: Final = 255
_LATEST: Final = 1e11  # seconds: the year 5138; no infinity, no number that is none
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})


class _Registry(jws.JWSRegistry):
    """The library's algorithms without its advice, which is for those who sign."""

    max_header_length = MAX_HEAD_CHARACTERS

    def get_alg(self, name: str) -> Any:  # noqa: ANN401 - the library does not export the type
        if name not in ASYMMETRIC:
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


# Header parameters that nobody knows are ignored, as RFC 7515 has it.
_REGISTRY: Final = _Registry(strict_check_header=False)


class Fault(StrEnum):
    """Why a token is refused; for metrics and logs, the caller is not told."""

    MALFORMED = "malformed"
    ALGORITHM = "algorithm"
    CRITICAL = "critical-header"
    TYPE = "type"
    KEY = "key"
    SIGNATURE = "signature"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    EXPIRED = "expired"
    NOT_YET = "not-yet-valid"
    SUBJECT = "subject"


class TokenRefused(Exception):
    """A token is not valid here."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(fault.value)


@dataclass(frozen=True, slots=True)
class Head:
    """What a token says of its own signature, which nobody has checked yet."""

    algorithm: str
    key_id: str | None


@dataclass(frozen=True, slots=True)
class Expected:
    """What the claims of a token must say.

    Attributes:
        issuer: compared character by character.
        audiences: the token must be for one of them.
        leeway_s: how far the clocks of provider and gateway may be apart, in seconds.
    """

    issuer: str
    audiences: frozenset[str]
    leeway_s: float


@dataclass(frozen=True, slots=True)
class Times:
    """Until when a token may be used, in seconds since 1970, leeway included."""

    ends_at: float


def read_head(token: str, algorithms: Iterable[str]) -> Head:
    """Read what signature a token claims to bear.

    Args:
        token: as presented.
        algorithms: those that are allowed; a subset of `ASYMMETRIC`.

    Raises:
        TokenRefused: the head is malformed or asks for what is not allowed.
    """
    text = token.partition(".")[0]
    if len(token) > MAX_TOKEN_CHARACTERS or len(text) > MAX_HEAD_CHARACTERS:
        raise TokenRefused(Fault.MALFORMED)
    members = _object(_decoded(text))
    algorithm = members.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ASYMMETRIC.intersection(algorithms):
        raise TokenRefused(Fault.ALGORITHM)
    if "crit" in members:  # names extensions that must be understood; none is
        raise TokenRefused(Fault.CRITICAL)
    if str(members.get("typ", "JWT")).lower() not in _TYPES:
        raise TokenRefused(Fault.TYPE)
    key_id = members.get("kid")
    if key_id is not None and not isinstance(key_id, str):
        raise TokenRefused(Fault.MALFORMED)
    return Head(algorithm, key_id)


def verified(token: str, head: Head, keys: Sequence[SigningKey]) -> Mapping[str, Any]:
    """Check the signature and return the claims.

    Args:
        token: as presented.
        head: what `read_head` found in it.
        keys: keys of the provider that may have signed it.

    Raises:
        TokenRefused: no key fits, or the signature is wrong.
    """
    if not keys:
        raise TokenRefused(Fault.KEY)
    for key in keys:
        try:
            signed = jws.deserialize_compact(token, key.key, [head.algorithm], _REGISTRY)
        except (JoseError, ValueError, TypeError, RecursionError):
            continue
        return _object(signed.payload or b"")
    raise TokenRefused(Fault.SIGNATURE)


def check_claims(claims: Mapping[str, Any], expected: Expected, now: float) -> Times:
    """Check for whom and for when a token is.

    Args:
        claims: of a token whose signature was checked.
        expected: what they must say.
        now: seconds since 1970.

    Raises:
        TokenRefused: they say something else.
    """
    if claims.get("iss") != expected.issuer:
        raise TokenRefused(Fault.ISSUER)
    if expected.audiences.isdisjoint(_listed(claims.get("aud"))):
        raise TokenRefused(Fault.AUDIENCE)
    ends_at = _moment(claims, "exp")
    if ends_at is None:
        raise TokenRefused(Fault.EXPIRED)
    for name in ("nbf", "iat"):
        begins_at = _moment(claims, name)
        if begins_at is not None and begins_at > now + expected.leeway_s:
            raise TokenRefused(Fault.NOT_YET)
    if now >= ends_at + expected.leeway_s:
        raise TokenRefused(Fault.EXPIRED)
    return Times(ends_at + expected.leeway_s)


def subject_of(claims: Mapping[str, Any]) -> str:
    """Return whom a token is about.

    Raises:
        TokenRefused: it does not say, or in a form that is not fit for the audit.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARACTERS:
        raise TokenRefused(Fault.SUBJECT)
    if not (subject.isascii() and subject.isprintable()):
        raise TokenRefused(Fault.SUBJECT)
    return subject


def texts_at(claims: Mapping[str, Any], path: str) -> tuple[str, ...]:
    """Return the words of one claim: a text with blanks between them, or a list of texts.

    Args:
        claims: of a token.
        path: the name of a claim; where there is none by that name, dots lead into objects.
    """
    return _words(claims[path] if path in claims else _nested(claims, path))


def _nested(claims: Mapping[str, Any], path: str) -> object:
    found: object = claims
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def _words(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(dict.fromkeys(value.split()))
    return tuple(dict.fromkeys(_listed(value)))


def _listed(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list):
        return tuple([item for item in value if isinstance(item, str)])
    return ()


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LATEST:
        raise TokenRefused(Fault.MALFORMED)
    return float(value)


def _decoded(text: str) -> bytes:
    try:
        return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (UnicodeEncodeError, binascii.Error, ValueError):
        raise TokenRefused(Fault.MALFORMED) from None


def _object(text: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise TokenRefused(Fault.MALFORMED) from None
    if not isinstance(value, dict):
        raise TokenRefused(Fault.MALFORMED)
    return value
