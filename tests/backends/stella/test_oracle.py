"""The trunk against transformers' GteModel, an independent implementation, on random weights."""

import tempfile
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from backends.stella.config import RopeScaling, StellaConfig
from backends.stella.model import Trunk, pack

transformers = pytest.importorskip(
    "transformers", minversion="5.20.2", reason="the oracle: pip install --group oracle"
)

CPU = torch.device("cpu")


@st.composite
def configurations(draw: st.DrawFn) -> StellaConfig:
    heads, size = draw(st.integers(1, 4)), 2 * draw(st.integers(2, 16))
    return StellaConfig(
        hidden_size=heads * size,
        num_hidden_layers=draw(st.integers(1, 3)),
        num_attention_heads=heads,
        intermediate_size=draw(st.integers(3, 90)),
        vocab_size=200,
        type_vocab_size=2,
        max_position_embeddings=96,
        layer_norm_eps=1e-12,
        rope_theta=draw(st.sampled_from([10_000.0, 160_000.0])),
        rope_scaling=RopeScaling("ntk", draw(st.sampled_from([1.0, 2.0, 3.5]))),
    )


def oracle_of(config: StellaConfig, state: dict[str, torch.Tensor]) -> Any:
    """Let transformers load the published layout with its own reading of keys and halves."""
    factor = config.rope_scaling.factor
    settings = transformers.GteConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        type_vocab_size=config.type_vocab_size,
        max_position_embeddings=config.max_position_embeddings,
        layer_norm_eps=config.layer_norm_eps,
        hidden_act="gelu",
        pad_token_id=0,
        rope_parameters={
            "rope_type": "linear",
            "rope_theta": config.rope_theta * factor,
            "factor": factor ** (2 / config.head_size),
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        settings.save_pretrained(folder)
        published = {f"new.{name}": tensor for name, tensor in state.items()}
        save_file(published, f"{folder}/model.safetensors", metadata={"format": "pt"})
        model, report = transformers.GteModel.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    return model.eval()


@settings(max_examples=15)
@given(configurations(), st.integers(0, 2**31))
def test_hidden_states_agree(config: StellaConfig, seed: int):
    torch.manual_seed(seed)
    trunk = Trunk(config)
    state = {
        name: torch.randn(tensor.shape) * (0.2 if tensor.dim() > 1 else 0.5)
        for name, tensor in trunk.state_dict().items()
    }
    trunk.load_state_dict(state)
    oracle = oracle_of(config, state)
    source = np.random.default_rng(seed)
    rows = [source.integers(1, 200, size).astype(np.uint32) for size in (1, 7, 96, 30)]
    found = trunk.hidden(pack(rows, CPU), torch.float32)
    with torch.no_grad():
        expected = torch.cat(
            [
                oracle(torch.from_numpy(row.astype(np.int64))[None]).last_hidden_state[0]
                for row in rows
            ]
        )
    # the sizes of hidden states differ by configuration: compare with the largest of them
    assert float((found - expected).abs().max() / expected.abs().max()) <= 2e-5
