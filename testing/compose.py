"""docker-compose.yml as its readers see it: merged, and with the variables of a shell filled in."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

TOP = Path(__file__).parents[1]
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::([-?])([^}]*))?\})")


def read(
    variables: Mapping[str, str] | None = None, *, file: str = "docker-compose.yml"
) -> dict[str, Any]:
    """Read a compose file of this project. Raises KeyError for a variable that must be set."""
    given = variables or {}

    def fill(found: re.Match[str]) -> str:
        name, kind, default = found.groups()
        if name is None:
            return "$"
        if given.get(name):
            return given[name]
        if kind == "?":
            raise KeyError(f"{name}: {default}")
        return default or ""

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            return _VARIABLE.sub(fill, value)
        if isinstance(value, dict):
            return {key: filled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [filled(item) for item in value]
        return value

    found: dict[str, Any] = filled(yaml.safe_load((TOP / file).read_text()))
    return found
