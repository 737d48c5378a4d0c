"""What `gateway dev` leaves in its folder for other commands and for people: files of variables.

`gateway.env` holds the settings, `dev.env` the developer's address and key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

DATA = Path(".data")
STRIPE = "GATEWAY_STRIPE_"
"""The prefix of the variables for selling credit."""


class CannotStart(Exception):
    """Something on this machine prevents the start; the text says what."""


def use_environment(data: Path = DATA) -> None:
    """Point other commands at the database of `gateway dev`, unless they are configured."""
    if _is_set("GATEWAY_SECRET"):
        return
    sells_elsewhere = _is_set(f"{STRIPE}SECRET_KEY")
    for name, value in read_variables(data / "gateway.env").items():
        if not (_is_set(name) or (sells_elsewhere and name.startswith(STRIPE))):
            os.environ[name] = value


def _is_set(name: str) -> bool:
    """Tell whether a variable is in the environment, or in a file that the environment names."""
    return name in os.environ or f"{name}_FILE" in os.environ


def read_variables(file: Path) -> dict[str, str]:
    """Read `export` lines; empty if there is no file."""
    if not file.is_file():
        return {}
    lines = (line.removeprefix("export ") for line in file.read_text().splitlines())
    pairs = (line.partition("=") for line in lines)
    return {name: value for name, _, value in pairs}


def write_variables(file: Path, variables: Mapping[str, str]) -> None:
    """Write `export` lines atomically, readable by the owner only."""
    fresh = file.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as lines:
        lines.writelines(f"export {name}={value}\n" for name, value in variables.items())
    fresh.replace(file)
