"""The command `gateway`: Litestar's own, and ours for the people who run the service.

Each prints for people, and JSON with `--json`. Commands read the same settings as the server and
work on its database while it runs.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from gateway import dev as development
from gateway.cli_support import as_json, asynchronous, opened
from gateway.cli_workers import workers_group
from gateway.control_plane.accounts import organizations
from gateway.control_plane.accounts.keys import ApiKeys
from gateway.control_plane.billing import credits as billing
from gateway.control_plane.catalog import models as catalog
from gateway.control_plane.demand import events, launches, score
from gateway.control_plane.workers import orders
from gateway.data_plane.api.models import entry
from gateway.data_plane.metering import tokens
from gateway.data_plane.metering.rows import RowMaker
from gateway.data_plane.routing.worker import State
from gateway.errors import NotFound
from gateway.observability.console import money, say, show
from gateway.settings import Settings, describe
from gateway.snapshots import Tier
from gateway.storage import migrate as schema
from gateway.storage.announcements import KeyAnnouncements
from gateway.storage.database import Database
from gateway.storage.ledger import invariants


@asynccontextmanager
async def opened_keys(database: Database) -> AsyncIterator[ApiKeys]:
    """Give the key service, which tells running gateways of a change where there is a Redis."""
    settings = Settings.from_environment()
    if not settings.redis_url:
        yield ApiKeys(database, secret=settings.secret)
        return
    announcements = KeyAnnouncements(settings.redis_url, lambda _digest: None)
    try:
        yield ApiKeys(database, secret=settings.secret, announce=announcements.announce)
    finally:
        await announcements.stop()


@click.group("organizations")
def organizations_group() -> None:
    """Who owns keys, credit and usage."""


@organizations_group.command("create")
@click.argument("name")
@as_json
@asynchronous
async def create_organization(name: str, *, as_json: bool) -> None:
    """Found an organization with an empty account."""
    async with opened() as database, database.write() as connection:
        created = await organizations.create(connection, name)
    show(created, as_json=as_json)


@organizations_group.command("list")
@as_json
@asynchronous
async def list_organizations(*, as_json: bool) -> None:
    """List all organizations and what each may spend."""
    async with opened() as database, database.read() as connection:
        found = await organizations.listed(connection)
    show(found, as_json=as_json, title="organizations")


@click.group("keys")
def keys_group() -> None:
    """API keys."""


@keys_group.command("create")
@click.argument("organization")
@click.option("--name", default="default", show_default=True, help="What the key is for.")
@click.option("--expires-days", type=click.IntRange(min=1), help="Days until it expires.")
@click.option(
    "--token-ids-from",
    type=click.Choice(["model"]),
    help="Take this key's arrays of integers for ids of the model's own vocabulary.",
)
@as_json
@asynchronous
async def create_key(
    organization: str, *, name: str, expires_days: int | None, token_ids_from: Any, as_json: bool
) -> None:
    """Make a key. It is shown this once: only a digest is kept."""
    async with opened() as database, opened_keys(database) as keys:
        async with database.read() as connection:
            owner = await organizations.find(connection, organization)
        made = await keys.create(
            owner.id, name, expires_at=_in_days(expires_days), token_ids_from=token_ids_from
        )
    if as_json:
        show({**msgspec.to_builtins(made.key), "secret": made.secret}, as_json=True)
    else:
        show(made.key, as_json=False, columns=["id", "name", "expires_at"])
        say(f"\n{made.secret}\n\nKeep it: it is not shown again.")


@keys_group.command("list")
@click.argument("organization", required=False)
@as_json
@asynchronous
async def list_keys(organization: str | None, *, as_json: bool) -> None:
    """List an organization's keys, or all."""
    async with opened() as database, opened_keys(database) as keys:
        owner_id = None
        if organization is not None:
            async with database.read() as connection:
                owner_id = (await organizations.find(connection, organization)).id
        found = await keys.listed(owner_id)
    columns = ["id", "name", "last_four", "created_at", "expires_at", "revoked_at"]
    show(found, as_json=as_json, title="keys", columns=columns)


@keys_group.command("budget")
@click.argument("key_id")
@click.argument("dollars")
@click.option("--period", type=click.Choice(["month", "total"]), default="month", show_default=True)
@asynchronous
async def set_key_budget(key_id: str, dollars: str, *, period: Any) -> None:
    """Let a key spend only so much in a month or ever; `none` lifts the limit."""
    limit = None if dollars == "none" else billing.nanos_of_dollars(dollars)
    async with opened() as database, opened_keys(database) as keys:
        await keys.set_budget(key_id, limit, period)
    say(f"Budget of {key_id}: {'none' if limit is None else f'{money(limit)} ({period})'}.")


