"""The mapping: which original each pseudonym stands for, and whose originals were destroyed."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import UUID

from app.db.models.base import metadata, moment, organization_number, sealed

LOOKUP_BYTES: Final = 16
"""Look-up hashes are kept to their first 16 bytes: 122 bits of the pseudonym stand beside them."""


def _data_key(*, nullable: bool = False) -> Column[int]:
    """Name the data key; no foreign key: it would cost each row a look-up, and erasures scans."""
    return Column("data_key", BigInteger, nullable=nullable)


def _uid(name: str, *, primary_key: bool = False, nullable: bool = False) -> Column[object]:
    """A replacement UID ``2.25.n`` as the UUID that n is: 16 bytes instead of 45."""
    return Column(name, UUID(as_uuid=True), primary_key=primary_key, nullable=nullable)


def _lookup() -> Column[bytes]:
    return Column("lookup", LargeBinary, nullable=False)


data_keys: Final = Table(
    "data_keys",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    organization_number(),
    Column("key_version", SmallInteger, nullable=False),
    Column("cloud_patient_id", Text, nullable=False),
    sealed(),
    moment("created_at"),
    Index(None, "organization", "cloud_patient_id"),
    Index(None, "organization", "created_at"),
)

# Originals of subjects and studies are emptied where others still refer to the row.
subjects: Final = Table(
    "subjects",
    metadata,
    _data_key(nullable=True),
    moment("first_seen_at"),
    organization_number(primary_key=True),
    Column("cloud_patient_id", Text, primary_key=True),
    _lookup(),
    sealed(nullable=True),
)

studies: Final = Table(
    "studies",
    metadata,
    _data_key(nullable=True),
    moment("first_seen_at"),
    organization_number(primary_key=True),
    Column("cloud_study_id", Text, primary_key=True),
    _uid("uid", nullable=True),
    _lookup(),
    sealed(nullable=True),
    Index(None, "cloud_study_id"),
    Index(None, "uid"),
)

# A study may come under several identities: a corrected Patient ID, a later accession number.
study_identities: Final = Table(
    "study_identities",
    metadata,
    _data_key(),
    moment("first_seen_at"),
    organization_number(primary_key=True),
    Column("cloud_study_id", Text, primary_key=True),
    Column("lookup", LargeBinary, primary_key=True),
    Column("cloud_patient_id", Text, nullable=False),
    sealed(),
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
    moment("first_seen_at"),
    organization_number(primary_key=True),
    _uid("uid", primary_key=True),
    Column("cloud_study_id", Text, nullable=False),
    _lookup(),
    sealed(),
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
    moment("first_seen_at"),
    Column("organization", Integer, primary_key=True, nullable=False),
    _uid("uid", primary_key=True),
    _uid("series_uid", nullable=True),
    _lookup(),
    sealed(),
    # Rows come in the order of time: a few bytes per thousand of them.
    Index("instances_first_seen_at_idx", "first_seen_at", postgresql_using="brin"),
)

# Whose originals were destroyed: by request (erased_at) or by age (expired_at). The generation
# tells processes whether what they remember of a patient is out of date.
tombstones: Final = Table(
    "tombstones",
    metadata,
    organization_number(primary_key=True),
    Column("generation", Integer, nullable=False, server_default="1"),
    Column("erased_at", DateTime(timezone=True)),
    Column("expired_at", DateTime(timezone=True)),
    Column("cloud_patient_id", Text, primary_key=True),
)

# Processes may hold them in memory for a while; a trigger keeps them from coming back.
destroyed_data_keys: Final = Table(
    "destroyed_data_keys",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    moment("destroyed_at"),
)
