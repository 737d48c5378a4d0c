"""`python -m backends.minilm`: serve the embedded model on a port or a unix socket."""

from __future__ import annotations

import argparse
import sys

from backends import process, server
from backends.minilm.engine import MiniLMEngine, WrongModel
from backends.options import DRAIN_SECONDS_DEFAULT, add_options, options_of


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m backends.minilm", description=__doc__)
    add_options(parser, drain_seconds=DRAIN_SECONDS_DEFAULT)
    parser.add_argument("--threads", type=int, default=1, help="threads that compute")
    args = parser.parse_args()
    options = options_of(args)
    try:
        engine = MiniLMEngine(threads=args.threads)
    except (WrongModel, OSError) as error:
        sys.exit(f"minilm worker: {error}")
    app = server.WorkerApp(engine)
    process.serve(app, options, service="minilm-worker")


if __name__ == "__main__":
    main()
