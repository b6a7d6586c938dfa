"""The way back: what organisations ask for, quotas, approvals and emergencies."""

from typing import Final

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from app.db.models.base import metadata, moment, organization_number

# What an organisation asks for before anybody learns whose study it is; no row is the default.
reidentify_safeguards: Final = Table(
    "reidentify_safeguards",
    metadata,
    organization_number(primary_key=True),
    Column("per_hour", Integer),
    Column("per_day", Integer),
    Column("needs_approval", Boolean, nullable=False, server_default="false"),
    Column("allows_break_glass", Boolean, nullable=False, server_default="true"),
    CheckConstraint("per_hour >= 0", name="per_hour"),
    CheckConstraint("per_day >= 0", name="per_day"),
)

# How much of its quota each caller has used, in windows that begin with the first look.
reidentify_quotas: Final = Table(
    "reidentify_quotas",
    metadata,
    organization_number(primary_key=True),
    Column("hour_used", Integer, nullable=False, server_default="0"),
    Column("day_used", Integer, nullable=False, server_default="0"),
    Column("refused", Integer, nullable=False, server_default="0"),
    moment("hour_began_at"),
    moment("day_began_at"),
    Column("caller", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
)

# Questions (pseudonyms alone) that wait for a second person, and what became of them.
reidentify_requests: Final = Table(
    "reidentify_requests",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    organization_number(),
    Column("caller", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("questions", JSONB, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("reason", Text),
    Column("reference", Text, nullable=False),
    Column("requested_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("decision", Text),
    Column("decider", Text),
    Column("decided_by", Text),
    Column("decided_at", DateTime(timezone=True)),
    Column("valid_until", DateTime(timezone=True)),
    Column("used_at", DateTime(timezone=True)),
    CheckConstraint("decision IN ('approved', 'denied')", name="decision"),
    # The gateway says so with an error of its own; this is the wall behind it.
    CheckConstraint(
        "decision IS NULL OR decision <> 'approved'"
        " OR (decider <> caller AND lower(decided_by) <> lower(actor))",
        name="four_eyes",
    ),
    CheckConstraint("used_at IS NULL OR decision = 'approved'", name="used"),
    Index(None, "organization", "requested_at", "id"),
)

# Emergencies that somebody has yet to be told of.
reidentify_notices: Final = Table(
    "reidentify_notices",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    organization_number(),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("due_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("facts", JSONB, nullable=False),
    Index(None, "due_at"),
)
