"""Items of batches wait for a review of their pixels.

Locks: batches and batch_items, each for the moment of a change to the catalogue; no row is written.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "batches",
        sa.Column("in_review_files", sa.BigInteger(), server_default="0", nullable=False),
    )
    op.add_column("batch_items", sa.Column("quarantine", sa.UUID(), nullable=True))


def downgrade() -> None:
    """Batches in review would wait for ever: their items are failed, and may be tried again."""
    op.execute(
        "UPDATE batches SET failed_files = failed_files + in_review_files WHERE in_review_files > 0"
    )
    op.execute(
        "UPDATE batch_items SET state = 'failed' WHERE state <> 'succeeded' AND state = 'in_review'"
    )
    op.drop_column("batch_items", "quarantine")
    op.drop_column("batches", "in_review_files")
