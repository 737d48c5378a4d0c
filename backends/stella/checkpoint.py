"""A checkpoint in the published layout: a folder, checked completely before weights are read.

    config.json  model.safetensors  vocab.txt  sentence_bert_config.json
    config_sentence_transformers.json  1_Pooling/config.json
    2_Dense_<D>/{config.json,model.safetensors}  one for each native dimension

Only safetensors are read, never pickles or code. Keys may have the prefix `new.`. Extra tensors and
files are tolerated; a missing tensor, a different shape or a different vocabulary is not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from backends.stella.config import StellaConfig, WrongCheckpoint, read_config, read_json
from backends.stella.model import Heads, Trunk

Progress = Callable[[str], None]

VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
"""bert-base-uncased's vocab.txt; the gateway counts and bills with the same file."""
_PREFIX = "new."
_HEAD_FOLDER = "2_Dense_"
_NAMED_MAX = 5
"""Most differing tensors that a refusal names."""
_PROGRESS_STEPS = 10
_CHUNK_BYTES = 1 << 24


class Checkpoint:
    """A folder that was checked, except for the weights' values."""

    def __init__(self, folder: Path) -> None:
        """Check the folder. Raises WrongCheckpoint, naming what differs."""
        if not folder.is_dir():
            raise WrongCheckpoint(f"{folder} is not a folder")
        self.folder = folder
        self.config: StellaConfig = read_config(folder / "config.json")
        self.vocabulary = folder / "vocab.txt"
        _check_vocabulary(self.vocabulary)
        _check_pooling(folder / "1_Pooling" / "config.json")
        self.tokens_max = _tokens_max(folder / "sentence_bert_config.json", self.config)
        self.prompts = _prompts(folder / "config_sentence_transformers.json")
        self.native = _native_dimensions(folder, self.config)
        with torch.device("meta"):
            self.trunk_shapes = _shapes(Trunk(self.config))
        _check_tensors(self.weights, self.trunk_shapes)
        for dimensions in self.native:
            shapes = {
                "linear.weight": (dimensions, self.config.hidden_size),
                "linear.bias": (dimensions,),
            }
            _check_tensors(self.head(dimensions), shapes)

    @property
    def weights(self) -> Path:
        """The trunk's file."""
        return self.folder / "model.safetensors"

    def head(self, dimensions: int) -> Path:
        """Return the head's file."""
        return self.folder / f"{_HEAD_FOLDER}{dimensions}" / "model.safetensors"

    def load(
        self, device: torch.device, dtype: torch.dtype, progress: Progress
    ) -> tuple[Trunk, Heads]:
        """Load the weights, one tensor at a time, straight to the device.

        The trunk takes `dtype`, the heads float32. Raises WrongCheckpoint for NaN or infinity.
        """
        with torch.device("meta"):
            trunk = Trunk(self.config)
            heads = Heads(self.config.hidden_size, self.native)
        state = dict(
            _tensors(self.weights, self.trunk_shapes, device, dtype, _steps(progress, "weights"))
        )
        trunk.load_state_dict(state, assign=True)
        state = {
            f"linear.{dimensions}.{name.removeprefix('linear.')}": tensor
            for dimensions in self.native
            for name, tensor in _tensors(
                self.head(dimensions), ("linear.weight", "linear.bias"), device, torch.float32
            )
        }
        heads.load_state_dict(state, assign=True)
        progress(f"heads: {', '.join(map(str, self.native))}")
        return trunk, heads

    def fingerprint(self) -> str:
        """Hash config and weights to 12 hex digits, wherever the folder came from."""
        digest = hashlib.sha256()
        paths = [self.folder / "config.json", self.weights, *map(self.head, self.native)]
        for path in paths:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
        return digest.hexdigest()[:12]


def _check_vocabulary(path: Path) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise WrongCheckpoint(f"{path} is missing") from None
    if found != VOCABULARY_SHA256:
        raise WrongCheckpoint(
            f"{path} has sha256 {found}, not bert-base-uncased's {VOCABULARY_SHA256}: "
            "ids would mean different words here than in the gateway"
        )


