"""This version as an operator installs it, and a version after it, as packages of their own.

The next version is this one with one revision more, which says that this version runs on it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from testing.gateways import SECRET

ROOT = Path(__file__).parents[1]
_PACKAGES = ("gateway", "backends", "migrations")
NEXT = "9999_next"
_REVISION = '''"""A table of the next version."""

from alembic import op
from sqlalchemy import Column, Integer

revision = "{revision}"
down_revision = "{head}"
branch_labels = None
depends_on = None
runs_from = "{head}"


def upgrade() -> None:
    op.create_table("next_things", Column("id", Integer, primary_key=True))
    op.execute("ALTER TABLE organizations ADD COLUMN next_thing bigint NOT NULL DEFAULT 0")


def downgrade() -> None:
    op.execute("ALTER TABLE organizations DROP COLUMN next_thing")
    op.drop_table("next_things")
'''


def environment(folder: Path, database_url: str, **changes: str) -> Mapping[str, str]:
    """Return what processes of the version in a folder need."""
    return {
        "PYTHONPATH": str(folder),
        "PYTHONSAFEPATH": "1",  # the package in the current folder may be another version
        "GATEWAY_SECRET": SECRET,
        "DATABASE_URL": database_url,
        **changes,
    }


def make_next(folder: Path, head: str) -> Path:
    """Put the next version into a folder, and return it."""
    for name in _PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    revision = folder / "migrations" / "versions" / f"{NEXT}.py"
    revision.write_text(_REVISION.format(revision=NEXT, head=head))
    return folder


async def migrate(environment: Mapping[str, str], *words: str) -> str:
    """Run `gateway migrate` of a version, and return what it says."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "migrate", *words, env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said = (await child.communicate())[0].decode()
    assert child.returncode == 0, said
    return said
