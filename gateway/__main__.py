"""The command `gateway`: one line for whatever is in the way, never a trace."""

from __future__ import annotations

import sys


def main() -> None:
    """Run one command. Ctrl-C ends it quietly, also while all of it is still being imported."""
    try:
        from gateway.cli.main import run  # noqa: PLC0415

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
