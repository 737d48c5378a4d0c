"""The group of all commands, and what is said when one of them can't go on."""

from __future__ import annotations

import os
import sys

import rich_click as click
from sqlalchemy.exc import SQLAlchemyError

from gateway.cli import dev
from gateway.cli.accounts import keys_group, organizations_group
from gateway.cli.billing import audit, credits_group
from gateway.cli.catalog import estimate, models_group
from gateway.cli.mail import mail_group
from gateway.cli.service import dev as dev_command
from gateway.cli.service import migrate, serve, settings
from gateway.cli.workers import workers_group
from gateway.errors import GatewayError
from gateway.settings import SettingsError
from gateway.storage import migrate as schema
from gateway.storage.database import DatabaseError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stella-gateway", message="%(package)s %(version)s")
def gateway() -> None:
    """The embeddings gateway, for the people who run it.

    Commands read the settings that the server reads, from the environment (`gateway settings`
    lists them), and work on its database while it runs. In a folder where `gateway dev` ran,
    they find its database by themselves.
    """


for command in (
    dev_command,
    serve,
    migrate,
    settings,
    organizations_group,
    keys_group,
    credits_group,
    models_group,
    workers_group,
    mail_group,
    audit,
    estimate,
):
    gateway.add_command(command)


def run() -> None:
    """Run one command, with one clear line for what is in its way."""
    words = sys.argv[1:]
    if words[:1] != ["run"]:  # a service is configured, or it says so
        dev.use_environment()
    if words[:1] == ["settings"] or {"--help", "-h"} & set(words):
        os.environ.setdefault("GATEWAY_SECRET", "of no use where nothing is read or written")
    try:
        gateway(prog_name="gateway")
    except (GatewayError, SettingsError, DatabaseError, dev.CannotStart) as error:
        sys.exit(f"gateway: {error}")
    except (SQLAlchemyError, OSError) as error:
        sys.exit(f"gateway: the database does not answer: {schema.reason(error)}")
