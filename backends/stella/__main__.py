"""`stella-worker`: serve the Stella model on a port or a unix socket."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from backends.options import DRAIN_SECONDS_DEFAULT, add_options, options_of, secret_of
from backends.stella.door import KEY_VARIABLE, OpenAIDoor


def main() -> None:
    """Serve until told to stop."""
    args = _parser().parse_args()
    listening = options_of(args)
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
    door = OpenAIDoor(args.openai_key or secret_of(KEY_VARIABLE), is_local=listening.is_local)
    if door.notice:
        _report(door.notice)
    app = StellaApp(metrics, door)
    process.serve(
        app,
        listening,
        service="stella-worker",
        warm_up=partial(warm_up, options, app, metrics, _report),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stella-worker", description=__doc__)
    add_options(parser, drain_seconds=DRAIN_SECONDS_DEFAULT)
    add = parser.add_argument
    add("--weights", required=True, help="a folder in the published layout, or a hub id")
    add("--revision", help="the hub id's full commit (Stella itself is already pinned)")
    add("--model", default="NovaSearch/stella_en_400M_v5", help="the name to serve it under")
    add("--device", choices=["cpu", "cuda"], help="default: cuda where there is one")
    add("--dtype", choices=["float32", "float16", "bfloat16"], help="default: float16 on cuda")
    add("--threads", type=_positive, help="threads that compute on a CPU")
    add("--batch-tokens", type=_positive, help="tokens in one batch (16384 on cuda, 2048 on cpu)")
    add("--openai-key", default="", help=f"key of /v1/embeddings; rather set {KEY_VARIABLE}")
    add("--queue-tokens", type=_positive, help="tokens that may wait (16 batches)")
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
