"""Which schema a database has, and whether this version runs on it.

The revisions are in migrations/versions; a revision's id is the name of its file, and the one with
the highest number is the newest. A schema says itself, in `schema_ranges`, which older code it
carries. So a version starts on a newer schema, as it must while another version is rolled out, or
taken back: it knows the revision from which the code may be.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import structlog
from sqlalchemy import URL, Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from gateway.storage.database import Database, DatabaseError

log = structlog.get_logger()

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
_UNRELEASED = re.compile(r"\d{4}")  # the ids of the revisions before the first release
_PREVIOUS = "docs/upgrading.md says how to go back"


class Schema(NamedTuple):
    """The schema of a database beside that of this version."""

    current: str | None
    """Its revision; None if it is empty."""
    needed: str
    """The newest revision that this version knows."""
    runs_from: str | None = None
    """The oldest revision whose code runs on it; None if it does not say."""

    @property
    def is_known(self) -> bool:
        """Whether it is of this version, or of one before, which this version can upgrade."""
        return self.current is None or self.current in revisions()

    @property
    def is_newer(self) -> bool:
        """Whether it is of a newer version, on which this one runs."""
        return not self.is_known and self.runs_from in revisions()

    @property
    def flaw(self) -> str:
        """Why this version can't run on it, and what to do; empty if it runs."""
        if self.current == self.needed or self.is_newer:
            return ""
        if self.is_known:
            return (
                f"the schema is at {self.current or 'nothing'}, this version needs {self.needed}; "
                "run `gateway migrate`"
            )
        return self.stranger

    @property
    def stranger(self) -> str:
        """Why this version can't use a schema that it does not know, and what to do."""
        at = f"the schema is at {self.current}"
        if _UNRELEASED.fullmatch(self.current or ""):
            return f"{at}, from before release 0.1.0, and can't be upgraded; use an empty database"
        carries = f", which runs code from {self.runs_from} on" if self.runs_from else ""
        return (
            f"{at}{carries}, and this version of the gateway is older than that: it is at "
            f"{self.needed}; run the newer version ({_PREVIOUS})"
        )


async def read(database: Database) -> Schema:
    """Read which schema a database has. Raises DatabaseError."""
    try:
        async with database.engine.connect() as connection:
            return await connection.run_sync(find)
    except (SQLAlchemyError, OSError) as error:
        told = reason(error)
        if told.startswith("permission denied"):
            told += (
                "; `gateway migrate` gives this role its rights, with the owner's address in "
                "GATEWAY_MIGRATION_DATABASE_URL"
            )
        raise DatabaseError(f"{shown(database.url)}: {told}") from error


async def check(database: Database) -> None:
    """Make sure that this version runs on the schema. Raises DatabaseError: what to do."""
    if flaw := (await read(database)).flaw:
        raise DatabaseError(f"{shown(database.url)}: {flaw}")


def find(connection: Connection) -> Schema:
    """Read which schema a connection has."""
    needed, tables = revisions()[-1], inspect(connection)
    if not tables.has_table("alembic_version"):
        return Schema(None, needed)
    current: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    runs_from: str | None = None
    if tables.has_table("schema_ranges"):
        query = text("SELECT runs_from FROM schema_ranges WHERE revision = :revision")
        runs_from = connection.scalar(query, {"revision": current})
    return Schema(current, needed, runs_from)


@cache
def revisions() -> Sequence[str]:
    """Return this version's revisions by number, the newest last."""
    return sorted(file.stem for file in (MIGRATIONS / "versions").glob("[0-9]*.py"))


class SchemaWatch:
    """Whether this version still runs on the schema, which changes while it serves."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.flaw = ""
        """Why it does not; empty as long as it does."""

    async def look(self) -> None:
        """Look at the schema. Raises DatabaseError, and changes nothing then."""
        before, self.flaw = self.flaw, (await read(self._database)).flaw
        if self.flaw and self.flaw != before:
            log.error("this version does not run on the schema", reason=self.flaw)


def shown(url: URL) -> str:
    """Return an address without its password."""
    return url.render_as_string(hide_password=True)


def reason(error: Exception) -> str:
    """Return the database's message in one line, without the statement and its values."""
    cause = str(getattr(error, "orig", None) or error).strip()
    return cause.splitlines()[0] if cause else type(error).__name__
