"""A folder that isn't the model is refused by name, before weights are read and by the process."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from backends.protocol import TokenRow
from backends.stella.checkpoint import Checkpoint
from backends.stella.config import WrongCheckpoint
from backends.stella.embedder import Embedder
from tests.backends.stella.conftest import replace
from tests.backends.stella.golden_set import TINY, Golden, check

CPU = torch.device("cpu")


def edit(path: Path, **changes: object) -> None:
    replace(path, json.dumps(json.loads(path.read_text()) | changes).encode())


def rewrite(
    path: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> None:
    tensors = change(load_file(path))
    path.unlink()
    save_file(tensors, path)


def without(name: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name}


def poisoned(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    tensors["encoder.layer.1.mlp.down_proj.weight"][3, 5] = float("nan")
    return tensors


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: replace(f / "config.json", b"{"), "is not JSON"),
        (lambda f: edit(f / "config.json", model_type="bert"), "model_type is 'bert'"),
        (lambda f: edit(f / "config.json", hidden_act="relu"), "hidden_act is 'relu'"),
        (lambda f: edit(f / "config.json", hidden_size="64"), "hidden_size"),
        (
            lambda f: edit(f / "config.json", rope_scaling={"type": "linear", "factor": 2.0}),
            "rope_scaling type is 'linear'",
        ),
        (lambda f: edit(f / "config.json", num_attention_heads=7), "doesn't split into 7 heads"),
        (lambda f: edit(f / "config.json", num_hidden_layers=4), "layer.3.*is missing.*and 6 more"),
        (lambda f: edit(f / "config.json", vocab_size=30_522), r"is \[30528, 64\], not \[30522"),
        (
            lambda f: edit(
                f / "1_Pooling" / "config.json",
                pooling_mode_cls_token=True,
                pooling_mode_mean_tokens=False,
            ),
            "pooling is .'pooling_mode_cls_token'",
        ),
        (lambda f: edit(f / "sentence_bert_config.json", max_seq_length=9000), "is 9000, not 3 to"),
        (lambda f: replace(f / "vocab.txt", b"[PAD]\n"), "vocab.txt has sha256 .* different words"),
        (lambda f: (f / "vocab.txt").unlink(), "vocab.txt is missing"),
        (
            lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
            "pickles are never read",
        ),
        (
            lambda f: rewrite(f / "model.safetensors", without("encoder.layer.2.attn_ln.bias")),
            "encoder.layer.2.attn_ln.bias is missing",
        ),
        (
            lambda f: edit(f / "2_Dense_768" / "config.json", out_features=512),
            "out_features is 512, not 768",
        ),
        (
            lambda f: rewrite(f / "2_Dense_256" / "model.safetensors", without("linear.bias")),
            "linear.bias is missing",
        ),
    ],
)
def test_what_differs_is_named(copy: Path, damage: Callable[[Path], object], says: str):
    damage(copy)
    with pytest.raises(WrongCheckpoint, match=says):
        Checkpoint(copy)


def truncate(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    replace(folder / "model.safetensors", content[: len(content) // 2])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (truncate, "model.safetensors is incomplete"),
        (
            lambda f: rewrite(f / "model.safetensors", poisoned),
            "encoder.layer.1.mlp.down_proj.weight contains NaN or infinity",
        ),
        (lambda f: replace(f / "vocab.txt", b"[PAD]\n"), "vocab.txt has sha256"),
    ],
    ids=["truncated", "poisoned", "vocabulary"],
)
def test_the_process_ends_with_a_sentence(copy: Path, damage: Callable[[Path], object], says: str):
    damage(copy)
    command = [sys.executable, "-m", "backends.stella", "--device", "cpu", "--weights", str(copy)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "ready" not in ended.stdout


def test_the_prefix_and_further_tensors_make_no_difference(copy: Path):
    rewrite(
        copy / "model.safetensors",
        lambda tensors: (
            {f"new.{name}": tensor for name, tensor in tensors.items()}
            | {"new.pooler.dense.weight": torch.zeros(2)}
        ),
    )
    golden = Golden(TINY)
    trunk, heads = Checkpoint(copy).load(CPU, torch.float32, lambda _: None)
    embedder = Embedder(trunk, heads, dtype=torch.float32, device=CPU, vocabulary_size=30_522)
    vectors = embedder.embed([TokenRow(golden.ids(i), 1024) for i in range(len(golden.rows))])
    found = np.stack([np.frombuffer(vector, "<f4") for vector in vectors])
    check(found, golden.expected(1024), "float32")


def test_the_fingerprint_follows_the_weights_not_the_folder(copy: Path):
    before = Checkpoint(copy).fingerprint()
    assert before == Checkpoint(TINY).fingerprint()
    rewrite(copy / "2_Dense_256" / "model.safetensors", lambda t: {k: v + 1 for k, v in t.items()})
    assert Checkpoint(copy).fingerprint() != before


def test_512_is_derived_only_where_there_is_1024(copy: Path):
    for path in (copy / "2_Dense_1024").iterdir():
        path.unlink()
    _, heads = Checkpoint(copy).load(CPU, torch.float32, lambda _: None)
    assert heads.dimensions == (256, 768, 2048, 4096, 6144, 8192)
