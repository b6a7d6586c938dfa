"""How audit rows are chained: facts → canonical JSON → SHA-256 over the previous hash. Pure.

Nobody who alters, removes or reorders rows can keep the chain intact without rewriting every
later row and the head. Where rows come from and go to is in `repository`.
"""

import datetime as dt
import json
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from app.audit.events import AuditEvent

GENESIS: Final = bytes(32)
"""What the first row of a chain follows."""

OWN_CHAIN: Final = ""
"""The chain of events that belong to no organisation."""

_FORMAT: Final = 1
_MAX_EXACT: Final = 1 << 53
_TEXTS: Final = (
    "chain",
    "action",
    "outcome",
    "actor",
    "api_key_id",
    "profile",
    "profile_version",
    "cloud_study_id",
    "sop_instance_uid",
    "purpose",
    "request_id",
)
_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
)

Facts = Mapping[str, object]


def chain_of(event: "AuditEvent") -> str:
    """Return the chain that an event joins."""
    return _storable(event.organization or OWN_CHAIN)


def facts_of(event: "AuditEvent", *, seq: int, recorded_at: dt.datetime) -> Facts:
    """Lay out what a row says; what Postgres cannot store is replaced before it is hashed.

    Args:
        event: the event.
        seq: its place in the chain, from 1 without gaps.
        recorded_at: when, with its zone.
    """
    row = {name: getattr(event, name) for name in _TEXTS[1:]}
    row["chain"] = event.organization or OWN_CHAIN
    row["detail"] = dict(event.detail)
    return facts_of_row(row, seq=seq, recorded_at=recorded_at)


def facts_of_row(row: Mapping[str, object], *, seq: int, recorded_at: dt.datetime) -> Facts:
    """Lay out the same facts from a row's columns; absent ones are left out."""
    facts: dict[str, object] = {"v": _FORMAT, "seq": seq, "recorded_at": _moment(recorded_at)}
    for name in _TEXTS:
        value = row[name]
        if value is not None:
            facts[name] = _storable(str(value))
    detail = row["detail"]
    if isinstance(detail, Mapping) and detail:
        facts["detail"] = {_storable(str(name)): _plain(fact) for name, fact in detail.items()}
    return facts


def canonical(facts: Facts) -> str:
    """Write facts as canonical JSON.

    Source: RFC 8785 for objects of texts and whole numbers up to 2^53 whose member names stay
    within the Basic Multilingual Plane below the surrogates.
    """
    return _ENCODER.encode(facts)


def link(previous: bytes, text: str) -> bytes:
    """Hash a row's canonical text onto the hash of the row before, 32 bytes."""
    return sha256(previous + text.encode()).digest()


def _moment(recorded_at: dt.datetime) -> str:
    return f"{recorded_at.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def _plain(fact: object) -> str | int:
    if isinstance(fact, int) and abs(fact) <= _MAX_EXACT:
        return fact
    return _storable(str(fact))


def _storable(text: str) -> str:
    """Replace lone surrogates and NUL, which JSON or Postgres cannot hold."""
    if text.isascii():
        return text.replace("\0", "\ufffd")
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
