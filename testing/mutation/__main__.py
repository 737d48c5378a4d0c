"""`python -m testing.mutation`: change one line of the heart at a time; does a test notice?

Writes docs/benchmarks/mutation.md. Which tests run each line is recorded first and kept in
build/mutation until a file of the tree changes. The same seed samples the same changes, and a
change elsewhere leaves the sample as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue

import msgspec

from testing import servers
from testing.mutation import page, sample, trial
from testing.mutation.changes import Change
from testing.mutation.sample import AREAS, Area, Meeting
from testing.mutation.tracing import Traced
from testing.mutation.trial import Tree, Verdict

_PAGE = Path("docs/benchmarks/mutation.md")
_EQUIVALENT = Path(__file__).with_name("equivalent.json")
_TRACE_SECONDS = 3_600.0
TESTS = (
    ("tests/data_plane",),
    ("tests/storage", "tests/backends", "tests/app", "tests/control_plane/accounts",
     "tests/control_plane/billing", "tests/control_plane/receipts", "tests/control_plane/workers"),
)  # fmt: skip
"""What may meet a change, in parts that are recorded side by side."""


def main() -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m testing.mutation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=60, help="begin no trial after them")
    parser.add_argument("--seconds", type=float, default=40, help="of tests for each change")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="files that hold this text")
    parser.add_argument("--files", nargs="+", default=[], help="these or their patterns instead")
    parser.add_argument("--tests", nargs="+", default=[], help="what may meet a change in --files")
    parser.add_argument("--queries", action="store_true", help="only what a query loses")
    parser.add_argument("--print", action="store_true", help="write no page, as with --files")
    args = parser.parse_args()
    ends = time.monotonic() + args.minutes * 60
    root = Path.cwd()
    areas = [Area(file, (file,), 1) for file in args.files] or AREAS
    tests = [(path,) for path in args.tests] or TESTS
    with contextlib.ExitStack() as stack:
        trees = [stack.enter_context(_tree(root)) for _ in range(args.processes)]
        meeting = Meeting(_traced(root, trees, areas, tests), args.seconds)
        chosen = [
            change
            for area in areas
            for change in sample.of_area(
                trees[0].root, area, args.changes, args.seed, only_queries=args.queries
            )
            if args.only in change.path
        ]
        random.Random(args.seed).shuffle(chosen)  # so that what time leaves out is of no one area
        verdicts = []
        for verdict in _verdicts(trees, meeting, chosen, ends):
            verdicts.append(verdict)
            said = f"seen by {verdict.seen_by}" if verdict.seen_by else "SURVIVED"
            print(f"{verdict.change}, {verdict.ran} tests: {said}", flush=True)
    equivalent = msgspec.json.decode(_EQUIVALENT.read_bytes(), type=list[page.Equivalent])
    written = page.write(
        verdicts, len(chosen), equivalent, areas, seed=args.seed, seconds=args.seconds
    )
    if args.print or args.files:
        print(written)
    else:
        (root / _PAGE).write_text(written)
    return 0


@contextlib.contextmanager
def _tree(root: Path) -> Iterator[Tree]:
    with (
        tempfile.TemporaryDirectory(prefix="mutation-") as folder,
        servers.postgresql(is_durable=False) as url,
    ):
        trial.copy(root, Path(folder))
        yield Tree(Path(folder), {servers.DATABASE: url})


def _traced(
    root: Path, trees: Sequence[Tree], areas: Sequence[Area], tests: Sequence[Sequence[str]]
) -> list[Traced]:
    """Return which tests run each line, as recorded before if nothing has changed since."""
    digest = sha256(repr((areas, tests)).encode())
    for file in sorted(trees[0].root.rglob("*")):
        if file.suffix in {".py", ".sql", ".toml"}:
            name = str(file.relative_to(trees[0].root))
            digest.update(b"%b\0%b\0" % (name.encode(), file.read_bytes()))
    kept = root / "build" / "mutation" / f"{digest.hexdigest()[:16]}.json"
    if not kept.exists():
        print("Recording which tests run each line ...", flush=True)
        free = _free(trees)

        def trace(paths: Sequence[str]) -> Traced:
            with _taken(free) as tree:
                files = [str(tree.root / pattern) for area in areas for pattern in area.files]
                return tree.trace(paths, files, _TRACE_SECONDS)

        with ThreadPoolExecutor(len(trees)) as threads:
            parts = list(threads.map(trace, tests))
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(msgspec.json.encode(parts))
    return msgspec.json.decode(kept.read_bytes(), type=list[Traced])


def _verdicts(
    trees: Sequence[Tree], meeting: Meeting, chosen: Sequence[Change], ends: float
) -> Iterator[Verdict]:
    """Try the changes side by side, each in a tree that is free."""
    free = _free(trees)

    def try_(change: Change) -> Verdict | None:
        if time.monotonic() > ends:
            return None
        tests, seconds = meeting.of(change)
        with _taken(free) as tree:
            return tree.try_(change, tests, seconds)

    with ThreadPoolExecutor(len(trees)) as threads:
        for tried in as_completed([threads.submit(try_, change) for change in chosen]):
            if (verdict := tried.result()) is not None:
                yield verdict


def _free(trees: Sequence[Tree]) -> SimpleQueue[Tree]:
    free: SimpleQueue[Tree] = SimpleQueue()
    for tree in trees:
        free.put(tree)
    return free


@contextlib.contextmanager
def _taken(free: SimpleQueue[Tree]) -> Iterator[Tree]:
    """Take a tree until the end: each runs one thing at a time."""
    tree = free.get()
    try:
        yield tree
    finally:
        free.put(tree)


if __name__ == "__main__":
    sys.exit(main())
