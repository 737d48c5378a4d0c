"""`gateway dev`: its options. `dev_running`, which imports the gateway, does the work."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from gateway.cli.dev_environment import DATA


@click.command("dev", epilog="Example: gateway dev --port 9000 --data /srv/gateway")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=DATA,
    show_default=True,
    help="The folder that holds everything: database, secret, key.",
)
@click.option("--stella-weights", help="Serve Stella too: a folder of weights, or a hub id.")
def dev(*, port: int, data: Path, stella_weights: str | None) -> None:
    """Run everything on this machine: database, a model, the gateway, a key to call it with."""
    from gateway.cli import dev_running  # noqa: PLC0415

    dev_running.run(port=port, data=data, stella_weights=stella_weights)
