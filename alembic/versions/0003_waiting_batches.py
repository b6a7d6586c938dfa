"""Batches say what they wait for, give their place away, and measure their speed since a retry.

Locks: batches, batch_chunks and batch_workers, each for the moment of a change to the catalogue; no
row is written.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batches", sa.Column("waiting_for", sa.Text(), nullable=True))
    op.add_column("batches", sa.Column("waiting_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("batches", sa.Column("waiting_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("batches", sa.Column("parked_behind", sa.UUID(), nullable=True))
    op.add_column("batches", sa.Column("parked_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("batches", sa.Column("run_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("batches", sa.Column("run_files", sa.BigInteger(), nullable=True))
    op.add_column("batches", sa.Column("run_bytes", sa.BigInteger(), nullable=True))
    op.add_column("batches", sa.Column("run_published", sa.BigInteger(), nullable=True))
    op.add_column(
        "batch_chunks", sa.Column("waits", sa.SmallInteger(), server_default="0", nullable=False)
    )
    op.add_column("batch_workers", sa.Column("waiting_for", sa.Text(), nullable=True))
    op.add_column(
        "batch_workers", sa.Column("waiting_since", sa.DateTime(timezone=True), nullable=True)
    )


def downgrade() -> None:
    op.drop_column("batch_workers", "waiting_since")
    op.drop_column("batch_workers", "waiting_for")
    op.drop_column("batch_chunks", "waits")
    for column in (
        "run_published",
        "run_bytes",
        "run_files",
        "run_at",
        "parked_at",
        "parked_behind",
        "waiting_until",
        "waiting_since",
        "waiting_for",
    ):
        op.drop_column("batches", column)
