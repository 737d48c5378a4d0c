"""The command `gateway`: one line for whatever is in the way, never a trace."""

from __future__ import annotations

import os
import sys

from click import Group
from sqlalchemy.exc import SQLAlchemyError

from gateway import cli, dev
from gateway.errors import GatewayError
from gateway.settings import SettingsError
from gateway.storage.database import DatabaseError


def main() -> None:
    """Run one command."""
    words = sys.argv[1:]
    dev.use_environment()
    if {"--help", "-h", "settings"} & set(words):
        os.environ.setdefault("GATEWAY_SECRET", "of no use where nothing is read or written")
    try:
        if words[:1] == ["dev"]:  # it configures the application, so it makes it itself
            cli.dev(words[1:], prog_name="gateway dev")
        _extend_litestar()(prog_name="gateway")
    except (GatewayError, SettingsError, DatabaseError, dev.CannotStart) as error:
        sys.exit(f"gateway: {error}")
    except (SQLAlchemyError, OSError) as error:
        sys.exit(f"gateway: the database does not answer: {error}")


def _extend_litestar() -> Group:
    from litestar.cli.main import litestar_group  # noqa: PLC0415 - `dev` starts faster without

    os.environ.setdefault("LITESTAR_APP", "gateway.app:create_app")
    os.environ.setdefault("LITESTAR_QUIET_CONSOLE", "1")
    for command in cli.COMMANDS:
        litestar_group.add_command(command)
    return litestar_group


if __name__ == "__main__":
    main()
