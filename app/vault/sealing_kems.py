"""The two kinds of sealing keys: X25519, and ML-KEM-768 with X25519. No I/O.

The hybrid also stands against somebody who records sealed originals today and has a quantum
computer one day; the price is 1,088 bytes more per data key. Keys are told apart by their length.
Source: RFC 9180; FIPS 203.
"""

from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

_X25519_BYTES: Final = 32
_SEED_BYTES: Final = 64
_ML_KEM_PUBLIC_BYTES: Final = 1184
_X25519: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_HYBRID: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class Kem(StrEnum):
    """How data keys are sealed to the re-identification service."""

    X25519 = "x25519"
    HYBRID = "mlkem768-x25519"


class SealingKey:
    """A public key: seals data keys.

    Args:
        public_key: 32 bytes (X25519) or 1,216 bytes (hybrid).

    Raises:
        ValueError: it has another length.
    """

    __slots__ = ("_key", "_suite", "kem")

    def __init__(self, public_key: bytes) -> None:
        if len(public_key) == _X25519_BYTES:
            self.kem, self._suite = Kem.X25519, _X25519
            self._key: X25519PublicKey | MLKEM768X25519PublicKey = (
                X25519PublicKey.from_public_bytes(public_key)
            )
            return
        if len(public_key) != _ML_KEM_PUBLIC_BYTES + _X25519_BYTES:
            raise ValueError("a sealing key has 32 or 1,216 bytes")
        self.kem, self._suite = Kem.HYBRID, _HYBRID
        self._key = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(public_key[:_ML_KEM_PUBLIC_BYTES]),
            X25519PublicKey.from_public_bytes(public_key[_ML_KEM_PUBLIC_BYTES:]),
        )

    def seal(self, data: bytes, info: bytes) -> bytes:
        """Seal data, bound to its context."""
        return self._suite.encrypt(data, self._key, info=info)


class OpeningKey:
    """A private key: opens data keys.

    Args:
        private_key: 32 bytes (X25519) or 96 bytes (the hybrid's seed and X25519).

    Raises:
        ValueError: it has another length.
    """

    __slots__ = ("_key", "_suite", "kem", "public_bytes")

    def __init__(self, private_key: bytes) -> None:
        if len(private_key) not in (_X25519_BYTES, _SEED_BYTES + _X25519_BYTES):
            raise ValueError("a private key has 32 or 96 bytes")
        x25519 = X25519PrivateKey.from_private_bytes(private_key[-_X25519_BYTES:])
        self.public_bytes = x25519.public_key().public_bytes_raw()
        self.kem, self._suite = Kem.X25519, _X25519
        self._key: X25519PrivateKey | MLKEM768X25519PrivateKey = x25519
        if len(private_key) != _X25519_BYTES:
            ml_kem = MLKEM768PrivateKey.from_seed_bytes(private_key[:_SEED_BYTES])
            self.public_bytes = ml_kem.public_key().public_bytes_raw() + self.public_bytes
            self.kem, self._suite = Kem.HYBRID, _HYBRID
            self._key = MLKEM768X25519PrivateKey(ml_kem, x25519)

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """Open what was sealed to this key in the same context.

        Raises:
            InvalidTag, ValueError: it was not, or was altered.
        """
        return self._suite.decrypt(sealed, self._key, info=info)


def fresh_private_key(kem: Kem = Kem.X25519) -> bytes:
    """Make a private key."""
    x25519 = X25519PrivateKey.generate().private_bytes_raw()
    if kem is Kem.X25519:
        return x25519
    return MLKEM768PrivateKey.generate().private_bytes_raw() + x25519
