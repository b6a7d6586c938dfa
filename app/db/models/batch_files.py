"""The files of a batch: its chunks, its items, and how many problems of which kind."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from app.db.models.base import metadata


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
