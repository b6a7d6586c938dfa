"""Sealing objects that are held, in chunks, to the review's public key. No I/O of its own.

HPKE seals a fresh key, together with what the header says of the image, to the review; AES-256-GCM
under that key seals the object, chunk by chunk. Whoever holds an object forgets the key and cannot
read it again. Chunks are bound to the object, its size, their place, and to being the last one:
they cannot be exchanged, left out or taken from another object.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.dicom.source import Source
from app.errors import HeldObjectDamaged, KeyUnavailable, Truncated
from app.pixels.model import Picture
from app.pixels.wire import picture_from_json, picture_to_json
from app.vault.keys import GatewayKeys
from app.vault.keys_review import ReviewKeys
from app.vault.sealing_kems import OpeningKey, SealingKey

CHUNK_BYTES: Final = 1 << 18
_MAGIC: Final = b"DGQ\x01"
_TAG_BYTES: Final = 16
_KEY_BYTES: Final = 32
_STEP: Final = CHUNK_BYTES + _TAG_BYTES


@dataclass(frozen=True, slots=True)
class Place:
    """Whose an object is, under which id, and how long."""

    organization: str
    object_id: UUID
    size: int

    @property
    def sealed_size(self) -> int:
        """Length of the sealed object in bytes."""
        return len(_MAGIC) + self.size + self.chunks * _TAG_BYTES

    @property
    def chunks(self) -> int:
        """Number of chunks; an empty object has one."""
        return max(1, -(-self.size // CHUNK_BYTES))

    def bound(self, use: str) -> bytes:
        """Return what is sealed with everything, so that nothing can be moved."""
        text = f"deid-gateway held {use} v1\n{self.organization}\n{self.object_id}\n{self.size}"
        return text.encode()


@dataclass(frozen=True, slots=True)
class SealedKey:
    """An object's key and its picture, as a row keeps them."""

    version: int
    sealed: bytes = field(repr=False)


class ObjectCipher:
    """Seals and opens the chunks of one object; its key is used for nothing else."""

    __slots__ = ("_bound", "_cipher", "place")

    def __init__(self, key: bytes, place: Place) -> None:
        self._cipher = AESGCM(key)
        self._bound = place.bound("object")
        self.place = place

    def sealed(self, source: Source) -> Iterator[bytes]:
        """Yield the sealed object piece by piece.

        Raises:
            Truncated: the source has fewer bytes than the place says.
        """
        yield _MAGIC
        for number in range(self.place.chunks):
            size = min(CHUNK_BYTES, self.place.size - number * CHUNK_BYTES)
            chunk = source.view(number * CHUNK_BYTES, size) if size else b""
            yield self._cipher.encrypt(self._nonce(number), bytes(chunk), self._bound)

    def chunk(self, number: int, sealed: bytes) -> bytes:
        """Open one chunk.

        Raises:
            HeldObjectDamaged: it is not the chunk of that number, or was altered.
        """
        try:
            return self._cipher.decrypt(self._nonce(number), sealed, self._bound)
        except (InvalidTag, ValueError):
            raise HeldObjectDamaged from None

    def _nonce(self, number: int) -> bytes:
        """Return the nonce: the number, and whether it is the last one."""
        return number.to_bytes(11, "big") + bytes([number == self.place.chunks - 1])


class HeldSource:
    """A held object that can be read at any place; only the chunks that are read are opened.

    Args:
        sealed: the file's bytes; open as long as this is read.
        cipher: opens the chunks.

    Raises:
        HeldObjectDamaged: it is no held object, or has another length.
    """

    __slots__ = ("_cipher", "_latest", "_sealed", "size")

    def __init__(self, sealed: Source, cipher: ObjectCipher) -> None:
        self._sealed = sealed
        self._cipher = cipher
        self._latest: tuple[int, bytes] = (-1, b"")
        self.size = cipher.place.size
        if sealed.size != cipher.place.sealed_size or sealed.read(0, len(_MAGIC)) != _MAGIC:
            raise HeldObjectDamaged

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes from ``offset``.

        Raises:
            Truncated: the object has fewer.
            HeldObjectDamaged: a chunk was altered.
        """
        if offset + size > self.size:
            raise Truncated
        parts = []
        while size:
            number, start = divmod(offset, CHUNK_BYTES)
            part = self._chunk(number)[start : start + size]
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return b"".join(parts)

    def view(self, offset: int, size: int) -> bytes | memoryview:
        """Return the same bytes."""
        return self.read(offset, size)

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill ``target`` with the bytes from ``offset``; errors as for ``read``."""
        target[:] = self.read(offset, len(target))

    def _chunk(self, number: int) -> bytes:
        if self._latest[0] != number:
            start = len(_MAGIC) + number * _STEP
            size = min(_STEP, self._sealed.size - start)
            opened = self._cipher.chunk(number, self._sealed.read(start, size))
            self._latest = (number, opened)
        return self._latest[1]


class HoldSealer:
    """Seals keys of objects with the review's public key only.

    Args:
        keys: the gateway's keys.

    Raises:
        KeyUnavailable: they name no review key.
    """

    def __init__(self, keys: GatewayKeys) -> None:
        self.renew(keys)

    def renew(self, keys: GatewayKeys) -> None:
        """Seal with other keys from now on.

        Raises:
            KeyUnavailable: they name no review key.
        """
        if keys.review_public_key is None:
            raise KeyUnavailable("the key file knows no review key; run 'keys init'")
        self._public_key = SealingKey(keys.review_public_key)
        self._version = keys.review_key_version

    def begin(self, place: Place, picture: Picture) -> tuple[ObjectCipher, SealedKey]:
        """Return what seals one object, and what opens it, for its row."""
        key = AESGCM.generate_key(256)
        facts = json.dumps(picture_to_json(picture), separators=(",", ":")).encode()
        context = _key_context(place, self._version)
        sealed = SealedKey(self._version, self._public_key.seal(key + facts, context))
        return ObjectCipher(key, place), sealed


class HoldOpener:
    """Opens what was held; only the review can have one."""

    def __init__(self, keys: ReviewKeys) -> None:
        self.renew(keys)

    def renew(self, keys: ReviewKeys) -> None:
        """Open with other private keys from now on."""
        self._private_keys: Mapping[int, OpeningKey] = {
            version: OpeningKey(key) for version, key in keys.private_keys.items()
        }

    def open(self, place: Place, sealed: SealedKey) -> tuple[ObjectCipher, Picture]:
        """Return what opens an object, and what its header says of the image.

        Raises:
            KeyUnavailable: no private key of that version is held here.
            HeldObjectDamaged: the row was altered or moved, or sealed to another key.
        """
        private_key = self._private_keys.get(sealed.version)
        if private_key is None:
            raise KeyUnavailable(f"no review key of version {sealed.version} is held here")
        try:
            opened = private_key.open(sealed.sealed, _key_context(place, sealed.version))
            content: dict[str, Any] = json.loads(opened[_KEY_BYTES:])
        except (InvalidTag, ValueError):
            raise HeldObjectDamaged from None
        return ObjectCipher(opened[:_KEY_BYTES], place), picture_from_json(content)


def _key_context(place: Place, version: int) -> bytes:
    return place.bound("key") + f"\n{version}".encode()
