"""The group of all commands, and the one line printed when a command fails."""

from __future__ import annotations

import os
import sys

import rich_click as click

from gateway.cli.dev_environment import CannotStart, use_environment
from gateway.cli.lazy import Later, LazyGroup
from gateway.errors import GatewayError
from gateway.settings import SettingsError


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stella-gateway", message="%(package)s %(version)s")
def gateway() -> None:
    """The embeddings gateway, for the people who run it.

    Commands read the server's settings from the environment (`gateway settings` lists them) and
    work on its database while it runs. In a folder where `gateway dev` ran, they use its database.
    """


for name, source, sentence in (
    (
        "dev",
        "dev:dev",
        "Run everything on this machine: database, a model, the gateway, a key to call it with.",
    ),
    (
        "run",
        "service:serve",
        "Run the gateway until SIGTERM or Ctrl-C; requests in flight are still answered.",
    ),
    ("migrate", "migrate:migrate", "Bring the database to this version's schema and catalog."),
    (
        "move",
        "relocation:move",
        "Move everything from SQLite to the empty, migrated PostgreSQL database in DATABASE_URL.",
    ),
    (
        "export",
        "transfers:export_organization",
        "Close a suspended organization here, and write the file that continues it elsewhere.",
    ),
    (
        "import",
        "transfers:import_organization",
        "Continue an organization here, once, from a file that `gateway export` wrote.",
    ),
    ("settings", "settings:settings", "List every setting, its default and what it does."),
    (
        "secrets",
        "secrets:secrets_group",
        "The deployment's secret: create one, rotate it, see when the old one can be dropped.",
    ),
    (
        "check",
        "check:check",
        "Check the database, Redis, mail, workers and Stripe, and look for conflicting settings.",
    ),
    (
        "organizations",
        "accounts:organizations_group",
        "Organizations own keys, credit and usage.",
    ),
    ("keys", "accounts:keys_group", "API keys."),
    ("credits", "billing:credits_group", "Credit, in dollars with up to nine decimals."),
    ("billing", "payments:billing_group", "Payments through Stripe."),
    ("receipts", "receipts:receipts_group", "Receipts: what responses cost, signed."),
    ("models", "catalog:models_group", "The model catalog."),
    ("demand", "market:demand_group", "Models by demand, and their votes."),
    ("launches", "launches:launches_group", "Launches; `gateway models launch` starts one."),
    ("waitlist", "market:waitlist_group", "Who is waiting for a model."),
    ("workers", "workers:workers_group", "Workers, as the running gateways see them."),
    (
        "incidents",
        "incidents:incidents_group",
        "Incidents, and what the public is told about them.",
    ),
    ("mail", "mail:mail_group", "Emails: recipients and delivery."),
    (
        "attention",
        "attention:attention_group",
        "What needs an operator now, the worst first.",
    ),
    (
        "search",
        "attention:search_all",
        "Find anything by id or name: emails, organizations, ends of keys, payments, requests.",
    ),
    (
        "trail",
        "trail:trail_group",
        "The audit trail: what operators, members and commands did.",
    ),
    (
        "operators",
        "operators:operators_group",
        "The people who run the service, in the back office and on the command line.",
    ),
    ("events", "events:events_group", "Stripe's events of the last 30 days."),
    (
        "books",
        "books:show_books",
        "Show a running gateway's last audits, and every account's balance at that time.",
    ),
    (
        "audit",
        "trail:audit",
        "Check the ledger's invariants and the audit trail; exit with 1 if one is broken.",
    ),
    (
        "estimate",
        "catalog:estimate",
        "Count the tokens of texts and compute what embedding them would cost.",
    ),
):
    gateway.add_command(Later(name, source, sentence))


def run() -> None:
    """Run one command; an expected error prints one line."""
    words = sys.argv[1:]
    # `run` must be configured explicitly, and `dev` writes that file itself
    if words[:1] not in (["run"], ["dev"]):
        use_environment()
    if words[:1] == ["settings"] or {"--help", "-h"} & set(words):
        os.environ.setdefault("GATEWAY_SECRET", "unused: this command reads and writes nothing")
    try:
        gateway(prog_name="gateway")
    except Exception as error:
        line = _line(error)
        if line is None:
            raise
        sys.exit(f"gateway: {line}")


def _line(error: Exception) -> str | None:
    """Return what to print about an expected error; None for one that is a defect."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - imported already, where it matters

    from gateway.storage.database import DatabaseError  # noqa: PLC0415
    from gateway.storage.schema import reason  # noqa: PLC0415

    if isinstance(error, (GatewayError, SettingsError, DatabaseError, CannotStart)):
        return str(error)
    if isinstance(error, (SQLAlchemyError, OSError)):
        return f"the database does not answer: {reason(error)}"
    return None
