"""Sealing what workers must read again: where a batch's files are and what they are called.

Names of directories and files name patients. Unlike the mapping they are needed by processes that
hold no private key, so they are sealed under a key derived from the organisation's root: the
database alone tells nothing, and nobody without the key file can forge a path to be read.
"""

import os
import zlib
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from app.errors import KeyUnavailable
from app.vault.keys import GatewayKeys

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32


class WorkBox:
    """Seals and opens the working data of one gateway's batches.

    Args:
        keys: the gateway's keys.
    """

    def __init__(self, keys: GatewayKeys) -> None:
        self._keys = keys
        self._ciphers: dict[str, AESGCM] = {}

    def seal(self, organization: str, purpose: str, data: bytes) -> bytes:
        """Seal data, bound to the organisation and a purpose that names its place."""
        nonce = os.urandom(_NONCE_BYTES)
        packed = zlib.compress(data, 1)
        bound_to = _bound_to(_VERSION, organization, purpose)
        return _VERSION + nonce + self._cipher(organization).encrypt(nonce, packed, bound_to)

    def open(self, organization: str, purpose: str, sealed: bytes) -> bytes:
        """Open what was sealed for the same organisation and purpose.

        Raises:
            KeyUnavailable: it was sealed with another key, or altered, or moved.
        """
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        bound_to = _bound_to(sealed[:1], organization, purpose)
        try:
            packed = self._cipher(organization).decrypt(nonce, ciphertext, bound_to)
        except (InvalidTag, ValueError):
            raise KeyUnavailable(
                "what a batch works on does not open with the key held here"
            ) from None
        return zlib.decompress(packed)

    def hash(self, organization: str, purpose: str, data: bytes) -> bytes:
        """Return a keyed hash, 32 bytes, of something that is only compared."""
        mac = HMAC(self._derived(organization, "hash"), SHA256())
        mac.update(purpose.encode() + b"\n" + data)
        return mac.finalize()

    def _cipher(self, organization: str) -> AESGCM:
        known = self._ciphers.get(organization)
        if known is None:
            known = self._ciphers[organization] = AESGCM(self._derived(organization, "seal"))
        return known

    def _derived(self, organization: str, use: str) -> bytes:
        info = f"deid-gateway batches v1 {use}".encode()
        expand = HKDFExpand(algorithm=SHA256(), length=_KEY_BYTES, info=info)
        return expand.derive(self._keys.organization_root(organization))


def _bound_to(version: bytes, organization: str, purpose: str) -> bytes:
    return version + f"{organization}\n{purpose}".encode()
