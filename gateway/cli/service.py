"""`gateway run`: its options. `serving`, which imports the gateway, does the work."""

from __future__ import annotations

import rich_click as click


@click.command("run", epilog="Example: gateway run --host 0.0.0.0 --processes 4")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option("--uds", help="A unix socket to listen on instead.")
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="One per core; together they are one service.",
)
def serve(*, host: str, port: int, uds: str | None, processes: int) -> None:
    """Run the gateway until SIGTERM or Ctrl-C; requests in flight are still answered."""
    from gateway.cli import serving  # noqa: PLC0415

    serving.run(host=host, port=port, uds=uds, processes=processes)
