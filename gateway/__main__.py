"""The command `gateway`: an expected error prints one line, never a traceback."""

from __future__ import annotations

import sys


def main() -> None:
    """Run one command. Ctrl-C ends it quietly, even while modules are still being imported."""
    try:
        from gateway.cli.main import run  # noqa: PLC0415

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
