"""The database, and the Redis beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gateway.settings.declaring import SECRET, Count, text


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """The database, and the Redis beside it."""

    database_url: Annotated[
        str,
        SECRET,
        text(
            "The database: postgresql://user:password@host/name or sqlite:///path. Parameters "
            "are libpq's: ?sslmode=verify-full for TLS; "
            "?host=A:5432,B:5432&target_session_attrs=read-write for a server and its standby."
        ),
    ] = "sqlite:///.data/gateway.db"
    migration_database_url: Annotated[
        str,
        SECRET,
        text(
            "The same database, only for `gateway migrate`, with the role that owns the schema. "
            "The role in DATABASE_URL then needs only the right to connect. Empty: the role in "
            "DATABASE_URL."
        ),
    ] = ""
    database_connections_max: Annotated[Count, text("Most PostgreSQL connections per process.")] = (
        16
    )
    redis_url: Annotated[
        str,
        SECRET,
        text(
            "redis://host:port/0 of a Valkey or Redis server that carries revocations and worker "
            "updates between processes. Empty: revocations are polled from the database."
        ),
    ] = ""
