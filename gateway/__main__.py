"""The command `gateway`: one line for whatever is in the way, never a trace."""

from __future__ import annotations

import os
import sys

from litestar.cli.main import litestar_group
from sqlalchemy.exc import SQLAlchemyError

from gateway import cli, dev
from gateway.errors import GatewayError
from gateway.settings import SettingsError
from gateway.storage.database import DatabaseError


def main() -> None:
    """Run one command."""
    dev.use_environment()
    if sys.argv[1:2] != ["dev"]:  # `dev` makes the application itself, as it configures it
        os.environ.setdefault("LITESTAR_APP", "gateway.app:create_app")
    os.environ.setdefault("LITESTAR_QUIET_CONSOLE", "1")
    for command in cli.COMMANDS:
        litestar_group.add_command(command)
    try:
        litestar_group(prog_name="gateway")
    except (GatewayError, SettingsError, DatabaseError, dev.CannotStart) as error:
        sys.exit(f"gateway: {error}")
    except (SQLAlchemyError, OSError) as error:
        sys.exit(f"gateway: the database does not answer: {error}")


if __name__ == "__main__":
    main()
