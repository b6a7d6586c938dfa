"""Tombstones of patients whose originals were erased, and how long organisations keep originals.

Locks: the mapping's tables for the moment of a change to the catalogue. Building the index of
`data_keys` keeps new patients waiting, about one second for a million data keys; the block range
index of `instances` reads that table once, about one second for five million rows, and keeps it
from being written meanwhile.

Rows of the mapping no longer refer to their data key by a foreign key: it cost a look-up and a lock
per row, and a scan of four tables per data key that is destroyed. What kept a row from being
written under a destroyed key is done by the trigger and by `app/vault/erasing_guard.py`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

WITH_DATA_KEY = ("subjects", "studies", "study_identities", "series")
MAY_BE_EMPTIED = ("subjects", "studies")

# A data key that lives on in the memory of a process does not come back: neither one that was
# destroyed, nor a new one of a patient who is not taken any more. It waits for an erasure that is
# under way. It runs as the owner, for users who may only insert: it must read no table of theirs,
# so that their temporary ones come last and every table is named with its schema, and nobody else
# may hang it on a table of his own.
GUARD = """
CREATE FUNCTION drop_erased_data_key() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended(
        'erasure:' || NEW.organization || ':' || NEW.cloud_patient_id, 0));
    IF EXISTS (SELECT FROM public.destroyed_data_keys WHERE id = NEW.id) OR EXISTS (
        SELECT FROM public.tombstones AS t
        JOIN public.organizations AS o ON o.number = t.organization
        WHERE t.organization = NEW.organization AND t.cloud_patient_id = NEW.cloud_patient_id
        AND t.erased_at IS NOT NULL AND o.after_erasure = 'refuse'
    ) THEN
        DELETE FROM public.data_keys WHERE id = NEW.id;
    END IF;
    RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION drop_erased_data_key() FROM PUBLIC;

CREATE TRIGGER data_keys_stay_erased AFTER INSERT ON data_keys
    FOR EACH ROW EXECUTE FUNCTION drop_erased_data_key();
"""
OWN_ROWS = """
ALTER TABLE tombstones ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON tombstones FOR ALL USING (
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
    op.add_column("organizations", sa.Column("retention_days", sa.Integer(), nullable=True))
    op.add_column(
        "organizations",
        sa.Column("after_erasure", sa.Text(), server_default="refuse", nullable=False),
    )
    op.create_check_constraint(
        op.f("organizations_retention_days_check"), "organizations", "retention_days > 0"
    )
    op.create_check_constraint(
        op.f("organizations_after_erasure_check"),
        "organizations",
        "after_erasure IN ('refuse', 'recreate')",
    )
    op.create_table(
        "tombstones",
        sa.Column("organization", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), server_default="1", nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cloud_patient_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization"],
            ["organizations.number"],
            name=op.f("tombstones_organization_fkey"),
        ),
        sa.PrimaryKeyConstraint("organization", "cloud_patient_id", name=op.f("tombstones_pkey")),
    )
    op.create_table(
        "destroyed_data_keys",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "destroyed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("destroyed_data_keys_pkey")),
    )
    for table in WITH_DATA_KEY:
        op.drop_constraint(op.f(f"{table}_data_key_fkey"), table, type_="foreignkey")
    for table in MAY_BE_EMPTIED:
        op.alter_column(table, "data_key", existing_type=sa.BigInteger(), nullable=True)
        op.alter_column(table, "sealed", existing_type=sa.LargeBinary(), nullable=True)
    op.create_index(
        op.f("data_keys_organization_created_at_idx"), "data_keys", ["organization", "created_at"]
    )
    op.create_index(
        "instances_first_seen_at_idx", "instances", ["first_seen_at"], postgresql_using="brin"
    )
    op.execute(GUARD)
    op.execute(OWN_ROWS)


def downgrade() -> None:
    """Only while nothing was erased: rows that were emptied fit no older release."""
    op.execute("DROP TRIGGER data_keys_stay_erased ON data_keys")
    op.execute("DROP FUNCTION drop_erased_data_key()")
    op.drop_index("instances_first_seen_at_idx", table_name="instances")
    op.drop_index(op.f("data_keys_organization_created_at_idx"), table_name="data_keys")
    for table in MAY_BE_EMPTIED:
        op.alter_column(table, "sealed", existing_type=sa.LargeBinary(), nullable=False)
        op.alter_column(table, "data_key", existing_type=sa.BigInteger(), nullable=False)
    for table in WITH_DATA_KEY:
        op.create_foreign_key(
            op.f(f"{table}_data_key_fkey"), table, "data_keys", ["data_key"], ["id"]
        )
    op.drop_table("destroyed_data_keys")
    op.drop_table("tombstones")
    for name in ("after_erasure", "retention_days"):
        op.drop_constraint(op.f(f"organizations_{name}_check"), "organizations", type_="check")
        op.drop_column("organizations", name)
