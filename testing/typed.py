"""Commands as pages tell people to type them: does the command line take them?"""

import shlex

import rich_click as click
from click.exceptions import UsageError

from gateway.cli.lazy import Later
from gateway.cli.main import gateway


def flaw(line: str) -> str | None:
    """Return why a command can't be typed so."""
    command: click.Command = gateway
    arguments = shlex.split(line)[1:]
    while isinstance(command, click.Group) and arguments:
        found = command.commands.get(arguments[0])
        if found is None:
            return f"{line}: no {arguments[0]}"
        command = found.load() if isinstance(found, Later) else found
        arguments = arguments[1:]
    context = click.Context(command)
    try:
        given, left, _ = command.make_parser(context).parse_args(arguments)
        for one in command.params:
            if isinstance(one.type, click.Choice) and given.get(one.name):
                one.type.convert(given[one.name], one, context)
    except UsageError as error:
        return f"{line}: {error.message}"
    missing = [
        one.name for one in command.params
        if one.required and one.name not in given and (arguments or isinstance(one, click.Option))
    ]  # fmt: skip
    return f"{line}: {left or missing}" if left or (arguments and missing) else None
