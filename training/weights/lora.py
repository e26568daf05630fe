"""LoRA adapters: low-rank changes B A of the U-Net's attention and feed-forward layers, by peft, and their files.

A file holds `diffusion_model.<layer>.lora_A.weight` (r, in), `.lora_B.weight` (out, r) and `.alpha`, the names that
ComfyUI's LoRA loaders know; W + alpha / r * B A is the merged weight (Hu et al., 2021, §4.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from keysync.errors import KeySyncError, install_line
from keysync.network.stage import Stage, StageSpec
from keysync.weights.files import read_tensors, write_tensors
from keysync.weights.finite import check_weights
from keysync.weights.stage_format import metadata_of, on_meta

if TYPE_CHECKING:
    from ..config.config import TrainConfig


LAYERS = r".*\.(attn[12]\.to_(q|k|v|out\.0)|ff(_in)?\.net\.(0\.proj|2))"
ADAPTER = "default"  # peft's name for the only one
PREFIX = "diffusion_model."
MARK = ".lora_"


def is_lora(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors are adapters, in our layout or another."""
    return any(MARK in name for name in tensors)


def adapted(stage: Stage, config: TrainConfig) -> Stage:
    """The same stage with adapters inserted, which initially change nothing; only they are trained.

    Raises `KeySyncError` if peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise KeySyncError(f"LoRA needs peft: {install_line('peft')}") from error
    settings = LoraConfig(r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules=LAYERS)
    stage.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        inject_adapter_in_model(settings, stage.unet, ADAPTER)
    return stage


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
    layers: Iterable[Any] = stage.modules()
    alpha = next(layer.lora_alpha[ADAPTER] for layer in layers if hasattr(layer, "lora_alpha"))
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
    for ours, name in _file_names(own).items():
        own[ours].copy_(tensors[name])


def merged(stage: Stage) -> Stage:
    """A plain stage that is equivalent to an adapted one, which stays unchanged."""
    from peft.tuners.lora import LoraLayer

    plain = on_meta(stage.spec)
    weights = {}
    with torch.no_grad():
        for name in plain.state_dict():
            owner, _, kind = name.rpartition(".")
            module: Any = stage.get_submodule(owner)
            if isinstance(module, LoraLayer):
                change = module.get_delta_weight(ADAPTER) if kind == "weight" else 0.0
                weights[name] = getattr(module.get_base_layer(), kind) + change
            else:
                weights[name] = getattr(module, kind).clone()
    plain.load_state_dict(weights, assign=True)
    return plain.train(stage.training)


def _file_names(state: Iterable[str]) -> dict[str, str]:
    """The file's name of each adapter in a stage's state dict."""
    found = (re.fullmatch(rf"unet\.(.+{MARK}[AB])\.{ADAPTER}\.weight", name) for name in state)
    return {match[0]: f"{PREFIX}{match[1]}.weight" for match in found if match}
