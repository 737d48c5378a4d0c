"""Alembic's environment: the connection comes from `gateway.storage.migrate`."""

from alembic import context

from gateway.storage.tables import metadata


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Leave out the partitions, which come and go with the days."""
    return not (kind == "table" and (name or "").startswith(("usage_events_", "receipt_roots_")))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=True,
    render_as_batch=True,
    compare_type=True,
    include_name=_is_ours,
)
context.run_migrations()
