"""Batches that are tried again are opened page by page.

Locks: batches, for the moment of a change to the catalogue; no row is written.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batches", sa.Column("reopening", sa.Text(), nullable=True))
    op.add_column("batches", sa.Column("reopening_from", sa.Integer(), nullable=True))
    op.add_column("batches", sa.Column("reopening_until", sa.Integer(), nullable=True))


def downgrade() -> None:
    """A batch with pages left would never end: it fails, and may be tried again."""
    op.execute(
        "UPDATE batches SET state = 'failed', version = version + 1, finished_at = now(),"
        " task_worker = NULL, waiting_for = NULL, waiting_since = NULL, waiting_until = NULL,"
        " parked_behind = NULL, parked_at = NULL,"
        " code = CASE WHEN reopening = 'gone' THEN 'objects-gone' ELSE 'internal-error' END,"
        " callback_attempts = 0, callback_due_at = CASE WHEN has_callback THEN now() END"
        " WHERE state = 'processing' AND reopening IS NOT NULL"
    )
    for column in ("reopening_until", "reopening_from", "reopening"):
        op.drop_column("batches", column)
