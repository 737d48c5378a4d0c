"""The real process around a computer that breaks on demand: `python -m ...fragile_worker`.

A row whose second id is BREAK raises what torch raises when the device fails; HOLD says
`holding` and waits until the test writes a line to stdin. The engine is made only after a line
came, too.
"""

import os
import sys
from collections.abc import Sequence

from backends import process
from backends.fake import vector
from backends.options import Options
from backends.protocol import TokenRow, WorkerInfo
from backends.stella.app import StellaApp
from backends.stella.engine import StellaEngine
from backends.stella.metrics import Metrics
from tests.backends.stella.golden_set import TINY

BREAK, HOLD = 666, 777


class Fragile:
    vocabulary_size = 30_522

    def embed(self, rows: Sequence[TokenRow]) -> list[bytes]:
        seconds = {int.from_bytes(row.ids[4:8], "little") for row in rows}
        if HOLD in seconds:
            sys.stdout.write("holding\n")
            sys.stdout.flush()
            os.read(sys.stdin.fileno(), 1)
        if BREAK in seconds:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return [vector(row.ids, row.dimensions) for row in rows]


def main() -> None:
    metrics = Metrics()
    app = StellaApp(metrics)

    def warm_up() -> StellaEngine:
        from backends.stella.tokenizer import Tokenizer

        app.warming = "weights: 40 %"
        os.read(sys.stdin.fileno(), 1)
        info = WorkerInfo(
            model="fragile",
            revision="0",
            dtype="float32",
            dimensions=(8,),
            tokens_max=16,
            rows_max=8,
            batch_tokens_max=64,
            vocabulary_sha256="",
        )
        engine = StellaEngine(info, Fragile(), metrics, batch_tokens=16)
        app.open(engine, Tokenizer(TINY / "vocab.txt"), {})
        return engine

    process.serve(app, Options(drain_seconds=0.5), service="test", warm_up=warm_up)


if __name__ == "__main__":
    main()
