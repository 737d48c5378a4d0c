"""The group of all commands, and the one line printed when a command fails."""

from __future__ import annotations

import os
import sys

import rich_click as click
from sqlalchemy.exc import SQLAlchemyError

from gateway.cli.accounts import keys_group, organizations_group
from gateway.cli.approvals import approve, list_approvals, reject
from gateway.cli.attention import attention_group, search_all
from gateway.cli.billing import credits_group
from gateway.cli.books import show_books
from gateway.cli.catalog import estimate, models_group
from gateway.cli.demand import launch_model, show_demand
from gateway.cli.dev import dev, use_environment
from gateway.cli.embedded_workers import CannotStart
from gateway.cli.events import events_group
from gateway.cli.launches import launches_group
from gateway.cli.mail import mail_group
from gateway.cli.market import demand_group, waitlist_group
from gateway.cli.model_edits import COMMANDS
from gateway.cli.operators import operators_group
from gateway.cli.payment_care import (
    abandon,
    mark_seen,
    refund,
    release,
    show_attention,
    show_auto_top_up,
    show_evidence,
)
from gateway.cli.payments import billing_group
from gateway.cli.receipts import receipts_group
from gateway.cli.service import migrate, serve, settings
from gateway.cli.trail import audit, trail_group
from gateway.cli.workers import workers_group
from gateway.errors import GatewayError
from gateway.settings import SettingsError
from gateway.storage.database import DatabaseError
from gateway.storage.migrate import reason


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stella-gateway", message="%(package)s %(version)s")
def gateway() -> None:
    """The embeddings gateway, for the people who run it.

    Commands read the server's settings from the environment (`gateway settings` lists them) and
    work on its database while it runs. In a folder where `gateway dev` ran, they use its database.
    """


for command in (
    dev,
    serve,
    migrate,
    settings,
    organizations_group,
    keys_group,
    credits_group,
    billing_group,
    receipts_group,
    models_group,
    demand_group,
    launches_group,
    waitlist_group,
    workers_group,
    mail_group,
    attention_group,
    search_all,
    trail_group,
    operators_group,
    events_group,
    show_books,
    audit,
    estimate,
):
    gateway.add_command(command)
for command in (
    refund,
    release,
    show_attention,
    mark_seen,
    abandon,
    show_evidence,
    show_auto_top_up,
):
    billing_group.add_command(command)
for command in (list_approvals, approve, reject):
    credits_group.add_command(command)
for command in COMMANDS:
    models_group.add_command(command)
models_group.add_command(launch_model)
models_group.add_command(show_demand)


def run() -> None:
    """Run one command; an expected error prints one line."""
    words = sys.argv[1:]
    # a service must be configured explicitly, and what serves the folder writes its file
    if words[:1] not in (["run"], ["dev"]):
        use_environment()
    if words[:1] == ["settings"] or {"--help", "-h"} & set(words):
        os.environ.setdefault("GATEWAY_SECRET", "unused: this command reads and writes nothing")
    try:
        gateway(prog_name="gateway")
    except (GatewayError, SettingsError, DatabaseError, CannotStart) as error:
        sys.exit(f"gateway: {error}")
    except (SQLAlchemyError, OSError) as error:
        sys.exit(f"gateway: the database does not answer: {reason(error)}")
