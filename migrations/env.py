"""Alembic's environment: the connection comes from `gateway.storage.migrate`."""

from alembic import context

from gateway.storage.tables import metadata


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Leave out partitions, which come and go with the days, and indexes of PostgreSQL alone."""
    named = name or ""
    is_partition = kind == "table" and named.startswith(("usage_events_", "receipt_roots_"))
    return not (is_partition or (kind == "index" and named.endswith(("_domain", "_position"))))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=True,
    render_as_batch=True,
    compare_type=True,
    include_name=_is_ours,
)
context.run_migrations()
