"""What a Dockerfile says of the containers of its image, without building it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple


class Image(NamedTuple):
    """The configuration of an image."""

    env: dict[str, str]
    folder: str
    user: int
    group: int
    command: list[str]
    healthcheck: list[str]


def read(file: Path, target: str | None = None) -> Image:
    """Read a stage, by default the last one, with what it has of the stages that it is from."""
    stages: dict[str, Image] = {}
    name, current = "", Image({}, "/", 0, 0, [], [])
    for word, rest in _instructions(file.read_text()):
        match word:
            case "FROM":
                base, _, name = rest.partition(" AS ")
                current = stages.get(base, Image({}, "/", 0, 0, [], []))
            case "ENV":
                pairs = dict(pair.split("=", 1) for pair in shlex.split(rest))
                current = current._replace(env={**current.env, **pairs})
            case "WORKDIR":
                current = current._replace(folder=rest)
            case "USER":
                user, _, group = rest.partition(":")
                current = current._replace(user=int(user), group=int(group))
            case "CMD":
                current = current._replace(command=json.loads(rest))
            case "HEALTHCHECK":
                current = current._replace(healthcheck=json.loads(rest.partition("CMD ")[2]))
        stages[name] = current
    return stages[target] if target else current


def _instructions(text: str) -> list[tuple[str, str]]:
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    joined = re.sub(r"\\\n\s*", "", lines)
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in joined.split("\n"))
    ]
