"""Tokens per second of the Stella model: `python -m benchmarks.worker`.

Three loads (16 tokens per row, a mix, 512 per row), each computed in three ways side by side:

- packed: as the worker does
- padded: the same model over rows padded to the longest of each 32, as padding engines do
- GteModel: transformers' implementation, padded too, if transformers is installed

and, as the roofline, the rate of the model's matrix products alone in the same run. Rates count
real tokens only, no padding. Weights are random, which doesn't change the time. On a CPU, one layer
stands for the 24, because all rates scale with the layers.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from backends.protocol import TokenRow
from backends.stella.config import RopeScaling, StellaConfig
from backends.stella.embedder import Embedder
from backends.stella.model import Heads, Trunk
from backends.stella.worker import BATCH_TOKENS, DTYPES

Ids = np.ndarray[Any, np.dtype[np.uint32]]

GROUP_ROWS = 32
"""Rows that a padding engine computes together, in order of arrival."""
VOCABULARY_SIZE = 30_522
ROUNDS_MIN = 3
LAYERS = {"cuda": 24, "cpu": 1}
MIX = ((0.7, 8, 32), (0.25, 120, 240), (0.05, 350, 512))
"""Share of rows with their smallest and largest size: questions, passages, long documents."""


class Setting(NamedTuple):
    """What is measured, and on what."""

    config: StellaConfig
    trunk: Trunk
    device: torch.device
    dtype: torch.dtype
    batch_tokens: int
    seconds: float


def main() -> None:
    """Measure and print."""
    args = _arguments()
    device = torch.device(args.device)
    config = stella_config(args.layers or LAYERS[device.type])
    setting = Setting(
        config=config,
        trunk=random_trunk(config, device, DTYPES[args.dtype]),
        device=device,
        dtype=DTYPES[args.dtype],
        batch_tokens=args.batch_tokens or BATCH_TOKENS[device.type],
        seconds=args.seconds,
    )
    _report(setting, args.dtype)


def _report(setting: Setting, dtype: str) -> None:
    threads = f"{torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name() if setting.device.type == "cuda" else threads
    layers = setting.config.num_hidden_layers
    print(f"torch {torch.__version__} on {name}, {dtype}, {layers} of 24 layers")
    embedder, gte = _embedder(setting), gte_model(setting)
    line = "{:>6} {:>10} {:>12} {:>12} {:>10} {:>10} {:>10} {:>10}".format
    print(
        line("load", "packed", "products", "of products", "padded", "packed is", "Gte", "packed is")
    )
    for load, rows in loads(setting.batch_tokens).items():
        contenders = {
            "packed": packed(embedder, rows),
            "products": products(setting),
            "padded": padded(embedder, rows),
        }
        if gte is not None:
            contenders["gte"] = gte_padded(setting, gte, rows)
        tokens = sum(map(len, rows))
        rate = {name: tokens / took for name, took in best(contenders, setting.seconds).items()}
        own = rate["packed"]
        print(
            line(
                load,
                f"{own:,.0f}",
                f"{rate['products']:,.0f}",
                f"{own / rate['products']:.0%}",
                f"{rate['padded']:,.0f}",
                f"{own / rate['padded']:.2f}x",
                f"{rate['gte']:,.0f}" if gte else "n/a",
                f"{own / rate['gte']:.2f}x" if gte else "",
            )
        )


def stella_config(layers: int) -> StellaConfig:
    """Return the published sizes, with this number of layers."""
    return StellaConfig(
        hidden_size=1024,
        num_hidden_layers=layers,
        num_attention_heads=16,
        intermediate_size=4096,
        vocab_size=30_528,
        type_vocab_size=2,
        max_position_embeddings=8192,
        layer_norm_eps=1e-12,
        rope_theta=160_000,
        rope_scaling=RopeScaling("ntk", 2.0),
    )


def random_trunk(config: StellaConfig, device: torch.device, dtype: torch.dtype) -> Trunk:
    """Make a trunk of random weights."""
    with torch.device("meta"):
        trunk = Trunk(config)
    state = {
        name: (torch.randn(tensor.shape, device=device) * 0.02).to(dtype)
        for name, tensor in trunk.state_dict().items()
    }
    trunk.load_state_dict(state, assign=True)
    return trunk


def loads(batch_tokens: int) -> dict[str, list[Ids]]:
    """Make one batch of each load from a fixed seed."""
    source = np.random.default_rng(0)

    def mixed() -> int:
        pick = source.random()
        for share, smallest, largest in MIX:
            if pick < share:
                return int(source.integers(smallest, largest + 1))
            pick -= share
        return MIX[-1][2]

    def batch(size: Callable[[], int]) -> list[Ids]:
        rows: list[Ids] = []
        while (left := batch_tokens - sum(map(len, rows))) > 0:
            rows.append(source.integers(999, VOCABULARY_SIZE, min(size(), left), dtype=np.uint32))
        return rows

    return {"short": batch(lambda: 16), "mixed": batch(mixed), "512": batch(lambda: 512)}


def best(contenders: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Time the contenders in turns, so that a busy machine slows them all; returns best times."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for once in contenders.values():
        once()
    ends_at = time.perf_counter() + seconds * len(contenders)
    while time.perf_counter() < ends_at or len(times["packed"]) < ROUNDS_MIN:
        for name, once in contenders.items():
            started = time.perf_counter()
            once()
            times[name].append(time.perf_counter() - started)
    return {name: min(taken) for name, taken in times.items()}


def packed(embedder: Embedder, rows: Sequence[Ids]) -> Callable[[], object]:
    """Embed the batch as the worker does, including the copy of the vectors to the host."""
    batch = [TokenRow(row.astype("<u4").tobytes(), 1024) for row in rows]
    return lambda: embedder.embed(batch)


def padded(embedder: Embedder, rows: Sequence[Ids]) -> Callable[[], object]:
    """Embed the batch as a padding engine does: padding is computed but not counted."""
    groups = []
    for start in range(0, len(rows), GROUP_ROWS):
        group = rows[start : start + GROUP_ROWS]
        longest = max(map(len, group))
        groups.append(packed(embedder, [np.resize(row, longest) for row in group]))
    return lambda: [group() for group in groups]


def products(setting: Setting) -> Callable[[], object]:
    """Compute only the matrix products of all layers, on a full batch."""
    layers = [
        (
            layer.attention.qkv_proj,
            layer.attention.o_proj,
            layer.mlp.up_gate_proj,
            layer.mlp.down_proj,
        )
        for layer in setting.trunk.layers
    ]
    inputs = {
        size: torch.randn(setting.batch_tokens, size, device=setting.device, dtype=setting.dtype)
        for size in (setting.config.hidden_size, setting.config.intermediate_size)
    }

    @torch.inference_mode()
    def once() -> None:
        for tables in layers:
            for table in tables:
                functional.linear(inputs[table.weight.shape[1]], table.weight)
        if setting.device.type == "cuda":
            torch.cuda.synchronize()

    return once


def _embedder(setting: Setting) -> Embedder:
    with torch.device(setting.device):
        heads = Heads(setting.config.hidden_size, [1024])
        heads.load_state_dict({k: torch.randn_like(v) for k, v in heads.state_dict().items()})
    return Embedder(
        setting.trunk,
        heads,
        dtype=setting.dtype,
        device=setting.device,
        vocabulary_size=VOCABULARY_SIZE,
    )


def gte_model(setting: Setting) -> Any:
    """Make transformers' model with the same sizes; None if transformers isn't installed."""
    if importlib.util.find_spec("transformers") is None:
        return None
    import transformers  # noqa: PLC0415 - optional

    config = setting.config
    factor = config.rope_scaling.factor
    with torch.device(setting.device):
        model: Any = transformers.GteModel(
            transformers.GteConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.hidden_size,
                num_hidden_layers=config.num_hidden_layers,
                num_attention_heads=config.num_attention_heads,
                intermediate_size=config.intermediate_size,
                type_vocab_size=config.type_vocab_size,
                rope_parameters={
                    "rope_type": "linear",
                    "rope_theta": config.rope_theta * factor,
                    "factor": factor ** (2 / config.head_size),
                },
            )
        )
    model.eval()
    return model.to(dtype=setting.dtype)


def gte_padded(setting: Setting, model: Any, rows: Sequence[Ids]) -> Callable[[], object]:
    """Run transformers' model over the padded batch, including the mean."""
    groups = []
    for start in range(0, len(rows), GROUP_ROWS):
        group = rows[start : start + GROUP_ROWS]
        ids = np.zeros((len(group), max(map(len, group))), dtype=np.int64)
        for index, row in enumerate(group):
            ids[index, : len(row)] = row
        groups.append(torch.from_numpy(ids).to(setting.device))

    @torch.inference_mode()
    def once() -> None:
        for ids in groups:
            mask = (ids != 0).long()
            hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            ((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).cpu()

    return once


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker", description=__doc__)
    cuda = torch.cuda.is_available()
    parser.add_argument("--device", default="cuda" if cuda else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float16" if cuda else "float32", choices=list(DTYPES))
    parser.add_argument("--layers", type=int, help="24 on cuda, 1 on cpu")
    parser.add_argument("--batch-tokens", type=int, help="16384 on cuda, 2048 on cpu")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement")
    return parser.parse_args()


if __name__ == "__main__":
    main()
