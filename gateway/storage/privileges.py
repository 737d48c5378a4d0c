"""What the role of the service may do, where another role owns the schema.

It reads and writes rows; it makes, changes and empties no table. Where rows are only ever added, it
can't change or remove them. What upkeep does to partitions, functions of the owner do.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import DatabaseError
from gateway.storage.tables import (
    book_entries,
    ledger_entries,
    metadata,
    receipt_keys,
    receipt_roots,
    schema_ranges,
    trail_entries,
    trail_words,
    usage_events,
)

APPEND_ONLY = (
    ledger_entries,
    usage_events,
    book_entries,
    receipt_roots,
    receipt_keys,
    trail_entries,
)
READ_ONLY = (schema_ranges,)
_NEVER_REMOVED = (trail_words,)
_FUNCTIONS = ("ledger_partition(text, date)", "ledger_retire(text, date)", "ledger_summarize()")


async def grant_service(connection: AsyncConnection, service: URL) -> None:
    """Let the role of the service's address use the schema of this connection's role, no more.

    Raises DatabaseError if the two are one role, or on SQLite, which has no roles.
    """
    if connection.dialect.name == "sqlite":
        raise DatabaseError("GATEWAY_MIGRATION_DATABASE_URL is for PostgreSQL")
    role = service.username
    if role is None or role == await connection.scalar(text("SELECT current_user")):
        raise DatabaseError("GATEWAY_MIGRATION_DATABASE_URL and DATABASE_URL name the same role")
    quoted = connection.dialect.identifier_preparer.quote(role)
    schema = await connection.scalar(text("SELECT quote_ident(current_schema())"))
    for statement in _statements(quoted, str(schema)):
        await connection.execute(text(statement))


def _statements(role: str, schema: str) -> Iterator[str]:
    everything = f"ALL TABLES IN SCHEMA {schema}"
    yield f"GRANT USAGE ON SCHEMA {schema} TO {role}"
    yield f"REVOKE ALL ON {everything} FROM {role}"
    yield f"GRANT SELECT ON {everything} TO {role}"
    yield f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}"
    for table in metadata.sorted_tables:
        rights = "INSERT, UPDATE, DELETE"
        if table in READ_ONLY:
            continue
        if table in APPEND_ONLY:
            rights = "INSERT"
        elif table in _NEVER_REMOVED:
            rights = "INSERT, UPDATE"
        yield f"GRANT {rights} ON {table.name} TO {role}"
    for function in _FUNCTIONS:
        yield f"GRANT EXECUTE ON FUNCTION {function} TO {role}"
