"""`gateway settings`: every variable that the service reads."""

from __future__ import annotations

import rich_click as click

from gateway.cli.printing import say
from gateway.settings import SECRETS, describe, variable


@click.command("settings", epilog="Example: gateway settings --markdown")
@click.option("--markdown", is_flag=True, help="Print docs/settings.md.")
def settings(*, markdown: bool) -> None:
    """List every setting, its default and what it does."""
    rows = describe()
    if markdown:
        say("# Settings\n\nPrinted by `gateway settings --markdown`.\n")
        say(f"{_in_files()}\n")
        say("| variable | default | what it does |\n| --- | --- | --- |")
        for name, default, sentence in rows:
            say(f"| `{name}` | `{default}` | {sentence.replace('|', '/')} |")
        return
    for name, default, sentence in rows:
        say(f"{name}={default}\n    {sentence}")


def _in_files() -> str:
    """Say which settings may come from files."""
    *names, last = (f"`{variable(field)}`" for field in SECRETS)
    return (
        f"A secret may be in a file instead: `NAME_FILE` holds the file's path, where `NAME` is "
        f"{', '.join(names)} or {last}."
    )
