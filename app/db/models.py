"""Every table. Pseudonyms stand in clear, originals only sealed; rules are in the repositories.

No column and no unique constraint ever holds an original: Postgres quotes values in its errors.
Migrations are in ``alembic/``; what they add beside tables (triggers) is in their own text.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
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
    UniqueConstraint,
    func,
    text,
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


def _data_key(*, nullable: bool = False) -> Column[int]:
    """Name the data key; no foreign key: it would cost each row a look-up, and erasures scans."""
    return Column("data_key", BigInteger, nullable=nullable)


def _uid(name: str, *, primary_key: bool = False, nullable: bool = False) -> Column[object]:
    """A replacement UID ``2.25.n`` as the UUID that n is: 16 bytes instead of 45."""
    return Column(name, UUID(as_uuid=True), primary_key=primary_key, nullable=nullable)


def _lookup() -> Column[bytes]:
    return Column("lookup", LargeBinary, nullable=False)


def _sealed(*, nullable: bool = False) -> Column[bytes]:
    return Column("sealed", LargeBinary, nullable=nullable)


organizations: Final = Table(
    "organizations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("number", Integer, Identity(always=True), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    _moment("created_at"),
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
    _organization(primary_key=True),
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
    Index(None, "organization", "created_at"),
)

# Originals of subjects and studies are emptied where others still refer to the row.
subjects: Final = Table(
    "subjects",
    metadata,
    _data_key(nullable=True),
    _moment("first_seen_at"),
    _organization(primary_key=True),
    Column("cloud_patient_id", Text, primary_key=True),
    _lookup(),
    _sealed(nullable=True),
)

studies: Final = Table(
    "studies",
    metadata,
    _data_key(nullable=True),
    _moment("first_seen_at"),
    _organization(primary_key=True),
    Column("cloud_study_id", Text, primary_key=True),
    _uid("uid", nullable=True),
    _lookup(),
    _sealed(nullable=True),
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
    # Rows come in the order of time: a few bytes per thousand of them.
    Index("instances_first_seen_at_idx", "first_seen_at", postgresql_using="brin"),
)

# Whose originals were destroyed: by request (erased_at) or by age (expired_at). The generation
# tells processes whether what they remember of a patient is out of date.
tombstones: Final = Table(
    "tombstones",
    metadata,
    _organization(primary_key=True),
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
    _moment("destroyed_at"),
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

# What an organisation asks for before anybody learns whose study it is; no row is the default.
reidentify_safeguards: Final = Table(
    "reidentify_safeguards",
    metadata,
    _organization(primary_key=True),
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
    _organization(primary_key=True),
    Column("hour_used", Integer, nullable=False, server_default="0"),
    Column("day_used", Integer, nullable=False, server_default="0"),
    Column("refused", Integer, nullable=False, server_default="0"),
    _moment("hour_began_at"),
    _moment("day_began_at"),
    Column("caller", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
)

# Questions (pseudonyms alone) that wait for a second person, and what became of them.
reidentify_requests: Final = Table(
    "reidentify_requests",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    _organization(),
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
    _organization(),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("due_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("facts", JSONB, nullable=False),
    Index(None, "due_at"),
)

# The queue's own tables (procrastinate_*) are made by the migrations and known to their library.
batches: Final = Table(
    "batches",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    _organization(),
    Column("state", Text, nullable=False),
    Column("version", BigInteger, nullable=False, server_default="1"),
    Column("priority", SmallInteger, nullable=False),
    Column("on_error", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("profile_version", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("sealed_request", LargeBinary, nullable=False),
    Column("actor", Text, nullable=False),
    Column("api_key_id", Text),
    Column("request_id", Text),
    Column("home", UUID(as_uuid=True)),
    Column("idempotency_key", LargeBinary),
    Column("request_hash", LargeBinary, nullable=False),
    _moment("submitted_at"),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    # Who scans, finishes; nobody else may while that worker lives and the epoch is this one.
    Column("task_worker", UUID(as_uuid=True)),
    Column("task_epoch", Integer, nullable=False, server_default="0"),
    Column("is_scanned", Boolean, nullable=False, server_default="false"),
    Column("sealed_cursor", LargeBinary),
    Column("due_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("chunks", Integer, nullable=False, server_default="0"),
    Column("open_chunks", Integer, nullable=False, server_default="0"),
    Column("unpublished_chunks", Integer, nullable=False, server_default="0"),
    Column("total_files", BigInteger, nullable=False, server_default="0"),
    Column("total_bytes", BigInteger, nullable=False, server_default="0"),
    Column("succeeded_files", BigInteger, nullable=False, server_default="0"),
    Column("duplicate_files", BigInteger, nullable=False, server_default="0"),
    Column("ignored_files", BigInteger, nullable=False, server_default="0"),
    Column("refused_files", BigInteger, nullable=False, server_default="0"),
    Column("failed_files", BigInteger, nullable=False, server_default="0"),
    Column("published_files", BigInteger, nullable=False, server_default="0"),
    Column("bytes_in", BigInteger, nullable=False, server_default="0"),
    Column("bytes_out", BigInteger, nullable=False, server_default="0"),
    Column("revision", Integer, nullable=False, server_default="0"),
    Column("manifest_path", Text),
    Column("code", Text),
    Column("detail", Text),
    Column("has_callback", Boolean, nullable=False, server_default="false"),
    Column("callback_due_at", DateTime(timezone=True)),
    Column("callback_attempts", SmallInteger, nullable=False, server_default="0"),
    # What the batch waits for since its last progress, and when that is tried again.
    Column("waiting_for", Text),
    Column("waiting_since", DateTime(timezone=True)),
    Column("waiting_until", DateTime(timezone=True)),
    # The batch that it gave its place in the staging area to.
    Column("parked_behind", UUID(as_uuid=True)),
    Column("parked_at", DateTime(timezone=True)),
    # When it was last tried again, and how far it was then: speed is counted from there.
    Column("run_at", DateTime(timezone=True)),
    Column("run_files", BigInteger),
    Column("run_bytes", BigInteger),
    Column("run_published", BigInteger),
    # Files that people have to decide about; they are done again then.
    Column("in_review_files", BigInteger, nullable=False, server_default="0"),
    # What it is opened again for, and the chunks that wait for it: claimed by nobody until then.
    Column("reopening", Text),
    Column("reopening_from", Integer),
    Column("reopening_until", Integer),
    UniqueConstraint("organization", "idempotency_key"),
    Index(None, "organization", "submitted_at", "id"),
    Index(
        "batches_working_idx",
        "priority",
        postgresql_where=text("state IN ('queued', 'processing', 'publishing')"),
    ),
    # The oldest batch of each priority and organisation is found without looking at the others.
    Index(
        "batches_turn_idx",
        text("priority DESC"),
        "organization",
        "submitted_at",
        "id",
        postgresql_where=text("state = 'processing'"),
    ),
    Index("batches_deleted_idx", "id", postgresql_where=text("state = 'deleted'")),
    Index("batches_finished_idx", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
    Index(
        "batches_callback_idx",
        "callback_due_at",
        postgresql_where=text("callback_due_at IS NOT NULL"),
    ),
)


def _batch() -> Column[object]:
    reference = ForeignKey("batches.id", ondelete="CASCADE")
    return Column("batch", UUID(as_uuid=True), reference, primary_key=True, nullable=False)


batch_chunks: Final = Table(
    "batch_chunks",
    metadata,
    _batch(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("organization", Integer, nullable=False),
    Column("state", Text, nullable=False, server_default="pending"),
    Column("epoch", Integer, nullable=False, server_default="0"),
    Column("staged_epoch", Integer),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    # Part of a chunk that killed its workers: the next death splits it further.
    Column("is_suspect", Boolean, nullable=False, server_default="false"),
    Column("worker", UUID(as_uuid=True)),
    Column("staging", UUID(as_uuid=True)),
    Column("not_before", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("files", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sealed_files", LargeBinary),
    # How many of the attempts waited for a destination, and killed nobody.
    Column("waits", SmallInteger, nullable=False, server_default="0"),
    Index(
        "batch_chunks_waiting_idx", "batch", "number", postgresql_where=text("state = 'pending'")
    ),
    Index(
        "batch_chunks_staged_idx",
        "staging",
        "batch",
        "number",
        postgresql_where=text("state IN ('processed', 'publishing')"),
    ),
    Index(
        "batch_chunks_worked_on_idx",
        "worker",
        postgresql_where=text("state IN ('processing', 'publishing')"),
    ),
)

batch_items: Final = Table(
    "batch_items",
    metadata,
    _batch(),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("chunk", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("code", Text),
    Column("detail", Text),
    Column("element_path", Text),
    Column("warnings", ARRAY(Text)),
    Column("patient_id", Text),
    # Sorted by code point, as manifests are.
    Column("cloud_study_id", Text(collation="C")),
    Column("study_uid", Text),
    Column("series_uid", Text(collation="C")),
    Column("sop_instance_uid", Text(collation="C")),
    Column("sop_class_uid", Text),
    Column("modality", Text),
    Column("size", BigInteger, nullable=False, server_default="0"),
    Column("sha256", LargeBinary),
    Column("data_key", BigInteger, nullable=False),
    Column("sealed_name", LargeBinary, nullable=False),
    # Under which it is held for a review; no reference, because what is held goes before.
    Column("quarantine", UUID(as_uuid=True)),
    Index("batch_items_chunk_idx", "batch", "chunk"),
    Index(
        "batch_items_study_idx",
        "batch",
        "cloud_study_id",
        postgresql_where=text("state = 'succeeded'"),
    ),
    Index(
        "batch_items_instance_idx",
        "batch",
        "sop_instance_uid",
        unique=True,
        postgresql_where=text("state = 'succeeded'"),
    ),
    Index(
        "batch_items_problems_idx", "batch", "seq", postgresql_where=text("state <> 'succeeded'")
    ),
)

batch_problems: Final = Table(
    "batch_problems",
    metadata,
    _batch(),
    Column("code", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
)

batch_workers: Final = Table(
    "batch_workers",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("staging", UUID(as_uuid=True), nullable=False),
    _moment("started_at"),
    _moment("seen_at"),
    # Why it takes no work just now.
    Column("waiting_for", Text),
    Column("waiting_since", DateTime(timezone=True)),
)

# When each organisation had its last turn: among equals, whoever waited longest goes first.
batch_turns: Final = Table(
    "batch_turns",
    metadata,
    _organization(primary_key=True),
    _moment("taken_at"),
)

# What has to be tidied up; outlives its batch.
batch_leftovers: Final = Table(
    "batch_leftovers",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _organization(),
    Column("batch", UUID(as_uuid=True), nullable=False),
    Column("kind", Text, nullable=False),
    Column("staging", UUID(as_uuid=True)),
    Column("sealed_request", LargeBinary, nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Index(None, "due_at"),
)

# What waits for a person to look at its pixels. The object itself lies in a file, sealed under a
# key that `sealed` holds together with what identifies a site; both go with the decision.
quarantine: Final = Table(
    "quarantine",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    _organization(),
    Column("key_version", SmallInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    _moment("held_at"),
    Column("decided_at", DateTime(timezone=True)),
    Column("state", Text, nullable=False, server_default="held"),
    Column("source_kind", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("profile_version", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    _sealed(nullable=True),
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
    _organization(),
    _moment("proposed_at"),
    Column("decided_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("quarantine", UUID(as_uuid=True), nullable=False),
    Column("state", Text, nullable=False, server_default="proposed"),
    _sealed(),
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