@keys_group.command("revoke")
@click.argument("key_id")
@asynchronous
async def revoke_key(key_id: str) -> None:
    """End a key for good; running gateways refuse it within a second."""
    async with opened() as database, opened_keys(database) as keys:
        await keys.revoke(key_id)
    say(f"Revoked {key_id}.")


@click.group("credits")
def credits_group() -> None:
    """Credit, in dollars with up to nine decimals."""


@credits_group.command("grant")
@click.argument("organization")
@click.argument("dollars")
@click.option("--kind", type=click.Choice(["promo", "paid"]), default="promo", show_default=True)
@click.option("--ref", help="Grants with the same reference are granted once.")
@click.option("--expires-days", type=click.IntRange(min=1), help="Days until what is left goes.")
@asynchronous
async def grant_credit(
    organization: str, dollars: str, *, kind: Any, ref: str | None, expires_days: int | None
) -> None:
    """Give an organization credit."""
    amount = billing.nanos_of_dollars(dollars)
    async with opened() as database, database.write() as connection:
        owner = await organizations.find(connection, organization)
        granted = await billing.grant(
            connection,
            owner.id,
            amount,
            kind=kind,
            source_ref=ref,
            expires_at=_in_days(expires_days),
        )
        balance = await billing.balance(connection, owner.id)
    done = f"Granted {money(amount)}" if granted else "Granted before, so nothing changed"
    say(f"{done}. {owner.name} has {money(balance.available_nanos)}.")


@credits_group.command("balance")
@click.argument("organization")
@as_json
@asynchronous
async def show_balance(organization: str, *, as_json: bool) -> None:
    """Show what an organization may spend, and where it came from."""
    async with opened() as database, database.read() as connection:
        owner = await organizations.find(connection, organization)
        balance = await billing.balance(connection, owner.id)
    if as_json:
        show(balance, as_json=True)
        return
    held = money(balance.reserved_nanos)
    say(f"{money(balance.available_nanos)} available, {held} of it held by gateways")
    columns = ["kind", "amount_nanos", "remaining_nanos", "source_ref", "expires_at"]
    show(balance.lots, as_json=False, title="lots", columns=columns)


