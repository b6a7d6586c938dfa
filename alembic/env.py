"""Where alembic meets the tables. Online only: `app.db.migrate` hands the connection over."""

from alembic import context

from app.db.models import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("run migrations with 'deid-gateway db upgrade'")

context.configure(
    connection=connection,
    target_metadata=metadata,
    compare_server_default=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
