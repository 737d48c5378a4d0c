"""The command `gateway`: Litestar's own, and ours for the people who run the service.

Each prints for people, and JSON with `--json`. Commands read the same settings as the server and
work on its database while it runs.
"""

from gateway.cli.accounts import keys_group, organizations_group
from gateway.cli.credits import audit, credits_group
from gateway.cli.mail import mail_group
from gateway.cli.models import estimate, models_group
from gateway.cli.service import dev, migrate, settings
from gateway.cli.workers import workers_group

__all__ = ["COMMANDS", "dev"]

COMMANDS = (
    organizations_group,
    keys_group,
    credits_group,
    models_group,
    workers_group,
    mail_group,
    audit,
    estimate,
    migrate,
    settings,
    dev,
)
