"""Organisations, API keys, the sealed mapping and the audit.

Locks: nothing that exists; every table is new.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# As statement triggers these refuse even what would touch no row. They hold for the owner, too.
APPEND_ONLY = """
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE FUNCTION refuse_audit_rewind() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.chain <> OLD.chain OR NEW.seq <= OLD.seq THEN
        RAISE EXCEPTION 'the audit only grows' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_heads_kept BEFORE DELETE OR TRUNCATE ON audit_heads
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_heads_grow BEFORE UPDATE ON audit_heads
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_rewind();
"""


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("api_key_id", sa.Text(), nullable=True),
        sa.Column("profile", sa.Text(), nullable=True),
        sa.Column("profile_version", sa.Text(), nullable=True),
        sa.Column("cloud_study_id", sa.Text(), nullable=True),
        sa.Column("sop_instance_uid", sa.Text(), nullable=True),
        sa.Column("purpose", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("octet_length(hash) = 32", name=op.f("audit_events_hash_check")),
        sa.PrimaryKeyConstraint("chain", "seq", name=op.f("audit_events_pkey")),
    )
    op.create_table(
        "audit_heads",
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("octet_length(hash) = 32", name=op.f("audit_heads_hash_check")),
        sa.PrimaryKeyConstraint("chain", name=op.f("audit_heads_pkey")),
    )
    op.create_table(
        "instances",
        sa.Column("data_key", sa.BigInteger(), nullable=False),
        sa.Column(
            "first_seen_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("organization", sa.Integer(), nullable=False),
        sa.Column("uid", sa.UUID(), nullable=False),
        sa.Column("series_uid", sa.UUID(), nullable=True),
        sa.Column("lookup", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("organization", "uid", name=op.f("instances_pkey")),
    )
    op.create_table(
        "organizations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("id ~ '^[A-Za-z0-9_-]{1,24}$'", name=op.f("organizations_id_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("organizations_pkey")),
        sa.UniqueConstraint("number", name=op.f("organizations_number_key")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("organization", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("profiles", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("organizations", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "octet_length(secret_hash) = 32", name=op.f("api_keys_secret_hash_check")
        ),
        sa.ForeignKeyConstraint(
            ["organization"], ["organizations.id"], name=op.f("api_keys_organization_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("api_keys_pkey")),
    )
    op.create_index(op.f("api_keys_organization_idx"), "api_keys", ["organization"], unique=False)
    op.create_table(
        "data_keys",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("organization", sa.Integer(), nullable=False),
        sa.Column("key_version", sa.SmallInteger(), nullable=False),
        sa.Column("cloud_patient_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["organization"], ["organizations.number"], name=op.f("data_keys_organization_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("data_keys_pkey")),
    )
    op.create_index(
        op.f("data_keys_organization_cloud_patient_id_idx"),
        "data_keys",
        ["organization", "cloud_patient_id"],
        unique=False,
    )
    op.create_table(
        "studies",
        sa.Column("data_key", sa.BigInteger(), nullable=False),
        sa.Column(
            "first_seen_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("organization", sa.Integer(), nullable=False),
        sa.Column("cloud_study_id", sa.Text(), nullable=False),
        sa.Column("uid", sa.UUID(), nullable=True),
        sa.Column("lookup", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["data_key"], ["data_keys.id"], name=op.f("studies_data_key_fkey")),
        sa.ForeignKeyConstraint(
            ["organization"], ["organizations.number"], name=op.f("studies_organization_fkey")
        ),
        sa.PrimaryKeyConstraint("organization", "cloud_study_id", name=op.f("studies_pkey")),
    )
    op.create_index(op.f("studies_cloud_study_id_idx"), "studies", ["cloud_study_id"], unique=False)
    op.create_index(op.f("studies_uid_idx"), "studies", ["uid"], unique=False)
    op.create_table(
        "subjects",
        sa.Column("data_key", sa.BigInteger(), nullable=False),
        sa.Column(
            "first_seen_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("organization", sa.Integer(), nullable=False),
        sa.Column("cloud_patient_id", sa.Text(), nullable=False),
        sa.Column("lookup", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["data_key"], ["data_keys.id"], name=op.f("subjects_data_key_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["organization"], ["organizations.number"], name=op.f("subjects_organization_fkey")
        ),
        sa.PrimaryKeyConstraint("organization", "cloud_patient_id", name=op.f("subjects_pkey")),
    )
    op.create_table(
        "series",
        sa.Column("data_key", sa.BigInteger(), nullable=False),
        sa.Column(
            "first_seen_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("organization", sa.Integer(), nullable=False),
        sa.Column("uid", sa.UUID(), nullable=False),
        sa.Column("cloud_study_id", sa.Text(), nullable=False),
        sa.Column("lookup", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["data_key"], ["data_keys.id"], name=op.f("series_data_key_fkey")),
        sa.ForeignKeyConstraint(
            ["organization", "cloud_study_id"],
            ["studies.organization", "studies.cloud_study_id"],
            name=op.f("series_organization_cloud_study_id_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["organization"], ["organizations.number"], name=op.f("series_organization_fkey")
        ),
        sa.PrimaryKeyConstraint("organization", "uid", name=op.f("series_pkey")),
    )
    op.create_index(
        op.f("series_organization_cloud_study_id_idx"),
        "series",
        ["organization", "cloud_study_id"],
        unique=False,
    )
    op.create_table(
        "study_identities",
        sa.Column("data_key", sa.BigInteger(), nullable=False),
        sa.Column(
            "first_seen_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("organization", sa.Integer(), nullable=False),
        sa.Column("cloud_study_id", sa.Text(), nullable=False),
        sa.Column("lookup", sa.LargeBinary(), nullable=False),
        sa.Column("cloud_patient_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["data_key"], ["data_keys.id"], name=op.f("study_identities_data_key_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["organization", "cloud_patient_id"],
            ["subjects.organization", "subjects.cloud_patient_id"],
            name=op.f("study_identities_organization_cloud_patient_id_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["organization", "cloud_study_id"],
            ["studies.organization", "studies.cloud_study_id"],
            name=op.f("study_identities_organization_cloud_study_id_fkey"),
        ),
        sa.ForeignKeyConstraint(
            ["organization"],
            ["organizations.number"],
            name=op.f("study_identities_organization_fkey"),
        ),
        sa.PrimaryKeyConstraint(
            "organization", "cloud_study_id", "lookup", name=op.f("study_identities_pkey")
        ),
    )
    op.create_index(
        op.f("study_identities_organization_cloud_patient_id_idx"),
        "study_identities",
        ["organization", "cloud_patient_id"],
        unique=False,
    )
    op.execute(APPEND_ONLY)


def downgrade() -> None:
    op.drop_index(
        op.f("study_identities_organization_cloud_patient_id_idx"), table_name="study_identities"
    )
    op.drop_table("study_identities")
    op.drop_index(op.f("series_organization_cloud_study_id_idx"), table_name="series")
    op.drop_table("series")
    op.drop_table("subjects")
    op.drop_index(op.f("studies_uid_idx"), table_name="studies")
    op.drop_index(op.f("studies_cloud_study_id_idx"), table_name="studies")
    op.drop_table("studies")
    op.drop_index(op.f("data_keys_organization_cloud_patient_id_idx"), table_name="data_keys")
    op.drop_table("data_keys")
    op.drop_index(op.f("api_keys_organization_idx"), table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_table("organizations")
    op.drop_table("instances")
    op.drop_table("audit_heads")
    op.drop_table("audit_events")
    op.execute("DROP FUNCTION refuse_audit_change")
    op.execute("DROP FUNCTION refuse_audit_rewind")
