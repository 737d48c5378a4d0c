"""What a revision may do beside processes that serve: each statement of every one is read."""

import asyncio
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event, text

from gateway.storage import migrate, schema
from gateway.storage.database import Database

SMALL = {
    "alembic_version", "alert_levels", "audit_runs", "audits", "audit_sums", "catalog_versions",
    "golden_rows", "incidents", "launches", "mac_secrets", "model_prices", "models", "operators",
    "price_changes", "schema_ranges", "sessions", "stripe_events", "trail_heads",
    "worker_quarantines", "worker_reports",
}  # fmt: skip
"""Tables that do not grow with customers and their use, or whose rows live for days."""
RULES = {
    "an index that stops writers": r"create (?:unique )?index (?!concurrently)(?:if not exists )?"
    r"\w+ on (?:only )?(\w+)",
    "a column without a default": r"alter table (\w+) add column (?!.*default).* not null",
    "a default for each row": r"alter table (\w+) add column .*default "
    r"(?:now|current_|clock_|random|gen_random|nextval)",
    "another type": r"alter table (\w+) alter column \w+ type",
    "a column that must be read whole": r"alter table (\w+) alter column \w+ set not null",
    "a constraint that reads all rows": r"alter table (\w+) (?!.*not valid).*"
    r"add constraint \w+ (?:check|foreign key)",
    "a change of every row": r"update (\w+) set",
}
GROWING = {
    "usage_events", "usage_hours", "usage_days", "ledger_entries", "leases", "accounts",
    "receipt_roots",
}  # fmt: skip
"""Tables that ticks write. Until 0028 the rules held for them alone: the others had thousands of
rows then, which are read in milliseconds."""
KNOWN = {
    ("0002_freezes_and_books", "an index that stops writers", "accounts"): "there are as many as "
    "organizations, and ticks stand still for this revision as it is",
    ("0002_freezes_and_books", "a change of every row", "ledger_entries"): "of purchases alone, "
    "which 0.1.0 could only make by hand",
    ("0024_opening_sums", "an index that stops writers", "usage_events"): "it takes those of the "
    "partitions, which were built concurrently",
}
"""What breaks a rule, and why that is no harm."""
_COMPLETE = re.compile(r"update alembic_version set version_num='(\d{4}_\w+)'")
_FIRST = "0001_first_schema"


@contextmanager
def listening() -> Iterator[list[str]]:
    """Record the statements of all engines, in small letters and on one line."""
    said: list[str] = []

    def hear(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(" ".join(statement.lower().replace('"', "").split()))

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield said
    finally:
        event.remove(Engine, "before_cursor_execute", hear)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_no_revision_stops_those_who_serve(first: Database):
    with listening() as said:
        await migrate.upgrade(first)
    broken: dict[tuple[str, str, str], str] = {}
    steps: list[str] = []
    for statement in said:
        if found := _COMPLETE.match(statement):
            revision = found[1]
            new = set(re.findall(r"create table (\w+)", " ; ".join(steps)))
            for step in steps:
                for rule, pattern in RULES.items():
                    hit = re.match(pattern, step)
                    concerns = GROWING if revision < "0029" else {hit[1] if hit else ""} - SMALL
                    if hit and hit[1] in concerns - new:
                        broken[revision, rule, hit[1]] = step
            steps = []
        else:
            steps.append(statement)
    unknown = {key: step for key, step in broken.items() if key not in KNOWN}
    assert not unknown, "\n".join(map(str, unknown.items()))
    assert set(KNOWN) <= set(broken), "what is no more is not known"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_every_revision_waits_for_a_lock_no_longer_than_others_can(first: Database):
    """But for what is built concurrently: that waits for others, and nobody for it."""
    with listening() as said:
        await migrate.upgrade(first)
    limit = ""
    for statement in said:
        if found := re.match(r"set (?:local )?lock_timeout = '?(\w+)", statement):
            limit = found[1]
        if re.match(r"create|alter|drop|lock|update|insert|delete", statement):
            assert limit == "2s" or " concurrently " in statement, statement


def test_every_revision_says_which_code_runs_on_it():
    known = schema.revisions()
    scripts = ScriptDirectory(str(schema.MIGRATIONS))
    for script in scripts.walk_revisions():
        if script.revision >= "0029":
            assert script.module.runs_from in known[known.index("0029_schema_range") :]
            assert script.module.runs_from <= script.revision


@pytest.mark.long
async def test_a_migration_that_is_killed_goes_on_where_it_was(first: Database):
    kills = [60, 200, 90, 120] if first.is_sqlite else [1, 2, 4, 3, 5]
    kind = "sqlite" if first.is_sqlite else "postgresql"
    address = first.url.set(drivername=kind).render_as_string(hide_password=False)
    for last in kills:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "testing.halfway", address, str(last)
        )
        assert await child.wait() == -signal.SIGKILL
    await migrate.upgrade(first)
    await schema.check(first)
    if not first.is_sqlite:
        async with first.read() as connection:
            assert await connection.scalar(text("SELECT bool_and(indisvalid) FROM pg_index"))
