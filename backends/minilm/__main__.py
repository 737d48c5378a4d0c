"""`python -m backends.minilm`: serve the embedded model on a port or a unix socket."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from backends import process, server
from backends.minilm.engine import MiniLMEngine, WrongModel


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m backends.minilm", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=0, help="TCP port (0: a free one)")
    parser.add_argument("--uds", type=Path, help="a unix socket, in place of the port")
    parser.add_argument("--threads", type=int, default=1, help="threads that compute")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when stdin ends")
    args = parser.parse_args()
    try:
        engine = MiniLMEngine(threads=args.threads)
    except (WrongModel, OSError) as error:
        sys.exit(f"minilm worker: {error}")
    app = server.WorkerApp(engine)
    process.serve(
        app,
        host=args.host,
        port=args.port,
        uds=args.uds,
        exit_with_stdin=args.exit_with_stdin,
    )


if __name__ == "__main__":
    main()
