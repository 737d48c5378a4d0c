"""`python -m benchmarks.gateway`: measure the gateway beside others, and write the page.

The parts are {parts}. All of them take under twelve minutes on two cores that do nothing else, and
write docs/benchmarks/gateway.md; with --parts, only those run, and print what they find. --short
runs ours alone, for seconds. Ends with 1 if one of our answers was no 200, or a charge isn't exact.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.gateway import books, contenders, machine, native, page, parts
from benchmarks.gateway.bench import KEYS, Bench
from benchmarks.gateway.contenders import OURS, OURS_SQLITE
from benchmarks.gateway.figures import Section
from benchmarks.gateway.profile import profile
from testing import servers

_PARTS: Mapping[str, Callable[[Bench], Section]] = {**parts.PARTS, "profile": profile}
_SHORT_PARTS = ["saturated", "endurance"]
_FOLDER = Path("build/bench")
_PAGE = Path("docs/benchmarks/gateway.md")
_OWNERS = 10


def main() -> int:
    """Run the command; returns its exit status."""
    chosen = _arguments()
    folder = chosen.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        native.compile_programs(folder)
    except native.NoCompiler as error:
        print(error)
        return 1
    with _bench(chosen, folder) as bench:
        sections = []
        for name in chosen.parts:
            began = time.monotonic()
            section = _PARTS[name](bench)
            sections.append(section)
            print(f"\n## {section.title}\n\n{section.text}\n", flush=True)
            print(f"({name}: {time.monotonic() - began:.0f} s)\n", flush=True)
        if chosen.parts == list(_PARTS):
            page.write(_PAGE, bench, sections)
    for problem in bench.problems:
        print(f"BROKEN  {problem}")
    return 1 if bench.problems else 0


def _arguments() -> argparse.Namespace:
    about = (__doc__ or "").format(parts=", ".join(_PARTS))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=about)
    parser.add_argument("--parts", nargs="+", choices=list(_PARTS), help="which parts to run")
    parser.add_argument("--seconds", type=float, default=2.5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=500_000, help="of the long load")
    parser.add_argument("--short", action="store_true", help="ours alone, for seconds")
    parser.add_argument("--install", action="store_true", help="get nginx with apt, unpacked here")
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="for all that is built")
    chosen = parser.parse_args()
    if chosen.short:
        chosen.seconds, chosen.rounds = 0.5, 1
        chosen.requests = min(chosen.requests, 5_000)
        chosen.parts = chosen.parts or _SHORT_PARTS
    chosen.parts = chosen.parts or list(_PARTS)
    return chosen


@contextlib.contextmanager
def _bench(chosen: argparse.Namespace, folder: Path) -> Iterator[Bench]:
    """Start what all parts use."""
    cores = machine.divide()
    database = folder / "gateway.db"
    for leftover in folder.glob("gateway.db*"):
        leftover.unlink() if leftover.is_file() else None
    fresh = parts.COLD_KEYS * chosen.rounds if "keys" in chosen.parts else 0
    with servers.postgresql() as server, native.stand_in(folder) as worker:
        urls = {OURS: server, OURS_SQLITE: f"sqlite:///{database}"}
        each = (KEYS + fresh) // _OWNERS
        keys = {
            OURS: books.prepare(urls[OURS], worker.url, owners=_OWNERS, keys_each=each),
            OURS_SQLITE: books.prepare(
                urls[OURS_SQLITE], worker.url, owners=_OWNERS, keys_each=KEYS // _OWNERS
            ),
        }
        peers = (
            []
            if chosen.short
            else list(contenders.others(worker, keys[OURS][:KEYS], folder, install=chosen.install))
        )
        yield Bench(
            folder=folder,
            cores=cores,
            worker=worker,
            urls=urls,
            keys=keys,
            peers=peers,
            seconds=chosen.seconds,
            rounds=chosen.rounds,
            requests=chosen.requests,
        )


if __name__ == "__main__":
    sys.exit(main())
