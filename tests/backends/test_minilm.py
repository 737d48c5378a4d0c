"""The embedded worker: the contract, and that its vectors are meaningful."""

import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.minilm.engine import DIMENSIONS, MODEL, MiniLMEngine, WrongModel
from backends.protocol import TokenRow
from backends.registry import connect
from testing.processes import running
from tests.backends.contract import BackendContract, Subject, floats


@pytest.fixture(scope="module")
def worker() -> Iterator[Subject]:
    with running("backends.minilm") as process:
        # int8 quantizes activations by the batch's range, so values depend on the other rows
        yield Subject(process.url, dimensions=DIMENSIONS, tolerance=0.02)


class TestMiniLM(BackendContract):
    pass


async def test_similar_words_are_closer(worker: Subject):
    """cat (4937) and kitten (18401) against economy (4610)."""
    rows = [
        TokenRow(struct.pack("<3I", 101, word, 102), DIMENSIONS) for word in (4937, 18401, 4610)
    ]
    backend = connect(worker.url)
    cat, kitten, economy = map(floats, await backend.embed(rows, timeout_seconds=10))
    assert (await backend.info(timeout_seconds=5)).model == MODEL
    await backend.close()
    near = sum(a * b for a, b in zip(cat, kitten, strict=True))
    far = sum(a * b for a, b in zip(cat, economy, strict=True))
    assert near > far + 0.2


def test_another_file_is_refused(tmp_path: Path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not the model")
    with pytest.raises(WrongModel, match="sha256"):
        MiniLMEngine(path)


def test_it_ends_with_its_parent():
    command = [sys.executable, "-m", "backends.minilm", "--exit-with-stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        assert child.stdout
        assert child.stdout.readline().startswith(b"listening on http://127.0.0.1:")
        child.stdin.close()
        assert child.wait(timeout=20) == 0
