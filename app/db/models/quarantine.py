"""What is held for review, and the mask rules that came of it."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from app.db.models.base import metadata, moment, organization_number, sealed

# What waits for a person to look at its pixels. The object itself lies in a file, sealed under a
# key that `sealed` holds together with what identifies a site; both go with the decision.
quarantine: Final = Table(
    "quarantine",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    organization_number(),
    Column("key_version", SmallInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    moment("held_at"),
    Column("decided_at", DateTime(timezone=True)),
    Column("state", Text, nullable=False, server_default="held"),
    Column("source_kind", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("profile_version", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    sealed(nullable=True),
    Column("shape", JSONB, nullable=False),
    Column("decision", JSONB, nullable=False),
    Column("ruling", JSONB),
    Column("sender", Text, nullable=False),
    Column("sent_by", Text, nullable=False),
    Column("request_id", Text),
    Column("cloud_study_id", Text),
    Column("cloud_patient_id", Text),
    Column("decider", Text),
    Column("decided_by", Text),
    CheckConstraint("state IN ('held', 'released', 'masked', 'rejected', 'expired')", name="state"),
    CheckConstraint("(state = 'held') = (decided_at IS NULL)", name="decided"),
    CheckConstraint("(state = 'held') = (sealed IS NOT NULL)", name="sealed"),
    CheckConstraint("(state = 'masked') = (ruling IS NOT NULL)", name="ruling"),
    CheckConstraint(
        "state NOT IN ('released', 'masked')"
        " OR (decider <> sender AND lower(decided_by) <> lower(sent_by))",
        name="four_eyes",
    ),
    # The same bytes are held once, and decided about once.
    Index(
        "quarantine_bytes_idx",
        "organization",
        "digest",
        "profile",
        unique=True,
        postgresql_where=text("state <> 'expired'"),
    ),
    Index(None, "organization", "held_at", "id"),
    Index(
        "quarantine_held_idx",
        "organization",
        "held_at",
        "id",
        postgresql_where=text("state = 'held'"),
    ),
    Index(None, "organization", "cloud_patient_id"),
)

# Mask rules that reviewers remembered. Signatures of devices may tell a site: they are sealed.
mask_rules: Final = Table(
    "mask_rules",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    organization_number(),
    moment("proposed_at"),
    Column("decided_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("quarantine", UUID(as_uuid=True), nullable=False),
    Column("state", Text, nullable=False, server_default="proposed"),
    sealed(),
    Column("proposer", Text, nullable=False),
    Column("proposed_by", Text, nullable=False),
    Column("decider", Text),
    Column("decided_by", Text),
    Column("revoked_by", Text),
    CheckConstraint("state IN ('proposed', 'approved', 'denied', 'revoked')", name="state"),
    CheckConstraint(
        "state NOT IN ('approved', 'revoked')"
        " OR (decider <> proposer AND lower(decided_by) <> lower(proposed_by))",
        name="four_eyes",
    ),
    Index(None, "organization", "proposed_at", "id"),
)
