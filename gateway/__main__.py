"""The command `gateway`: an expected error prints one line, never a traceback."""

from __future__ import annotations

import gc
import sys

gc.set_threshold(50_000, 20, 100)
"""What is imported stays. At Python's 700, looking for garbage in it took a seventh of a start;
a service that has started has bounds of its own."""


def main() -> None:
    """Run one command. Ctrl-C ends it quietly, even while modules are still being imported."""
    try:
        from gateway.cli.main import run  # noqa: PLC0415

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
