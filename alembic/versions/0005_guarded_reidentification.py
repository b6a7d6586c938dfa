"""Safeguards of re-identification: per organisation, per caller, approvals, notices.

Locks: nothing that exists but for a moment (references to `organizations`); every table is new.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reidentify_safeguards",
        sa.Column("organization", sa.Integer(), nullable=False),
        sa.Column("per_hour", sa.Integer(), nullable=True),
        sa.Column("per_day", sa.Integer(), nullable=True),
        sa.Column("needs_approval", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("allows_break_glass", sa.Boolean(), server_default="true", nullable=False),
        sa.CheckConstraint("per_hour >= 0", name=op.f("reidentify_safeguards_per_hour_check")),
        sa.CheckConstraint("per_day >= 0", name=op.f("reidentify_safeguards_per_day_check")),
        sa.ForeignKeyConstraint(
            ["organization"],
            ["organizations.number"],
            name=op.f("reidentify_safeguards_organization_fkey"),
        ),
        sa.PrimaryKeyConstraint("organization", name=op.f("reidentify_safeguards_pkey")),
    )
    op.create_table(
        "reidentify_quotas",
        sa.Column("organization", sa.Integer(), nullable=False),
        sa.Column("hour_used", sa.Integer(), server_default="0", nullable=False),
        sa.Column("day_used", sa.Integer(), server_default="0", nullable=False),
        sa.Column("refused", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "hour_began_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "day_began_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization"],
            ["organizations.number"],
            name=op.f("reidentify_quotas_organization_fkey"),
        ),
        sa.PrimaryKeyConstraint(
            "organization", "caller", "kind", name=op.f("reidentify_quotas_pkey")
        ),
    )
    op.create_table(
        "reidentify_requests",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("organization", sa.Integer(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("questions", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("decider", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "decision IN ('approved', 'denied')", name=op.f("reidentify_requests_decision_check")
        ),
        sa.CheckConstraint(
            "decision IS NULL OR decision <> 'approved'"
            " OR (decider <> caller AND lower(decided_by) <> lower(actor))",
            name=op.f("reidentify_requests_four_eyes_check"),
        ),
        sa.CheckConstraint(
            "used_at IS NULL OR decision = 'approved'",
            name=op.f("reidentify_requests_used_check"),
        ),
        sa.ForeignKeyConstraint(
            ["organization"],
            ["organizations.number"],
            name=op.f("reidentify_requests_organization_fkey"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("reidentify_requests_pkey")),
    )
    op.create_index(
        op.f("reidentify_requests_organization_requested_at_id_idx"),
        "reidentify_requests",
        ["organization", "requested_at", "id"],
        unique=False,
    )
    op.create_table(
        "reidentify_notices",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("organization", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column(
            "due_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization"],
            ["organizations.number"],
            name=op.f("reidentify_notices_organization_fkey"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("reidentify_notices_pkey")),
    )
    op.create_index(
        op.f("reidentify_notices_due_at_idx"), "reidentify_notices", ["due_at"], unique=False
    )


def downgrade() -> None:
    op.drop_table("reidentify_notices")
    op.drop_table("reidentify_requests")
    op.drop_table("reidentify_quotas")
    op.drop_table("reidentify_safeguards")
