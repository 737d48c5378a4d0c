"""The journal's folder: it exists, is writable, and has the space that the journal may take."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from gateway.cli.checks.findings import Finding, error, ok, warning
from gateway.settings import Settings

ABOUT = "journal"


async def journal(settings: Settings) -> AsyncIterator[Finding]:
    """Look at the disk; nothing is written."""
    if settings.role == "control" or not settings.journal_path:
        return
    folder = Path(settings.journal_path)
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        yield error(
            ABOUT, f"{folder} can't be written: usage is lost if the database is unavailable"
        )
        return
    free = shutil.disk_usage(there).free
    wanted = settings.journal_bytes_max * settings.processes
    told = f"{folder} can be written, and {free >> 20:,} MB are free"
    if free < wanted:
        yield warning(ABOUT, f"{told}; it may take {wanted >> 20:,} MB (GATEWAY_JOURNAL_BYTES_MAX)")
    else:
        yield ok(ABOUT, told)
