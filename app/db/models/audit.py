"""The audit: its chains, their checkpoints, and how far receivers have them."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.db.models.base import metadata

audit_events: Final = Table(
    "audit_events",
    metadata,
    Column("seq", BigInteger, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    Column("chain", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("api_key_id", Text),
    Column("profile", Text),
    Column("profile_version", Text),
    Column("cloud_study_id", Text),
    Column("sop_instance_uid", Text),
    Column("purpose", Text),
    Column("request_id", Text),
    Column("detail", JSONB),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("chain", "seq"),
    CheckConstraint("octet_length(hash) = 32", name="hash"),
    Index("audit_events_time_idx", "chain", "recorded_at", "seq"),
    Index(
        "audit_events_study_idx",
        "chain",
        "cloud_study_id",
        postgresql_where=text("cloud_study_id IS NOT NULL"),
    ),
)

audit_heads: Final = Table(
    "audit_heads",
    metadata,
    Column("seq", BigInteger, nullable=False),
    Column("chain", Text, primary_key=True),
    Column("hash", LargeBinary, nullable=False),
    CheckConstraint("octet_length(hash) = 32", name="hash"),
)

audit_checkpoints: Final = Table(
    "audit_checkpoints",
    metadata,
    Column("seq", BigInteger, nullable=False),
    Column("sealed_at", DateTime(timezone=True), nullable=False),
    Column("chain", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    PrimaryKeyConstraint("chain", "seq"),
    CheckConstraint("octet_length(hash) = 32", name="hash"),
    CheckConstraint("octet_length(signature) = 64", name="signature"),
)

# How far each receiver has each chain; up to `in_doubt` it may have more than `seq`.
audit_forwards: Final = Table(
    "audit_forwards",
    metadata,
    Column("seq", BigInteger, nullable=False),
    Column("in_doubt", BigInteger),
    Column("forwarded_at", DateTime(timezone=True)),
    Column("receiver", Text, nullable=False),
    Column("chain", Text, nullable=False),
    PrimaryKeyConstraint("receiver", "chain"),
)
