"""Batches: their chunks, items, workers and leftovers, and the tables of the job queue.

Locks: nothing that exists; every table is new.
"""

import sqlalchemy as sa
from alembic import op
from procrastinate.schema import SchemaManager
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Everything of the queue's library begins with its name.
DROP_QUEUE = """
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN SELECT relname FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
        AND relname LIKE 'procrastinate\\_%'
    LOOP
        EXECUTE format('DROP TABLE %I CASCADE', found.relname);
    END LOOP;
    FOR found IN SELECT oid::regprocedure AS name FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'procrastinate\\_%'
    LOOP
        EXECUTE format('DROP FUNCTION %s CASCADE', found.name);
    END LOOP;
    FOR found IN SELECT typname FROM pg_type
        WHERE typnamespace = 'public'::regnamespace AND typname LIKE 'procrastinate\\_%'
        AND typtype IN ('c', 'e')
    LOOP
        EXECUTE format('DROP TYPE %I CASCADE', found.typname);
    END LOOP;
END $$;
"""


def upgrade() -> None:
    op.create_table(
        "batch_workers",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("staging", sa.UUID(), nullable=False),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("batch_workers_pkey")),
    )
    op.create_table(
        "batch_leftovers",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("organization", sa.Integer(), nullable=False),
        sa.Column("batch", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("staging", sa.UUID(), nullable=True),
        sa.Column("sealed_request", sa.LargeBinary(), nullable=False),
        sa.Column(
            "due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["organization"],
            ["organizations.number"],
            name=op.f("batch_leftovers_organization_fkey"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("batch_leftovers_pkey")),
    )
    op.create_index(op.f("batch_leftovers_due_at_idx"), "batch_leftovers", ["due_at"], unique=False)
    op.create_table(
        "batch_turns",
        sa.Column("organization", sa.Integer(), nullable=False),
        sa.Column(
            "taken_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["organization"], ["organizations.number"], name=op.f("batch_turns_organization_fkey")
        ),
        sa.PrimaryKeyConstraint("organization", name=op.f("batch_turns_pkey")),
    )
    op.create_table(
        "batches",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("organization", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("on_error", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("profile_version", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("sealed_request", sa.LargeBinary(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("api_key_id", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("home", sa.UUID(), nullable=True),
        sa.Column("idempotency_key", sa.LargeBinary(), nullable=True),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column(
            "submitted_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("task_worker", sa.UUID(), nullable=True),
        sa.Column("task_epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("is_scanned", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("sealed_cursor", sa.LargeBinary(), nullable=True),
        sa.Column(
            "due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("chunks", sa.Integer(), server_default="0", nullable=False),
        sa.Column("open_chunks", sa.Integer(), server_default="0", nullable=False),
        sa.Column("unpublished_chunks", sa.Integer(), server_default="0", nullable=False),
        sa.Column("total_files", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("succeeded_files", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("duplicate_files", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ignored_files", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("refused_files", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("failed_files", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("published_files", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bytes_in", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bytes_out", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("manifest_path", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("has_callback", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("callback_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("callback_attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["organization"], ["organizations.number"], name=op.f("batches_organization_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("batches_pkey")),
        sa.UniqueConstraint(
            "organization", "idempotency_key", name=op.f("batches_organization_idempotency_key_key")
        ),
    )
    op.create_index(
        "batches_callback_idx",
        "batches",
        ["callback_due_at"],
        unique=False,
        postgresql_where=sa.text("callback_due_at IS NOT NULL"),
    )
    op.create_index(
        "batches_turn_idx",
        "batches",
        [sa.text("priority DESC"), "organization", "submitted_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'processing'"),
    )
    op.create_index(
        "batches_deleted_idx",
        "batches",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'deleted'"),
    )
    op.create_index(
        "batches_finished_idx",
        "batches",
        ["finished_at"],
        unique=False,
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        op.f("batches_organization_submitted_at_id_idx"),
        "batches",
        ["organization", "submitted_at", "id"],
        unique=False,
    )
    op.create_index(
        "batches_working_idx",
        "batches",
        ["priority"],
        unique=False,
        postgresql_where=sa.text("state IN ('queued', 'processing', 'publishing')"),
    )
    op.create_table(
        "batch_chunks",
        sa.Column("batch", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("organization", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("staged_epoch", sa.Integer(), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("is_suspect", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("worker", sa.UUID(), nullable=True),
        sa.Column("staging", sa.UUID(), nullable=True),
        sa.Column(
            "not_before",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sealed_files", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["batch"], ["batches.id"], name=op.f("batch_chunks_batch_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("batch", "number", name=op.f("batch_chunks_pkey")),
    )
    op.create_index(
        "batch_chunks_staged_idx",
        "batch_chunks",
        ["staging", "batch", "number"],
        unique=False,
        postgresql_where=sa.text("state IN ('processed', 'publishing')"),
    )
    op.create_index(
        "batch_chunks_waiting_idx",
        "batch_chunks",
        ["batch", "number"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "batch_chunks_worked_on_idx",
        "batch_chunks",
        ["worker"],
        unique=False,
        postgresql_where=sa.text("state IN ('processing', 'publishing')"),
    )
    op.create_table(
        "batch_items",
        sa.Column("batch", sa.UUID(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("element_path", sa.Text(), nullable=True),
        sa.Column("warnings", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("patient_id", sa.Text(), nullable=True),
        sa.Column("cloud_study_id", sa.Text(collation="C"), nullable=True),
        sa.Column("study_uid", sa.Text(), nullable=True),
        sa.Column("series_uid", sa.Text(collation="C"), nullable=True),
        sa.Column("sop_instance_uid", sa.Text(collation="C"), nullable=True),
        sa.Column("sop_class_uid", sa.Text(), nullable=True),
        sa.Column("modality", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=True),
        sa.Column("data_key", sa.BigInteger(), nullable=False),
        sa.Column("sealed_name", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch"], ["batches.id"], name=op.f("batch_items_batch_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("batch", "seq", name=op.f("batch_items_pkey")),
    )
    op.create_index("batch_items_chunk_idx", "batch_items", ["batch", "chunk"], unique=False)
    op.create_index(
        "batch_items_study_idx",
        "batch_items",
        ["batch", "cloud_study_id"],
        unique=False,
        postgresql_where=sa.text("state = 'succeeded'"),
    )
    op.create_index(
        "batch_items_instance_idx",
        "batch_items",
        ["batch", "sop_instance_uid"],
        unique=True,
        postgresql_where=sa.text("state = 'succeeded'"),
    )
    op.create_index(
        "batch_items_problems_idx",
        "batch_items",
        ["batch", "seq"],
        unique=False,
        postgresql_where=sa.text("state <> 'succeeded'"),
    )
    op.create_table(
        "batch_problems",
        sa.Column("batch", sa.UUID(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch"], ["batches.id"], name=op.f("batch_problems_batch_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("batch", "code", name=op.f("batch_problems_pkey")),
    )

    # The schema of the queue as its pinned release has it; a newer release brings a migration.
    _run(SchemaManager.get_schema())


def downgrade() -> None:
    _run(DROP_QUEUE)
    for table in (
        "batch_problems",
        "batch_items",
        "batch_chunks",
        "batches",
        "batch_leftovers",
        "batch_turns",
        "batch_workers",
    ):
        op.drop_table(table)


def _run(script: str) -> None:
    """Run several statements as they are, without looking for parameters in them."""
    cursor = op.get_bind().connection.cursor()
    cursor.execute(script)
    cursor.close()
