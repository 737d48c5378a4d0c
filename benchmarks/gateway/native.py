"""The two programs in C, compiled on the spot: the load, and a stand-in worker.

In Python either would be slower than what is measured.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec

from backends.protocol import WorkerInfo
from benchmarks.gateway.loads import Pace
from gateway.control_plane.catalog import cards
from gateway.data_plane.metering.tokens import BERT_UNCASED_SHA256
from testing import servers
from testing.gateways import STELLA

_SOURCES = Path(__file__).parent / "native"
_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror")


class NoCompiler(Exception):
    """There is no C compiler here."""


class Answers(msgspec.Struct, frozen=True):
    """What came back."""

    ok: int
    client_errors: int
    server_errors: int
    broken: int
    """Requests whose connection ended, or that had no answer in time."""
    charged: int
    """Nano-dollars, as the answers say."""
    seconds: float
    rate: float
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def all(self) -> int:
        """All answers."""
        return self.ok + self.client_errors + self.server_errors


class StandIn:
    """The worker: a unix socket for the hop, a port for OpenAI's form."""

    def __init__(self, socket: Path, port: int) -> None:
        self.socket = socket
        self.url = f"unix:{socket}"
        self.port = port


def compile_programs(folder: Path) -> None:
    """Compile both into a folder. Raises NoCompiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise NoCompiler(
            "There is no C compiler (cc): the load and the stand-in worker are in C, since in "
            "Python they would be slower than what is measured. Install gcc or clang."
        )
    for source in _SOURCES.glob("*.c"):
        out = str(folder / source.stem)
        subprocess.run([compiler, *_FLAGS, "-o", out, str(source), "-lm"], check=True)


@contextlib.contextmanager
def stand_in(folder: Path) -> Iterator[StandIn]:
    """Run the worker until the block ends. Raises nothing that is expected."""
    card = next(card for card in cards.reviewed() if card.id == STELLA)
    info = WorkerInfo(
        model=STELLA,
        revision="stand-in",
        dtype="float32",
        dimensions=tuple(card.dimensions),
        tokens_max=card.tokens_max,
        rows_max=2_048,
        batch_tokens_max=300_000,
        vocabulary_sha256=BERT_UNCASED_SHA256,
    )
    made = StandIn(folder / "worker.sock", servers.free_port())
    made.socket.unlink(missing_ok=True)
    words = [str(made.socket), str(made.port), msgspec.json.encode(info).decode()]
    with subprocess.Popen(
        [str(folder / "stand_in"), *words], stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "listening\n"
            yield made
        finally:
            child.kill()


def send(
    folder: Path,
    requests: Path,
    port: int,
    *,
    pace: Pace,
    seconds: float,
    count: int = 0,
) -> Answers:
    """Send the requests of a file in turn, and wait for every answer.

    `count` 0: for so many seconds, however many those are.
    """
    numbers = map(str, (port, pace.connections, seconds, pace.rate, count))
    done = subprocess.run(
        [str(folder / "load"), str(requests), *numbers],
        stdout=subprocess.PIPE,
        check=True,
        timeout=seconds + 60,
    )
    return msgspec.json.decode(done.stdout, type=Answers)
