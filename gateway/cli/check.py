"""`gateway check`: whether the configuration is right, and all that it names can be reached."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import rich_click as click

from gateway.cli.printing import as_json, say, show
from gateway.settings import Settings, SettingsError

if TYPE_CHECKING:
    from gateway.cli.checks.findings import Finding


@click.command("check", epilog="Example: gateway check --json")
@as_json
def check(*, as_json: bool) -> None:
    """Check the database, Redis, mail, workers and Stripe, and look for conflicting settings.

    Nothing is sent, charged or changed. Each line is ok, warning or error; the exit status is 0 if
    all are ok, 1 with a warning, 2 with an error.
    """
    from gateway.cli.checks.findings import LEVELS, error  # noqa: PLC0415

    try:
        settings = Settings.from_environment()
    except SettingsError as mistake:
        found = [error("settings", str(mistake))]
    else:
        found = asyncio.run(_findings(settings))
    if as_json:
        show(found, as_json=True)
    else:
        for finding in found:
            say(f"{finding.level:<8} {finding.about}: {finding.words}")
    sys.exit(max(LEVELS.index(finding.level) for finding in found))


async def _findings(settings: Settings) -> list[Finding]:
    """Ask all questions at once; the findings keep the order of the questions."""
    from gateway.cli.checks.agreement import ABOUT, agreement  # noqa: PLC0415 - not for --help
    from gateway.cli.checks.database import database  # noqa: PLC0415
    from gateway.cli.checks.findings import asked  # noqa: PLC0415
    from gateway.cli.checks.journal import journal  # noqa: PLC0415
    from gateway.cli.checks.mail import mail  # noqa: PLC0415
    from gateway.cli.checks.redis import redis  # noqa: PLC0415
    from gateway.cli.checks.stripe import stripe  # noqa: PLC0415
    from gateway.cli.checks.workers import workers  # noqa: PLC0415

    questions = {
        ABOUT: agreement,
        "database": database,
        "redis": redis,
        "journal": journal,
        "mail": mail,
        "workers": workers,
        "stripe": stripe,
    }
    found = await asyncio.gather(
        *(asked(about, question, settings) for about, question in questions.items())
    )
    return [finding for findings in found for finding in findings]
