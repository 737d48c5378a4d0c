"""Alembic's environment: the connection comes from `gateway.storage.migrate`."""

from alembic import context

from gateway.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=True,
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()
