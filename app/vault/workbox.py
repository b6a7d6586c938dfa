"""Sealing what workers must read again: where a batch's files are and what they are called.

Names of directories and files name patients. Unlike the mapping they are needed by processes that
hold no private key, so they are sealed under a key that the key file holds: the database alone
tells nothing, and nobody without the key file can forge a path to be read.
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
from app.vault.keys import FIRST_VERSION, GatewayKeys

# The first format knows one key: the one that is derived from the organisation's root.
_FIRST_FORMAT: Final = b"\x01"
_FORMAT: Final = b"\x02"  # then the version of the key, two bytes
_VERSION_BYTES: Final = 2
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32


class WorkBox:
    """Seals and opens the working data of one gateway's batches.

    Args:
        keys: the gateway's keys.
    """

    def __init__(self, keys: GatewayKeys) -> None:
        self._keys = keys
        self._ciphers: dict[tuple[int, str], AESGCM] = {}

    @property
    def version(self) -> int:
        """The version of the key that seals now."""
        return self._keys.work_key_version

    def renew(self, keys: GatewayKeys) -> None:
        """Seal with other keys from now on; what was sealed before opens if they hold its key."""
        self._keys = keys
        self._ciphers = {}

    def seal(self, organization: str, purpose: str, data: bytes) -> bytes:
        """Seal data, bound to the organisation and a purpose that names its place."""
        nonce = os.urandom(_NONCE_BYTES)
        packed = zlib.compress(data, 1)
        version = self.version
        head = head_of(version)
        cipher = self._cipher(version, organization)
        return head + nonce + cipher.encrypt(nonce, packed, _bound_to(head, organization, purpose))

    def open(self, organization: str, purpose: str, sealed: bytes) -> bytes:
        """Open what was sealed for the same organisation and purpose.

        Raises:
            KeyUnavailable: it was sealed with another key, or altered, or moved.
        """
        head = sealed[: _head_bytes(sealed)]
        nonce = sealed[len(head) : len(head) + _NONCE_BYTES]
        ciphertext = sealed[len(head) + _NONCE_BYTES :]
        try:
            cipher = self._cipher(sealed_version(sealed), organization)
            packed = cipher.decrypt(nonce, ciphertext, _bound_to(head, organization, purpose))
        except (InvalidTag, ValueError):
            raise KeyUnavailable(
                "what a batch works on does not open with the key held here"
            ) from None
        return zlib.decompress(packed)

    def resealed(self, organization: str, purpose: str, sealed: bytes) -> bytes:
        """Seal the same data with the key of now.

        Raises:
            KeyUnavailable: it does not open here.
        """
        return self.seal(organization, purpose, self.open(organization, purpose, sealed))

    def hash(self, organization: str, purpose: str, data: bytes) -> bytes:
        """Return a keyed hash, 32 bytes, of something that is only compared.

        Its key is never rotated: hashes of years must stay comparable, as look-up hashes do.
        """
        mac = HMAC(self._derived(FIRST_VERSION, organization, "hash"), SHA256())
        mac.update(purpose.encode() + b"\n" + data)
        return mac.finalize()

    def _cipher(self, version: int, organization: str) -> AESGCM:
        known = self._ciphers.get((version, organization))
        if known is None:
            known = AESGCM(self._derived(version, organization, "seal"))
            self._ciphers[version, organization] = known
        return known

    def _derived(self, version: int, organization: str, use: str) -> bytes:
        root = self._keys.work_root(version, organization)
        if root is None:
            raise KeyUnavailable(f"no key of version {version} for batches is held here")
        info = f"deid-gateway batches v1 {use}".encode()
        return HKDFExpand(algorithm=SHA256(), length=_KEY_BYTES, info=info).derive(root)


def head_of(version: int) -> bytes:
    """Return what everything begins with that a version of the key sealed."""
    return _FORMAT + version.to_bytes(_VERSION_BYTES, "big")


def sealed_version(sealed: bytes) -> int:
    """Say which version of the key sealed something.

    Raises:
        ValueError: it is nothing that was sealed here.
    """
    if sealed[:1] == _FIRST_FORMAT:
        return FIRST_VERSION
    if sealed[:1] != _FORMAT:
        raise ValueError("not sealed here")
    return int.from_bytes(sealed[1 : 1 + _VERSION_BYTES], "big")


def _head_bytes(sealed: bytes) -> int:
    return 1 if sealed[:1] == _FIRST_FORMAT else 1 + _VERSION_BYTES


def _bound_to(head: bytes, organization: str, purpose: str) -> bytes:
    return head + f"{organization}\n{purpose}".encode()