def _check_pooling(path: Path) -> None:
    modes = {name: on for name, on in read_json(path).items() if name.startswith("pooling_mode_")}
    chosen = sorted(name for name, on in modes.items() if on)
    if chosen != ["pooling_mode_mean_tokens"]:
        raise WrongCheckpoint(f"{path}: pooling is {chosen}, this worker computes the mean")


def _tokens_max(path: Path, config: StellaConfig) -> int:
    tokens = read_json(path).get("max_seq_length")
    if not isinstance(tokens, int) or not 2 < tokens <= config.max_position_embeddings:
        raise WrongCheckpoint(
            f"{path}: max_seq_length is {tokens!r}, not 3 to {config.max_position_embeddings}"
        )
    return tokens


def _prompts(path: Path) -> dict[str, str]:
    prompts = read_json(path).get("prompts") or {}
    if not all(isinstance(text, str) for text in prompts.values()):
        raise WrongCheckpoint(f"{path}: a prompt is not a text")
    return dict(prompts)


def _native_dimensions(folder: Path, config: StellaConfig) -> tuple[int, ...]:
    found = []
    for path in folder.glob(f"{_HEAD_FOLDER}*/config.json"):
        name = path.parent.name.removeprefix(_HEAD_FOLDER)
        if not name.isdecimal():
            raise WrongCheckpoint(f"{path.parent}: {name!r} is not a number of dimensions")
        wanted = {
            "in_features": config.hidden_size,
            "out_features": int(name),
            "bias": True,
            "activation_function": "torch.nn.modules.linear.Identity",
        }
        raw = read_json(path)
        for key, value in wanted.items():
            if raw.get(key) != value:
                raise WrongCheckpoint(f"{path}: {key} is {raw.get(key)!r}, not {value!r}")
        found.append(int(name))
    if not found:
        raise WrongCheckpoint(f"{folder} has no {_HEAD_FOLDER}<D> folder, so no dimension to serve")
    return tuple(sorted(found))


def _shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _check_tensors(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    with _opened(path, torch.device("cpu")) as file:
        names = _names(file)
        wrong = []
        for name, shape in shapes.items():
            if name not in names:
                wrong.append(f"{name} is missing")
            elif (found := tuple(file.get_slice(names[name]).get_shape())) != shape:
                wrong.append(f"{name} is {list(found)}, not {list(shape)}")
    if wrong:
        more = f" and {len(wrong) - _NAMED_MAX} more" if len(wrong) > _NAMED_MAX else ""
        raise WrongCheckpoint(f"{path}: {'; '.join(wrong[:_NAMED_MAX])}{more}")


def _tensors(
    path: Path,
    wanted: Mapping[str, object] | tuple[str, ...],
    device: torch.device,
    dtype: torch.dtype,
    progress: Callable[[float], None] = lambda _: None,
) -> Iterator[tuple[str, torch.Tensor]]:
    with _opened(path, device) as file:
        names = _names(file)
        for done, name in enumerate(wanted, start=1):
            tensor = file.get_tensor(names[name]).to(dtype)
            if not bool(torch.isfinite(tensor).all()):
                raise WrongCheckpoint(
                    f"{path}: {name} contains NaN or infinity as {dtype}; download it again"
                )
            progress(done / len(wanted))
            yield name, tensor


def _opened(path: Path, device: torch.device) -> safe_open:
    try:
        return safe_open(path, framework="pt", device=str(device))
    except FileNotFoundError:
        pickled = path.with_name("pytorch_model.bin").exists()
        hint = " (pytorch_model.bin is there, but pickles are never read)" if pickled else ""
        raise WrongCheckpoint(f"{path} is missing{hint}") from None
    except SafetensorError as error:
        raise WrongCheckpoint(f"{path} is incomplete: {error}; download it again") from None


def _names(file: Any) -> dict[str, str]:
    """Map the model's names to those in the file."""
    return {name.removeprefix(_PREFIX): name for name in file.offset_keys()}


def _steps(progress: Progress, what: str) -> Callable[[float], None]:
    """Report progress at every 10 %."""
    reported = 0

    def report(share: float) -> None:
        nonlocal reported
        if (step := int(share * _PROGRESS_STEPS)) > reported:
            reported = step
            progress(f"{what}: {100 * step // _PROGRESS_STEPS} %")

    return report
