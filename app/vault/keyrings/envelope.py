"""The content of a key file, wrapped by a provider: the port, and the envelope around it.

A provider (a KMS, a transit engine, an HSM) wraps one random content key of 32 bytes; AES-256-GCM
under it seals the content. So a provider's bound on sizes does not matter, and nothing but start,
rotation and a changed file ever calls it.
"""

import base64
import json
import os
from typing import Any, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.errors import KeyUnavailable, Misconfigured

FORMAT_VERSION: Final = 2
GATEWAY: Final = "gateway"
REIDENTIFICATION: Final = "reidentification"
REVIEW: Final = "review"
_NONCE_BYTES: Final = 12


class Wrapper(Protocol):
    """What every provider can do; its key never leaves it."""

    @property
    def provider(self) -> str:
        """Its name, as it stands in wrapped files."""

    @property
    def key(self) -> str:
        """The name of the wrapping key at the provider."""

    def wrap(self, secret: bytes, purpose: str) -> bytes:
        """Wrap 32 bytes, bound to a purpose; the answer names the version of the wrapping key.

        Raises:
            KeyUnavailable: the provider does not answer or refuses.
        """

    def unwrap(self, wrapped: bytes, purpose: str) -> bytes:
        """Return what was wrapped for the same purpose.

        Raises:
            KeyUnavailable: the provider does not answer, refuses, or it was altered.
        """


def packed(content: dict[str, Any], kind: str, wrapper: Wrapper | None) -> bytes:
    """Write the content of a key file, wrapped where there is a provider.

    Args:
        content: what the file says.
        kind: which of the files it is; one cannot stand for the other.
        wrapper: the provider; None writes it in clear.

    Raises:
        KeyUnavailable: the provider does not answer or refuses.
    """
    if wrapper is None:
        return _json(content)
    key = AESGCM.generate_key(256)
    nonce = os.urandom(_NONCE_BYTES)
    sealed = AESGCM(key).encrypt(nonce, _json(content), _bound_to(kind, wrapper.provider))
    return _json(
        {
            "version": FORMAT_VERSION,
            "provider": wrapper.provider,
            "provider_key": wrapper.key,
            "wrapped_key": _text(wrapper.wrap(key, kind)),
            "sealed": _text(nonce + sealed),
        }
    )


def unpacked(raw: bytes, kind: str, wrapper: Wrapper | None) -> dict[str, Any]:
    """Read the content of a key file.

    Raises:
        Misconfigured: it is wrapped by another provider than the one configured, or lies in clear
            although one is configured.
        KeyUnavailable: the provider does not answer or refuses, or the file was altered.
        ValueError, TypeError, KeyError: it is damaged.
    """
    content = json.loads(raw)
    if not isinstance(content, dict):
        raise TypeError
    wrapped_by = content.get("provider")
    configured = None if wrapper is None else wrapper.provider
    if wrapped_by != configured:
        raise Misconfigured(_mismatch(wrapped_by, configured))
    if wrapper is None:
        return content
    key = wrapper.unwrap(_raw(content["wrapped_key"]), kind)
    sealed = _raw(content["sealed"])
    try:
        opened = AESGCM(key).decrypt(
            sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound_to(kind, wrapper.provider)
        )
    except (InvalidTag, ValueError):
        raise KeyUnavailable("a wrapped key file was altered, or is not the right one") from None
    inner = json.loads(opened)
    if not isinstance(inner, dict):
        raise TypeError
    return inner


def provider_of(raw: bytes) -> str | None:
    """Say who wrapped the content of a key file, without asking; None for one in clear.

    Raises:
        ValueError: it is none.
    """
    content = json.loads(raw)
    if not isinstance(content, dict):
        raise ValueError("not the content of a key file")  # noqa: TRY004 - it is data
    provider = content.get("provider")
    return None if provider is None else str(provider)


def _mismatch(wrapped_by: object, configured: str | None) -> str:
    if wrapped_by is None:
        return f"a key file lies in clear, but DEID_KEY_PROVIDER is {configured}; run 'keys wrap'"
    names = {"vault-transit", "aws-kms", "pkcs11"}
    by = wrapped_by if wrapped_by in names else "an unknown provider"
    return f"a key file is wrapped by {by}, which is not what DEID_KEY_PROVIDER says"


def _bound_to(kind: str, provider: str) -> bytes:
    return f"deid-gateway key file v{FORMAT_VERSION}\n{kind}\n{provider}".encode()


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode() + b"\n"


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _raw(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError
    return base64.b64decode(text, validate=True)
