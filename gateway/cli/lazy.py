"""Commands whose modules are imported when they run.

Listing a group's commands, or answering --version, imports nothing else. So each command's sentence
is listed with its name, and a test compares it with the command's own.
"""

from __future__ import annotations

from importlib import import_module

import rich_click as click


class Later(click.RichCommand):
    """A command that is imported when it runs: `source` is "module:name" within gateway.cli."""

    def __init__(self, name: str, source: str, sentence: str) -> None:
        super().__init__(name=name, help=sentence)
        self._module, _, self._name = source.partition(":")

    def load(self) -> click.Command:
        """Import the command."""
        found = getattr(import_module(f"gateway.cli.{self._module}"), self._name)
        assert isinstance(found, click.Command)
        return found


class LazyGroup(click.RichGroup):
    """A group whose commands may be `Later`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name, and import it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, Later) else command, rest
