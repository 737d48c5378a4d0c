"""`gateway models check`: whether this catalog may be shown."""

from __future__ import annotations

import sys

import rich_click as click

from gateway.cli.printing import as_json, asynchronous, opened, say, show
from gateway.control_plane.back_office import model_control
from gateway.control_plane.catalog import review


@click.command("check", epilog="Example: gateway models check")
@as_json
@asynchronous
async def check_models(*, as_json: bool) -> None:
    """Check the words and facts of all models.

    It reads the data files, and looks for models in the database without words. The exit status is
    1 if anything is wrong.
    """
    found = list(review.problems())
    async with opened() as database, database.read() as connection:
        unwritten = await model_control.unwritten(connection)
    found += [f"{model_id}: nobody has written its page" for model_id in unwritten]
    if as_json:
        show(found, as_json=True)
    else:
        say("\n".join(found) or "Every model has reviewed words and sourced facts.")
    sys.exit(bool(found))
