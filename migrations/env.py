"""Alembic's environment: the connection comes from `gateway.storage.migrate`.

With each revision it writes, in the same transaction, which code runs on the schema from then on:
the revision's `runs_from`, or without one no code but its own.
"""

from collections.abc import Collection
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import delete, insert, inspect

from gateway.storage.tables import metadata, schema_ranges


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Leave out partitions, which come and go with the days, and indexes of PostgreSQL alone."""
    named = name or ""
    is_partition = kind == "table" and named.startswith(("usage_events_", "receipt_roots_"))
    return not (is_partition or (kind == "index" and named.endswith(("_domain", "_position"))))


def _note_range(
    ctx: MigrationContext,
    step: MigrationInfo,
    heads: Collection[str],  # noqa: ARG001 - alembic names what it passes
    run_args: dict[str, Any],  # noqa: ARG001
) -> None:
    connection = ctx.connection
    assert connection is not None, "revisions are applied, not written to a file"
    if not inspect(connection).has_table(schema_ranges.name):
        return
    revision = str(step.up_revision_id)
    connection.execute(delete(schema_ranges).where(schema_ranges.c.revision == revision))
    if step.is_upgrade:
        assert step.up_revision is not None, "a revision is a file"
        runs_from = getattr(step.up_revision.module, "runs_from", revision)
        connection.execute(insert(schema_ranges).values(revision=revision, runs_from=runs_from))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=True,
    render_as_batch=True,
    compare_type=True,
    include_name=_is_ours,
    on_version_apply=_note_range,
)
context.run_migrations()
