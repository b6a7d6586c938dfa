"""Batches, the workers and turns that they share, and what they leave to be tidied up.

The queue's own tables (procrastinate_*) are made by the migrations and known to their library.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from app.db.models.base import metadata, moment, organization_number

batches: Final = Table(
    "batches",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    organization_number(),
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
    moment("submitted_at"),
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

batch_workers: Final = Table(
    "batch_workers",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("staging", UUID(as_uuid=True), nullable=False),
    moment("started_at"),
    moment("seen_at"),
    # Why it takes no work just now.
    Column("waiting_for", Text),
    Column("waiting_since", DateTime(timezone=True)),
)

# When each organisation had its last turn: among equals, whoever waited longest goes first.
batch_turns: Final = Table(
    "batch_turns",
    metadata,
    organization_number(primary_key=True),
    moment("taken_at"),
)

# What has to be tidied up; outlives its batch.
batch_leftovers: Final = Table(
    "batch_leftovers",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    organization_number(),
    Column("batch", UUID(as_uuid=True), nullable=False),
    Column("kind", Text, nullable=False),
    Column("staging", UUID(as_uuid=True)),
    Column("sealed_request", LargeBinary, nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Index(None, "due_at"),
)
