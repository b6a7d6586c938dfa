"""Checkpoints: signed statements of how far a chain went and with which hash. Pure.

Whoever rewrites a chain from some row on cannot make the checkpoints that were signed before fit
again. Where they are kept is in `sealing` and `verifying`.
"""

import base64
import binascii
import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from app.errors import InvalidRequest

FORMAT: Final = "deid-gateway/audit-checkpoints"
VERSION: Final = 1
MAX_FILE_BYTES: Final = 64 << 20
# A signature of one kind must never pass for another.
_PREFIX: Final = b"deid-gateway audit checkpoint v1\n"
_MOMENT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


class Signer(Protocol):
    """What signs checkpoints; `app.vault.signing.Signer` is it."""

    key_id: str

    def sign(self, message: bytes) -> bytes:
        """Sign with Ed25519."""


class Keys(Protocol):
    """What signatures are checked with; `app.vault.signing.PublicKeys` is it."""

    def verify(self, key_id: str, message: bytes, signature: bytes) -> bool:
        """Say whether the trusted key of that id made the signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """That a chain had so many rows at a time, the last one with that hash.

    Attributes:
        chain: organisation, or empty for the gateway's own chain.
        seq: number of the row that was the last one.
        hash: of that row, 32 bytes.
        sealed_at: when it was signed, with its zone.
        key_id: thumbprint of the public key (RFC 7638).
        signature: Ed25519, 64 bytes.
    """

    chain: str
    seq: int
    hash: bytes
    sealed_at: dt.datetime
    key_id: str
    signature: bytes

    def is_signed_by(self, keys: Keys) -> bool:
        """Say whether a trusted key signed just this."""
        statement = _statement(self.chain, self.seq, self.hash, self.sealed_at)
        return keys.verify(self.key_id, statement, self.signature)


def seal(
    signer: Signer, *, chain: str, seq: int, row_hash: bytes, sealed_at: dt.datetime
) -> Checkpoint:
    """Sign how far a chain goes."""
    return Checkpoint(
        chain=chain,
        seq=seq,
        hash=row_hash,
        sealed_at=sealed_at,
        key_id=signer.key_id,
        signature=signer.sign(_statement(chain, seq, row_hash, sealed_at)),
    )


def written(checkpoints: Iterable[Checkpoint]) -> bytes:
    """Write checkpoints as a file: JSON, the same bytes for the same checkpoints."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "checkpoints": [
            _members(one) for one in sorted(checkpoints, key=lambda one: (one.chain, one.seq))
        ],
    }
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def read(text: bytes) -> list[Checkpoint]:
    """Read such a file.

    Raises:
        InvalidRequest: it is none, or not of this version.
    """
    found: list[Checkpoint] | None = None
    with suppress(KeyError, TypeError, ValueError, RecursionError):
        document = json.loads(text)
        if (document["format"], document["version"]) == (FORMAT, VERSION):
            found = [_checkpoint(members) for members in document["checkpoints"]]
    if found is None:
        raise InvalidRequest("This is not a file of audit checkpoints")
    return found


def signed_by_nobody_known(checkpoints: Sequence[Checkpoint], keys: Keys) -> int:
    """Count the checkpoints whose signature no trusted key made."""
    return sum(not one.is_signed_by(keys) for one in checkpoints)


def _statement(chain: str, seq: int, row_hash: bytes, sealed_at: dt.datetime) -> bytes:
    members = _what_is_signed(chain, seq, row_hash, sealed_at)
    return _PREFIX + json.dumps(members, sort_keys=True, separators=(",", ":")).encode()


def _what_is_signed(
    chain: str, seq: int, row_hash: bytes, sealed_at: dt.datetime
) -> dict[str, str | int]:
    moment = sealed_at.astimezone(dt.UTC)
    return {"chain": chain, "hash": row_hash.hex(), "sealed_at": f"{moment:{_MOMENT}}", "seq": seq}


def _members(one: Checkpoint) -> dict[str, str | int]:
    return {
        **_what_is_signed(one.chain, one.seq, one.hash, one.sealed_at),
        "key_id": one.key_id,
        "signature": base64.urlsafe_b64encode(one.signature).rstrip(b"=").decode(),
    }


def _checkpoint(members: Mapping[str, Any]) -> Checkpoint:
    chain, seq, key_id, text = (members[name] for name in ("chain", "seq", "key_id", "signature"))
    if not (isinstance(chain, str) and isinstance(key_id, str) and type(seq) is int and seq > 0):
        raise ValueError
    sealed_at = dt.datetime.strptime(members["sealed_at"], _MOMENT).replace(tzinfo=dt.UTC)
    row_hash = bytes.fromhex(members["hash"])
    try:
        signature = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError from None
    if len(row_hash) != 32 or len(signature) != 64:
        raise ValueError
    return Checkpoint(
        chain=chain,
        seq=seq,
        hash=row_hash,
        sealed_at=sealed_at,
        key_id=key_id,
        signature=signature,
    )
