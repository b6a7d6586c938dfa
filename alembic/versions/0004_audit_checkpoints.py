"""Signed checkpoints of the audit, how far it was forwarded, and indexes to read it by.

Locks: the indexes keep `audit_events` from being written while they are built, about one second
for a million rows. The tables are new.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# The trigger on insertion keeps whoever may add checkpoints from sealing what is not there yet,
# which would keep true ones from being made.
GUARDS = """
CREATE FUNCTION refuse_audit_foresight() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM public.audit_heads WHERE chain = NEW.chain AND seq >= NEW.seq
    ) THEN
        RAISE EXCEPTION 'a checkpoint is of rows that are there'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER audit_checkpoints_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
    ON audit_checkpoints FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_checkpoints_look_back BEFORE INSERT ON audit_checkpoints
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_foresight();
"""


def upgrade() -> None:
    op.create_table(
        "audit_checkpoints",
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("octet_length(hash) = 32", name=op.f("audit_checkpoints_hash_check")),
        sa.CheckConstraint(
            "octet_length(signature) = 64", name=op.f("audit_checkpoints_signature_check")
        ),
        sa.PrimaryKeyConstraint("chain", "seq", name=op.f("audit_checkpoints_pkey")),
    )
    op.create_table(
        "audit_forwards",
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("in_doubt", sa.BigInteger(), nullable=True),
        sa.Column("forwarded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("receiver", "chain", name=op.f("audit_forwards_pkey")),
    )
    op.execute(GUARDS)
    op.create_index(
        "audit_events_time_idx", "audit_events", ["chain", "recorded_at", "seq"], unique=False
    )
    op.create_index(
        "audit_events_study_idx",
        "audit_events",
        ["chain", "cloud_study_id"],
        unique=False,
        postgresql_where=sa.text("cloud_study_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("audit_events_study_idx", table_name="audit_events")
    op.drop_index("audit_events_time_idx", table_name="audit_events")
    op.drop_table("audit_forwards")
    op.drop_table("audit_checkpoints")
    op.execute("DROP FUNCTION refuse_audit_foresight()")
