"""Every table. Pseudonyms stand in clear, originals only sealed; rules are in the repositories.

No column and no unique constraint ever holds an original: Postgres quotes values in its errors.
Migrations are in ``alembic/``; what they add beside tables (triggers) is in their own text.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

LOOKUP_BYTES: Final = 16
"""Look-up hashes are kept to their first 16 bytes: 122 bits of the pseudonym stand beside them."""

metadata: Final = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)


def _moment(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def _organization(*, primary_key: bool = False) -> Column[int]:
    reference = ForeignKey("organizations.number")
    return Column("organization", Integer, reference, primary_key=primary_key, nullable=False)


def _data_key() -> Column[int]:
    return Column("data_key", BigInteger, ForeignKey("data_keys.id"), nullable=False)


def _uid(name: str, *, primary_key: bool = False, nullable: bool = False) -> Column[object]:
    """A replacement UID ``2.25.n`` as the UUID that n is: 16 bytes instead of 45."""
    return Column(name, UUID(as_uuid=True), primary_key=primary_key, nullable=nullable)


def _lookup() -> Column[bytes]:
    return Column("lookup", LargeBinary, nullable=False)


def _sealed() -> Column[bytes]:
    return Column("sealed", LargeBinary, nullable=False)


organizations: Final = Table(
    "organizations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("number", Integer, Identity(always=True), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    _moment("created_at"),
    CheckConstraint("id ~ '^[A-Za-z0-9_-]{1,24}$'", name="id"),
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
    _moment("created_at"),
    Column("revoked_at", DateTime(timezone=True)),
    CheckConstraint("octet_length(secret_hash) = 32", name="secret_hash"),
)

data_keys: Final = Table(
    "data_keys",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    _organization(),
    Column("key_version", SmallInteger, nullable=False),
    Column("cloud_patient_id", Text, nullable=False),
    _sealed(),
    _moment("created_at"),
    Index(None, "organization", "cloud_patient_id"),
)

subjects: Final = Table(
    "subjects",
    metadata,
    _data_key(),
    _moment("first_seen_at"),
    _organization(primary_key=True),
    Column("cloud_patient_id", Text, primary_key=True),
    _lookup(),
    _sealed(),
)

studies: Final = Table(
    "studies",
    metadata,
    _data_key(),
    _moment("first_seen_at"),
    _organization(primary_key=True),
    Column("cloud_study_id", Text, primary_key=True),
    _uid("uid", nullable=True),
    _lookup(),
    _sealed(),
    Index(None, "cloud_study_id"),
    Index(None, "uid"),
)

# A study may come under several identities: a corrected Patient ID, a later accession number.
study_identities: Final = Table(
    "study_identities",
    metadata,
    _data_key(),
    _moment("first_seen_at"),
    _organization(primary_key=True),
    Column("cloud_study_id", Text, primary_key=True),
    Column("lookup", LargeBinary, primary_key=True),
    Column("cloud_patient_id", Text, nullable=False),
    _sealed(),
    ForeignKeyConstraint(
        ["organization", "cloud_study_id"], ["studies.organization", "studies.cloud_study_id"]
    ),
    ForeignKeyConstraint(
        ["organization", "cloud_patient_id"],
        ["subjects.organization", "subjects.cloud_patient_id"],
    ),
    Index(None, "organization", "cloud_patient_id"),
)

series: Final = Table(
    "series",
    metadata,
    _data_key(),
    _moment("first_seen_at"),
    _organization(primary_key=True),
    _uid("uid", primary_key=True),
    Column("cloud_study_id", Text, nullable=False),
    _lookup(),
    _sealed(),
    ForeignKeyConstraint(
        ["organization", "cloud_study_id"], ["studies.organization", "studies.cloud_study_id"]
    ),
    Index(None, "organization", "cloud_study_id"),
)

# Millions of rows: no foreign keys (they cost a look-up and a lock per row), no second index.
instances: Final = Table(
    "instances",
    metadata,
    Column("data_key", BigInteger, nullable=False),
    _moment("first_seen_at"),
    Column("organization", Integer, primary_key=True, nullable=False),
    _uid("uid", primary_key=True),
    _uid("series_uid", nullable=True),
    _lookup(),
    _sealed(),
)

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
)

audit_heads: Final = Table(
    "audit_heads",
    metadata,
    Column("seq", BigInteger, nullable=False),
    Column("chain", Text, primary_key=True),
    Column("hash", LargeBinary, nullable=False),
    CheckConstraint("octet_length(hash) = 32", name="hash"),
)