@credits_group.command("ledger")
@click.argument("organization")
@click.option("--before", type=int, help="Show what stands before this entry.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@as_json
@asynchronous
async def show_ledger(organization: str, *, before: int | None, limit: int, as_json: bool) -> None:
    """Show an organization's ledger, newest first."""
    async with opened() as database, database.read() as connection:
        owner = await organizations.find(connection, organization)
        entries = await billing.ledger(connection, owner.id, before=before, limit=limit)
    show(entries, as_json=as_json, title="entries")


@click.group("models")
def models_group() -> None:
    """The catalogue."""


@models_group.command("list")
@as_json
@asynchronous
async def list_models(*, as_json: bool) -> None:
    """List the models, their state, price and dimensions."""
    async with opened() as database, database.read() as connection:
        snapshot = await catalog.snapshot(connection)
    if as_json:
        show([entry(model) for model in snapshot.models.values()], as_json=True)
        return
    for model in snapshot.models.values():
        price = money(model.price.nanos_per_million_tokens)
        flex = money(model.price_of("flex").nanos_per_million_tokens)
        dimensions = ", ".join(map(str, model.dimensions))
        say(
            f"{model.id}  {model.state}  {price} / 1M tokens (flex {flex})  dimensions {dimensions}"
        )


@models_group.command("price")
@click.argument("model")
@click.argument("dollars")
@click.option("--flex", is_flag=True, help="The price of requests that may wait.")
@asynchronous
async def price_model(model: str, dollars: str, *, flex: bool) -> None:
    """Set a model's price for a million tokens; what was billed before stays as it is."""
    nanos = billing.nanos_of_dollars(dollars)
    async with opened() as database, database.write() as connection:
        if model not in (await catalog.snapshot(connection)).models:
            raise NotFound(f"There is no model {model!r}; see gateway models list.")
        tier: Tier = "flex" if flex else "default"
        await catalog.set_price(connection, model, nanos, tier=tier)
    say(f"{model} costs {money(nanos)} / 1M tokens{' in the tier flex' if flex else ''}.")


@models_group.command("launch")
@click.argument("model")
@click.option("--price", help="Dollars for a million tokens; the estimate, unless given.")
@asynchronous
async def launch_model(model: str, *, price: str | None) -> None:
    """Make a model live, and mail voters and the waitlist, once each.

    A running gateway must have a ready worker of it.
    """
    async with opened() as database:
        async with database.read() as connection:
            told = await orders.reports(connection)
            known = (await catalog.snapshot(connection)).models.get(model)
        ready = any(one.model == model and one.worker.state is State.READY for one in told)
        nanos = known.price.nanos_per_million_tokens if known else 0
        if price is not None:
            nanos = billing.nanos_of_dollars(price)
        async with database.write() as connection:
            await launches.launch(connection, model, ready=ready, nanos_per_million_tokens=nanos)
    say(f"{model} is live at {money(nanos)} / 1M tokens. Running gateways mail who asked for it.")


@models_group.command("demand")
@click.argument("model")
@as_json
@asynchronous
async def show_demand(model: str, *, as_json: bool) -> None:
    """Show who wants a model, in parts, and what became of its launch."""
    async with opened() as database, database.read() as connection:
        funnel = await events.funnel(connection, model)
        parts = await score.parts(connection, model)
        converted = await launches.conversion(connection, model)
    if as_json:
        show({"funnel": funnel, "score": parts, "conversion": converted}, as_json=True)
        return
    say("  ".join(f"{kind} {count}" for kind, count in funnel.items()) or "Nothing yet.")
    show(parts, as_json=False, title="score")
    if converted is not None:
        show(converted, as_json=False, title="launch")


@click.command("audit")
@as_json
@asynchronous
async def audit(*, as_json: bool) -> None:
    """Check the invariants of the money; exits 1 when one is broken."""
    async with opened() as database, database.read() as connection:
        breaches = await invariants.audit(connection)
    if as_json:
        found = [{"name": b.invariant.name, "culprits": b.culprits} for b in breaches]
        show(found, as_json=True)
    else:
        broken = {breach.invariant.name: breach.culprits for breach in breaches}
        for invariant in invariants.INVARIANTS:
            culprits = broken.get(invariant.name)
            mark = f"BROKEN by {', '.join(culprits)}" if culprits else "ok"
            say(f"{invariant.name}: {mark}  ({invariant.rule})")
    if breaches:
        sys.exit(1)


@click.command("estimate")
@click.argument("model")
@click.argument("texts", nargs=-1, required=True)
@click.option("--prompt-name", help="One of the model's prompts.")
@as_json
@asynchronous
async def estimate(
    model: str, texts: tuple[str, ...], *, prompt_name: str | None, as_json: bool
) -> None:
    """Count the tokens of texts and what embedding them would cost."""
    async with opened() as database, database.read() as connection:
        known = (await catalog.snapshot(connection)).find(model)
    if known is None or (prompt_name and prompt_name not in known[0].prompts):
        raise NotFound(f"There is no model {model!r} with such a prompt; see gateway models list.")
    found, suffix = known
    maker = RowMaker(
        tokens.load(),
        dimensions=found.dimensions_default,
        tokens_max=found.tokens_max,
        prompt=found.prompts.get(prompt_name or suffix or "", ""),
    )
    rows = maker.from_texts(texts, truncate=None)
    cost = found.price.cost_nanos(rows.tokens)
    if as_json:
        counts = [row.tokens for row in rows.rows]
        show({"tokens": rows.tokens, "cost_nanos": str(cost), "inputs": counts}, as_json=True)
    else:
        say(f"{rows.tokens} tokens, {money(cost)}")


@click.command("migrate")
@asynchronous
async def migrate() -> None:
    """Bring the database to this version's schema and catalogue."""
    settings = Settings.from_environment()
    database = Database(settings.database_url, connections_max=2)
    try:
        await schema.upgrade(database)
        async with database.write() as connection:
            await catalog.seed(connection)
    finally:
        await database.close()
    say("The database is up to date.")


@click.command("settings")
@click.option("--markdown", is_flag=True, help="Print docs/settings.md.")
def settings(*, markdown: bool) -> None:
    """List every setting, its default and what it does."""
    rows = describe()
    if markdown:
        say("# Settings\n\nPrinted by `gateway settings --markdown`.\n")
        say("| variable | default | what it does |\n| --- | --- | --- |")
        for name, default, sentence in rows:
            say(f"| `{name}` | `{default}` | {sentence.replace('|', '/')} |")
        return
    for name, default, sentence in rows:
        say(f"{name}={default}\n    {sentence}")


@click.command("dev")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option("--data", type=click.Path(path_type=Path), default=development.DATA)
@click.option("--stella-weights", help="Serve Stella too: a folder of weights, or a hub id.")
def dev(*, port: int, data: Path, stella_weights: str | None) -> None:
    """Run everything on this machine: database, a model, the gateway, a key to call it with."""
    development.run(port, data, stella_weights)


COMMANDS = (
    organizations_group,
    keys_group,
    credits_group,
    models_group,
    workers_group,
    audit,
    estimate,
    migrate,
    settings,
    dev,
)


def _in_days(days: int | None) -> datetime | None:
    return datetime.now(UTC) + timedelta(days=days) if days else None
