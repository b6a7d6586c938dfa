"""Organisations say which profiles and how much they may use; rows are kept apart by the server.

Locks: each table with rows of organisations for the moment of a change to the catalogue; no row is
written. Processes of the release before name no organisation: where they have database users of
their own, stop them before, or Postgres shows them nothing.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BY_NUMBER = (
    "data_keys",
    "subjects",
    "studies",
    "study_identities",
    "series",
    "instances",
    "batches",
    "batch_chunks",
    "batch_turns",
    "batch_leftovers",
    "organization_usage",
    "reidentify_safeguards",
    "reidentify_quotas",
    "reidentify_requests",
)
BY_BATCH = ("batch_items", "batch_problems")
OTHERS = ("reidentify_notices", "api_keys", "audit_events", "audit_heads")

# Each stands in a sub-select, so that Postgres asks once per statement and not once per row.
_LIST = "(SELECT string_to_array(current_setting('app.{}', true), ','){})::{}[]"
NUMBERS = _LIST.format("organization_number", "::int[]", "int")
NAMES = _LIST.format("organization", "", "text")
KEYS = _LIST.format("api_key", "", "text")
# With its schema: otherwise a temporary table of that name would do.
MAY_CROSS = "(SELECT has_table_privilege('public.every_organization', 'SELECT'))"
NAMES_NONE = "(SELECT coalesce(current_setting('app.organization', true), '') = '')"
# Whoever crosses organisations by nature does so only while it names none.
CROSSES = f"({NAMES_NONE} AND {MAY_CROSS})"
OF_BATCH = "EXISTS (SELECT FROM batches AS own WHERE own.id = batch)"


def upgrade() -> None:
    op.add_column(
        "organizations",
        sa.Column("profile", sa.Text(), server_default="basic", nullable=False),
    )
    op.add_column(
        "organizations",
        sa.Column(
            "profiles", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{*}'"), nullable=False
        ),
    )
    op.add_column("organizations", sa.Column("objects_per_day", sa.BigInteger(), nullable=True))
    op.add_column("organizations", sa.Column("open_batches", sa.Integer(), nullable=True))
    op.create_table("every_organization", sa.Column("nobody", sa.Boolean(), nullable=True))
    op.create_table(
        "organization_usage",
        sa.Column("objects", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("organization", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization"],
            ["organizations.number"],
            name=op.f("organization_usage_organization_fkey"),
        ),
        sa.PrimaryKeyConstraint("organization", "day", name=op.f("organization_usage_pkey")),
    )
    for table in (*BY_NUMBER, *BY_BATCH, *OTHERS):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    for table in BY_NUMBER:
        _permit(table, "ALL", f"organization = ANY ({NUMBERS}) OR {CROSSES}")
    for table in BY_BATCH:
        _permit(table, "ALL", f"{CROSSES} OR {OF_BATCH}")
    # Whoever delivers notices, which hold no pseudonym of a patient, does so for everybody.
    _permit("reidentify_notices", "ALL", f"organization = ANY ({NUMBERS}) OR {NAMES_NONE}")
    _permit("api_keys", "SELECT", f"id = ANY ({KEYS}) OR organization = ANY ({NAMES}) OR {CROSSES}")
    own = f"chain = ANY ({NAMES}) OR {CROSSES}"
    _permit("audit_events", "INSERT", f"chain = '' OR {own}")
    _permit("audit_events", "SELECT", f"{own} OR (chain = '' AND {MAY_CROSS})")
    # Heads tell how many rows a chain has and nothing else; every process seals them all.
    _permit("audit_heads", "SELECT", "true")
    _permit("audit_heads", "INSERT", f"chain = '' OR {own}")
    _permit("audit_heads", "UPDATE", f"chain = '' OR {own}")


def downgrade() -> None:
    for table in (*BY_NUMBER, *BY_BATCH, "reidentify_notices", "api_keys"):
        op.execute(f"DROP POLICY own_organization ON {table}")
    for command in ("insert", "select"):
        op.execute(f"DROP POLICY own_organization_{command} ON audit_events")
    for command in ("select", "insert", "update"):
        op.execute(f"DROP POLICY own_organization_{command} ON audit_heads")
    for table in (*BY_NUMBER, *BY_BATCH, *OTHERS):
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    op.drop_table("organization_usage")
    op.drop_table("every_organization")
    for column in ("open_batches", "objects_per_day", "profiles", "profile"):
        op.drop_column("organizations", column)


def _permit(table: str, command: str, condition: str) -> None:
    name = "own_organization"
    if table.startswith("audit_"):
        name += f"_{command.lower()}"
    clause = "WITH CHECK" if command == "INSERT" else "USING"
    op.execute(f"CREATE POLICY {name} ON {table} FOR {command} {clause} ({condition})")
