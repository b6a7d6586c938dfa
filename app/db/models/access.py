"""Organisations, what they use, and API keys."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from app.db.models.base import metadata, moment, organization_number

organizations: Final = Table(
    "organizations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("number", Integer, Identity(always=True), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    moment("created_at"),
    Column("profile", Text, nullable=False, server_default="basic"),
    Column("profiles", ARRAY(Text), nullable=False, server_default=text("'{*}'")),
    Column("objects_per_day", BigInteger),
    Column("open_batches", Integer),
    Column("retention_days", Integer),
    Column("after_erasure", Text, nullable=False, server_default="refuse"),
    CheckConstraint("id ~ '^[A-Za-z0-9_-]{1,24}$'", name="id"),
    CheckConstraint("retention_days > 0", name="retention_days"),
    CheckConstraint("after_erasure IN ('refuse', 'recreate')", name="after_erasure"),
)

# Empty for ever: whoever may read it crosses organisations by nature, while it names none.
every_organization: Final = Table("every_organization", metadata, Column("nobody", Boolean))

# Single instances by day, added up by every process now and then.
organization_usage: Final = Table(
    "organization_usage",
    metadata,
    Column("objects", BigInteger, nullable=False),
    Column("day", Date, primary_key=True),
    organization_number(primary_key=True),
)

api_keys: Final = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organization", Text, ForeignKey("organizations.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("profile", Text, nullable=False),
    Column("profiles", ARRAY(Text), nullable=False),
    Column("organizations", ARRAY(Text), nullable=False),
    moment("created_at"),
    Column("revoked_at", DateTime(timezone=True)),
    CheckConstraint("octet_length(secret_hash) = 32", name="secret_hash"),
)
