"""`gateway trail` and `gateway audit`: what was done, by whom, and whether the books are right."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import rich_click as click
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.accounts import addresses, organizations, users
from gateway.control_plane.trail import reading, verification
from gateway.control_plane.trail.reading import NUMBER_MAX, TrailEntry, TrailFilter
from gateway.errors import BadRequest
from gateway.storage.database import see_one_moment
from gateway.storage.ledger import invariants

_KNOWN = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})")
_MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


class UnreadableHash(BadRequest):
    """A hash to compare with that is not NUMBER:HASH, as `gateway trail verify` prints it."""

    code = "unreadable_hash"


@click.group("trail")
def trail_group() -> None:
    """The audit trail: what operators, members and commands did."""


@trail_group.command("list", epilog="Example: gateway trail list --organization Acme")
@click.option("--actor", help="The address or the id of who did it.")
@click.option("--action", default="", help="Like key.created, or key for everything about keys.")
@click.option("--subject", default="", help="What was acted on, like key:ID.")
@click.option("--organization", help="An organization's id or name.")
@click.option("--since", type=_MOMENT, help="UTC.")
@click.option("--until", type=_MOMENT, help="UTC, not included.")
@click.option("--before", type=click.IntRange(1, NUMBER_MAX), help="Show entries before this one.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@as_json
@asynchronous
async def list_trail(
    *,
    actor: str | None,
    action: str,
    subject: str,
    organization: str | None,
    since: datetime | None,
    until: datetime | None,
    before: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """List entries, newest first."""
    async with opened() as database, database.read() as connection:
        chosen = TrailFilter(
            actor_id=await _actor_id(connection, actor) if actor else "",
            action=action,
            subject=subject,
            organization_id=(await organizations.find(connection, organization)).id
            if organization
            else "",
            since=_utc(since),
            until=_utc(until),
        )
        entries = await reading.page(connection, chosen, before=before, limit=limit)
    if as_json:
        show(entries, as_json=True)
        return
    for entry in entries:
        say(_line(entry))
    if not entries:
        say("No entries.")


@trail_group.command("verify", epilog="Example: gateway trail verify")
@click.option("--known", help="NUMBER:HASH that an earlier run printed: it must still be there.")
@as_json
@asynchronous
async def verify_trail(*, known: str | None, as_json: bool) -> None:
    """Check the whole trail and print its newest hash; exits with 1 if it was tampered with."""
    noted = _KNOWN.fullmatch(known) if known else None
    if known and not noted:
        raise UnreadableHash("--known must be NUMBER:HASH, as this command prints it.")
    async with opened() as database, database.read() as connection:
        await see_one_moment(connection)
        found = await verification.verify(connection)
        broken = dict(found.broken)
        if noted and not await verification.holds(
            connection, int(noted[1]), bytes.fromhex(noted[2])
        ):
            broken["trail-has-the-known-hash"] = [noted[1]]
    if as_json:
        show(
            {"number": found.number, "hash": found.hash.hex(), "broken": broken},
            as_json=True,
        )
    else:
        for rule in verification.RULES:
            say(_verdict(rule, broken))
        if noted:
            say(
                f"trail-has-the-known-hash: {'BROKEN' if len(broken) > len(found.broken) else 'ok'}"
            )
        say(f"{found.number} entries. Note this elsewhere: {found.number}:{found.hash.hex()}")
    if broken:
        sys.exit(1)


@click.command("audit", epilog="Example: gateway audit")
@as_json
@asynchronous
async def audit(*, as_json: bool) -> None:
    """Check the ledger's invariants and the audit trail; exit with 1 if one is broken."""
    async with opened() as database, database.read() as connection:
        breaches = await invariants.audit(connection)
        found = await verification.verify(connection)  # in the same transaction: at one moment
    broken = {breach.invariant.name: breach.culprits for breach in breaches} | found.broken
    if as_json:
        named = [{"name": name, "culprits": culprits} for name, culprits in broken.items()]
        show(named, as_json=True)
    else:
        for rule in (*invariants.INVARIANTS, *verification.RULES):
            say(_verdict(rule, broken))
    if broken:
        sys.exit(1)


def _verdict(rule: Any, broken: Mapping[str, Sequence[str]]) -> str:
    culprits = broken.get(rule.name)
    mark = f"BROKEN by {', '.join(culprits)}" if culprits else "ok"
    return f"{rule.name}: {mark}  ({rule.rule})"


def _line(entry: TrailEntry) -> str:
    who = entry.actor or entry.actor_id or entry.actor_kind
    words = "; ".join(map(str, reading.changes(entry)))
    parts = (
        f"{entry.number}",
        f"{entry.created_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z",
        who,
        entry.action,
        entry.subject,
        words,
        f"({entry.reason})" if entry.reason else "",
        f"from {entry.origin}" if entry.origin else "",
    )
    return "  ".join(part for part in parts if part)


async def _actor_id(connection: AsyncConnection, actor: str) -> str:
    if "@" not in actor:
        return actor
    found = await users.id_of(connection, addresses.parse(actor))
    return found or actor


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment else None
