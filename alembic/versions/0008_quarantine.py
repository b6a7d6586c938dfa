"""Objects that wait for a person to look at their pixels, and mask rules that people remembered.

Locks: nothing that exists but for a moment (references to `organizations`); every table is new.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

OWN_ROWS = """
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON {table} FOR ALL USING (
    organization = ANY (
        (SELECT string_to_array(current_setting('app.organization_number', true), ',')::int[]
        )::int[]
    ) OR (
        (SELECT coalesce(current_setting('app.organization', true), '') = '')
        AND (SELECT has_table_privilege('public.every_organization', 'SELECT'))
    )
);
"""


def upgrade() -> None:
    op.create_table(
        "quarantine",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("organization", sa.Integer(), nullable=False),
        sa.Column("key_version", sa.SmallInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column(
            "held_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.Text(), server_default="held", nullable=False),
        sa.Column("source_kind", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("profile_version", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("shape", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("decision", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("ruling", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("sent_by", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("cloud_study_id", sa.Text(), nullable=True),
        sa.Column("cloud_patient_id", sa.Text(), nullable=True),
        sa.Column("decider", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('held', 'released', 'masked', 'rejected', 'expired')",
            name=op.f("quarantine_state_check"),
        ),
        sa.CheckConstraint(
            "(state = 'held') = (decided_at IS NULL)", name=op.f("quarantine_decided_check")
        ),
        sa.CheckConstraint(
            "(state = 'held') = (sealed IS NOT NULL)", name=op.f("quarantine_sealed_check")
        ),
        sa.CheckConstraint(
            "(state = 'masked') = (ruling IS NOT NULL)", name=op.f("quarantine_ruling_check")
        ),
        sa.CheckConstraint(
            "state NOT IN ('released', 'masked')"
            " OR (decider <> sender AND lower(decided_by) <> lower(sent_by))",
            name=op.f("quarantine_four_eyes_check"),
        ),
        sa.ForeignKeyConstraint(
            ["organization"],
            ["organizations.number"],
            name=op.f("quarantine_organization_fkey"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("quarantine_pkey")),
    )
    op.create_index(
        "quarantine_bytes_idx",
        "quarantine",
        ["organization", "digest", "profile"],
        unique=True,
        postgresql_where=sa.text("state <> 'expired'"),
    )
    op.create_index(
        op.f("quarantine_organization_held_at_id_idx"),
        "quarantine",
        ["organization", "held_at", "id"],
    )
    op.create_index(
        "quarantine_held_idx",
        "quarantine",
        ["organization", "held_at", "id"],
        postgresql_where=sa.text("state = 'held'"),
    )
    op.create_index(
        op.f("quarantine_organization_cloud_patient_id_idx"),
        "quarantine",
        ["organization", "cloud_patient_id"],
    )
    op.create_table(
        "mask_rules",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("organization", sa.Integer(), nullable=False),
        sa.Column(
            "proposed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("quarantine", sa.UUID(), nullable=False),
        sa.Column("state", sa.Text(), server_default="proposed", nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("proposer", sa.Text(), nullable=False),
        sa.Column("proposed_by", sa.Text(), nullable=False),
        sa.Column("decider", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("revoked_by", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('proposed', 'approved', 'denied', 'revoked')",
            name=op.f("mask_rules_state_check"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('approved', 'revoked')"
            " OR (decider <> proposer AND lower(decided_by) <> lower(proposed_by))",
            name=op.f("mask_rules_four_eyes_check"),
        ),
        sa.ForeignKeyConstraint(
            ["organization"],
            ["organizations.number"],
            name=op.f("mask_rules_organization_fkey"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("mask_rules_pkey")),
    )
    op.create_index(
        op.f("mask_rules_organization_proposed_at_id_idx"),
        "mask_rules",
        ["organization", "proposed_at", "id"],
    )
    for table in ("quarantine", "mask_rules"):
        op.execute(OWN_ROWS.format(table=table))


def downgrade() -> None:
    """What is held cannot be opened afterwards: decide about it first."""
    op.drop_table("mask_rules")
    op.drop_table("quarantine")
