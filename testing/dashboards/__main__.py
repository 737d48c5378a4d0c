"""`python -m testing.dashboards`: write every dashboard into the chart's files."""

from __future__ import annotations

import json

from testing.dashboards import marketplace, money, router, service, workers
from testing.dashboards.board import FOLDER

BOARDS = (service.board, money.board, router.board, workers.board, marketplace.board)


def written() -> dict[str, str]:
    """Return the content of each file, by its name."""
    made = [make() for make in BOARDS]
    return {f"{board.name}.json": json.dumps(board.made(), indent=2) + "\n" for board in made}


if __name__ == "__main__":
    for name, content in written().items():
        (FOLDER / name).write_text(content)
