"""LoRA adapters: low-rank changes B A of the U-Net's attention and feed-forward layers, and their files.

A file holds `diffusion_model.<layer>.lora_A.weight` (r, in), `.lora_B.weight` (out, r) and `.alpha`, the names that
ComfyUI's LoRA loaders know; W + alpha / r * B A is the merged weight (Hu et al., 2021, §4.1).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keysync.errors import KeySyncError
from keysync.network.stage import Stage, StageSpec
from keysync.weights.files import read_tensors, write_tensors
from keysync.weights.finite import check_weights
from keysync.weights.stage_format import metadata_of, on_meta

if TYPE_CHECKING:
    from ..config.config import TrainConfig


LAYERS = r".*\.(attn[12]\.to_(q|k|v|out\.0)|ff(_in)?\.net\.(0\.proj|2))"
ADAPTER = "default"  # the part of the tensors' names that peft gives its only adapter
PREFIX = "diffusion_model."
MARK = ".lora_"


class AdaptedLinear(nn.Module):
    """A linear layer plus alpha / rank * B A of its input; B is zero at first. The names of the tensors are peft's.

    A and B are float32, whatever the layer's precision, and computed in that of the input.
    """

    def __init__(self, layer: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base_layer = layer
        self.lora_A = nn.ModuleDict({ADAPTER: nn.Linear(layer.in_features, rank, bias=False)})
        self.lora_B = nn.ModuleDict({ADAPTER: nn.Linear(rank, layer.out_features, bias=False)})
        self.alpha, self.scaling = alpha, alpha / rank
        self.enabled = True
        nn.init.kaiming_uniform_(self._factor("A"), a=math.sqrt(5))
        nn.init.zeros_(self._factor("B"))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base_layer(x)
        if not self.enabled:
            return out
        change = F.linear(F.linear(x, self._factor("A").to(x.dtype)), self._factor("B").to(x.dtype))
        return out + change * self.scaling

    @property
    def bias(self) -> Tensor:
        """What the layer gives for zeros, to which the adapter adds nothing."""
        return self.base_layer.bias

    def change(self) -> Tensor:
        """What the adapter adds to the layer's weight: (out, in)."""
        return self._factor("B") @ self._factor("A") * self.scaling

    def _factor(self, name: str) -> Tensor:
        held: nn.ModuleDict = self.lora_A if name == "A" else self.lora_B
        weight: Any = held[ADAPTER].weight
        factor: Tensor = weight
        return factor


def is_lora(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors are adapters, in our layout or another."""
    return any(MARK in name for name in tensors)


def adapted(stage: Stage, config: TrainConfig) -> Stage:
    """The same stage with adapters inserted, which initially change nothing; only they are trained."""
    stage.requires_grad_(False)
    layers = [
        (name, module)
        for name, module in stage.unet.named_modules()
        if isinstance(module, nn.Linear) and re.fullmatch(LAYERS, name)
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        for name, layer in layers:
            owner, _, own_name = name.rpartition(".")
            setattr(
                stage.unet.get_submodule(owner), own_name, AdaptedLinear(layer, config.lora_rank, config.lora_alpha)
            )
    return stage


@contextmanager
def without_adapters(stage: Stage) -> Iterator[None]:
    """Inside, an adapted stage gives what it gave before it was adapted."""
    layers = [module for module in stage.modules() if isinstance(module, AdaptedLinear)]
    for layer in layers:
        layer.enabled = False
    try:
        yield
    finally:
        for layer in layers:
            layer.enabled = True


def lora_tensors(state: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """The adapters in the state dict of an adapted stage, under the names of a file."""
    tensors = {theirs: state[ours].detach().cpu() for ours, theirs in _file_names(state).items()}
    layers = dict.fromkeys(name.partition(MARK)[0] for name in tensors)
    return {**tensors, **{f"{layer}.alpha": torch.tensor(alpha) for layer in layers}}


def write_lora(
    path: Path, spec: StageSpec, state: Mapping[str, Tensor], config: TrainConfig, metadata: Mapping[str, str]
) -> None:
    """Writes the adapters in the state dict of an adapted stage. Raises `KeySyncError` as `write_tensors` does."""
    ours = metadata_of(spec)
    adapters = {
        "keysync.lora.rank": str(config.lora_rank),
        "keysync.lora.alpha": str(config.lora_alpha),
        "modelspec.architecture": f"{ours['modelspec.architecture']}/lora",
        "modelspec.title": f"LoRA for the {ours['modelspec.title']}",
    }
    write_tensors(lora_tensors(state, config.lora_alpha), path, {**ours, **adapters, **metadata})


def load_lora(stage: Stage, path: Path) -> None:
    """Fills the adapters of an adapted stage from a file.

    Raises `KeySyncError` for a file of another stage, rank or network, and for missing or unknown adapters.
    """
    tensors, metadata = read_tensors(path)
    made_for = metadata.get("keysync.stage", stage.spec.name)
    if made_for != stage.spec.name:
        raise KeySyncError(f"{path} is a LoRA for the {made_for} stage: expected one for the {stage.spec.name} stage")
    own = stage.state_dict()
    alpha = next(layer.alpha for layer in stage.modules() if isinstance(layer, AdaptedLinear))
    needed = lora_tensors(own, alpha)
    for problem, names in {
        "missing": [name for name in needed if name not in tensors],
        "unknown": [name for name in tensors if name not in needed],
        "misshapen": [name for name in needed if name in tensors and tensors[name].shape != needed[name].shape],
    }.items():
        if names:
            raise KeySyncError(f"{path} does not fit this network and rank: {len(names)} {problem}, first {names[0]}")
    check_weights(path, tensors)
    other = [name for name in needed if name.endswith(".alpha") and not torch.equal(tensors[name], needed[name])]
    if other:
        theirs = float(tensors[other[0]])
        raise KeySyncError(
            f"{path} has {other[0]} {theirs:g} but lora_alpha is {alpha:g}: set lora_alpha to {theirs:g}"
        )
    with torch.no_grad():
        for ours, name in _file_names(own).items():
            own[ours].copy_(tensors[name])


def read_adapters(stage: Stage, path: Path) -> dict[str, Tensor]:
    """The adapters in a file, under the names of the parameters of an adapted stage that it was written for."""
    tensors = read_tensors(path)[0]
    return {ours: tensors[theirs] for ours, theirs in _file_names(stage.state_dict()).items()}


def merged(stage: Stage) -> Stage:
    """A plain stage that is equivalent to an adapted one, which stays unchanged."""
    plain = on_meta(stage.spec)
    weights = {}
    with torch.no_grad():
        for name in plain.state_dict():
            owner, _, kind = name.rpartition(".")
            module = stage.get_submodule(owner)
            if isinstance(module, AdaptedLinear):
                change = module.change() if kind == "weight" else 0.0
                weights[name] = getattr(module.base_layer, kind) + change
            else:
                weights[name] = getattr(module, kind).clone()
    plain.load_state_dict(weights, assign=True)
    return plain.train(stage.training)


def _file_names(state: Iterable[str]) -> dict[str, str]:
    """The file's name of each adapter in a stage's state dict."""
    found = (re.fullmatch(rf"unet\.(.+{MARK}[AB])\.{ADAPTER}\.weight", name) for name in state)
    return {match[0]: f"{PREFIX}{match[1]}.weight" for match in found if match}
