"""Sealing originals to a public key, and opening them with the private one. No I/O.

An envelope: HPKE (`sealing_kems`) seals a fresh data key to the re-identification service;
AES-256-GCM under the data key seals the rows. The sealing side cannot open what another process
sealed, and forgets its own data keys soon.
"""

import os
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.errors import KeyUnavailable
from app.vault.keys import GatewayKeys, ReidentifyKeys
from app.vault.sealing_kems import OpeningKey, SealingKey

DATA_KEY_LIFETIME_S: Final = 900.0
MAX_DATA_KEYS: Final = 512
MAX_ROWS_PER_DATA_KEY: Final = 1 << 20

_NONCE_BYTES: Final = 12
_TEXTS_V1: Final = b"\x01"
# Bytes that UTF-8 never uses; the padding hides how long an original is.
_SEPARATOR: Final = b"\xfe"
_PADDING: Final = b"\xff"
_PAD_TO: Final = 32
_DOES_NOT_OPEN: Final = "the stored mapping does not open with the key held here"


@dataclass(frozen=True, slots=True)
class SealedDataKey:
    """A data key as it is stored: only the holder of the private key can open it."""

    data_key_id: int
    organization: str
    key_version: int
    sealed: bytes = field(repr=False)


class DataKey:
    """A data key in use for one subject by one process."""

    __slots__ = ("_cipher", "expires_at", "rows_left", "stored")

    def __init__(self, stored: SealedDataKey, key: bytes, *, expires_at: float) -> None:
        self.stored = stored
        self.expires_at = expires_at
        self.rows_left = MAX_ROWS_PER_DATA_KEY
        self._cipher = AESGCM(key)

    def seal(self, table: str, pseudonym: str, texts: Sequence[str]) -> bytes:
        """Seal one row's originals, bound to organisation, table, pseudonym and data key."""
        self.rows_left -= 1
        nonce = os.urandom(_NONCE_BYTES)
        bound_to = _row_context(self.stored, table, pseudonym)
        return _TEXTS_V1 + nonce + self._cipher.encrypt(nonce, _pack(texts), bound_to)


class Sealer:
    """Seals with the public key only. Data keys are per process, organisation and subject.

    They are forgotten after `DATA_KEY_LIFETIME_S`, `MAX_ROWS_PER_DATA_KEY` rows or when more than
    `MAX_DATA_KEYS` subjects came since.

    Args:
        keys: the gateway's keys.
        clock: seconds that only grow.
    """

    def __init__(self, keys: GatewayKeys, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._in_use: OrderedDict[tuple[str, str], DataKey] = OrderedDict()
        self.renew(keys)

    def renew(self, keys: GatewayKeys) -> None:
        """Seal with other keys from now on; data keys in use are forgotten."""
        self._public_key = SealingKey(keys.sealing_public_key)
        self._key_version = keys.sealing_key_version
        self._in_use.clear()

    def forget(self, organization: str, subject: str) -> None:
        """Seal nothing more with the data key that is in use for a subject."""
        self._in_use.pop((organization, subject), None)

    def data_key(self, organization: str, subject: str) -> DataKey:
        """Return the data key to seal a subject's rows with; a fresh one where none is usable.

        Args:
            organization: id of the organisation.
            subject: the cloud patient id.
        """
        now = self._clock()
        known = self._in_use.get((organization, subject))
        if known is not None and known.expires_at > now and known.rows_left > 0:
            return known
        self._forget_expired(now)
        fresh = self._fresh(organization, expires_at=now + DATA_KEY_LIFETIME_S)
        self._in_use[organization, subject] = fresh
        self._in_use.move_to_end((organization, subject))
        return fresh

    def _forget_expired(self, now: float) -> None:
        while self._in_use:
            oldest = next(iter(self._in_use.values()))
            if oldest.expires_at > now and len(self._in_use) < MAX_DATA_KEYS:
                return
            self._in_use.popitem(last=False)

    def _fresh(self, organization: str, *, expires_at: float) -> DataKey:
        key = AESGCM.generate_key(256)
        data_key_id = secrets.randbits(63)
        context = _key_context(data_key_id, organization, self._key_version)
        sealed = self._public_key.seal(key, context)
        stored = SealedDataKey(data_key_id, organization, self._key_version, sealed)
        return DataKey(stored, key, expires_at=expires_at)


class Opener:
    """Opens what was sealed; only the re-identification service can have one."""

    def __init__(self, keys: ReidentifyKeys) -> None:
        self.renew(keys)

    def renew(self, keys: ReidentifyKeys) -> None:
        """Open with other private keys from now on."""
        self._private_keys: Mapping[int, OpeningKey] = {
            version: OpeningKey(key) for version, key in keys.sealing_private_keys.items()
        }

    def open(
        self, stored: SealedDataKey, sealed: bytes, *, table: str, pseudonym: str
    ) -> tuple[str, ...]:
        """Open one row's originals.

        Raises:
            KeyUnavailable: no private key of that version is held, or the row was not sealed for
                it, or row or data key were altered or moved.
        """
        key = self._data_key(stored)
        try:
            return _open_row(AESGCM(key), sealed, _row_context(stored, table, pseudonym))
        except (InvalidTag, ValueError):
            raise KeyUnavailable(_DOES_NOT_OPEN) from None

    def resealed(self, stored: SealedDataKey, version: int, to: SealingKey) -> SealedDataKey:
        """Seal the same data key to another public key; the rows under it stay as they are.

        Raises:
            KeyUnavailable: no private key that opens it is held.
        """
        context = _key_context(stored.data_key_id, stored.organization, version)
        sealed = to.seal(self._data_key(stored), context)
        return SealedDataKey(stored.data_key_id, stored.organization, version, sealed)

    def _data_key(self, stored: SealedDataKey) -> bytes:
        private_key = self._private_keys.get(stored.key_version)
        if private_key is None:
            raise KeyUnavailable(f"no private key of version {stored.key_version} is held here")
        context = _key_context(stored.data_key_id, stored.organization, stored.key_version)
        try:
            return private_key.open(stored.sealed, context)
        except (InvalidTag, ValueError):
            raise KeyUnavailable(_DOES_NOT_OPEN) from None


def _open_row(key: AESGCM, sealed: bytes, bound_to: bytes) -> tuple[str, ...]:
    if sealed[:1] != _TEXTS_V1:
        raise ValueError
    nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    return _unpack(key.decrypt(nonce, ciphertext, bound_to))


def _key_context(data_key_id: int, organization: str, key_version: int) -> bytes:
    return f"deid-gateway data key\n{organization}\n{data_key_id}\n{key_version}".encode()


def _row_context(stored: SealedDataKey, table: str, pseudonym: str) -> bytes:
    return f"{stored.organization}\n{table}\n{pseudonym}\n{stored.data_key_id}".encode()


def _pack(texts: Sequence[str]) -> bytes:
    packed = _SEPARATOR.join([text.encode("utf-8", "surrogatepass") for text in texts])
    return packed + _PADDING * (-len(packed) % _PAD_TO)


def _unpack(packed: bytes) -> tuple[str, ...]:
    texts = packed.rstrip(_PADDING).split(_SEPARATOR)
    return tuple([text.decode("utf-8", "surrogatepass") for text in texts])
