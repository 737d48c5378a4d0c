"""`gateway books`: every account's balance when the books were last audited."""

from __future__ import annotations

import rich_click as click

from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.billing import audit_runs
from gateway.money import money


@click.command("books", epilog="Example: gateway books")
@click.option("--limit", type=click.IntRange(1, 1000), default=1, show_default=True)
@as_json
@asynchronous
async def show_books(*, limit: int, as_json: bool) -> None:
    """Show a running gateway's last audits, and every account's balance at that time."""
    async with opened() as database, database.read() as connection:
        runs = await audit_runs.recent(connection, limit=limit)
    if as_json:
        show(runs, as_json=True)
        return
    if not runs:
        say("No running gateway has audited the books yet. Audit them now: gateway audit.")
    for run in runs:
        books = run.balances
        found = ", ".join(sorted(run.breaches)) or "nothing broken"
        say(f"{run.began_at:%Y-%m-%d %H:%M:%S}Z, {run.seconds:.1f} s: {found}")
        for name, nanos in (
            ("organizations", books.organizations_nanos),
            *sorted(books.platform.items()),
            ("all together", books.sum_nanos),
            ("unearned (paid, unused)", books.paid_nanos),
            ("free, unused", books.promo_nanos),
            ("owed by organizations", books.owed_nanos),
        ):
            say(f"  {name}: {money(nanos)}")
