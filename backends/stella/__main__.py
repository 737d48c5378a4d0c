"""`stella-worker`: serve the Stella model on a port or a unix socket."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

DRAIN_SECONDS_DEFAULT = 5.0
"""How long `/ready` says 503 before the server closes, so that every router sees it."""


def main() -> None:
    """Serve until told to stop."""
    args = _parser().parse_args()
    try:
        # imported after the arguments: --help needs no torch
        from backends import process  # noqa: PLC0415
        from backends.stella.app import StellaApp  # noqa: PLC0415
        from backends.stella.metrics import Metrics  # noqa: PLC0415
        from backends.stella.worker import WorkerOptions, warm_up  # noqa: PLC0415
    except ModuleNotFoundError as error:
        sys.exit(f"stella-worker: {error}; install the worker extra: stella-gateway[worker]")
    options = WorkerOptions(**{name: getattr(args, name) for name in WorkerOptions._fields})
    metrics = Metrics()
    app = StellaApp(metrics)
    process.serve(
        app,
        host=args.host,
        port=args.port,
        uds=args.uds,
        drain_seconds=args.drain_seconds,
        exit_with_stdin=args.exit_with_stdin,
        announce_to=args.announce,
        announce_as=args.announce_as,
        warm_up=partial(warm_up, options, app, metrics, _report),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stella-worker", description=__doc__)
    add = parser.add_argument
    add("--weights", required=True, help="a folder in the published layout, or a hub id")
    add("--revision", help="the hub id's full commit (Stella itself is already pinned)")
    add("--model", default="NovaSearch/stella_en_400M_v5", help="the name to serve it under")
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="TCP port (0: a free one)")
    add("--uds", type=Path, help="a unix socket, in place of the port")
    add("--device", choices=["cpu", "cuda"], help="default: cuda where there is one")
    add("--dtype", choices=["float32", "float16", "bfloat16"], help="default: float16 on cuda")
    add("--threads", type=_positive, help="threads that compute on a CPU")
    add("--batch-tokens", type=_positive, help="tokens in one batch (16384 on cuda, 2048 on cpu)")
    add("--queue-tokens", type=_positive, help="tokens that may wait (16 batches)")
    add("--drain-seconds", type=float, default=DRAIN_SECONDS_DEFAULT)
    add("--announce", action="append", default=[], metavar="GATEWAY", help="announce us to it")
    add("--announce-as", metavar="URL", help="the address at which gateways reach this worker")
    add("--exit-with-stdin", action="store_true", help="end when stdin ends")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _report(line: str) -> None:
    sys.stderr.write(f"stella-worker: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
