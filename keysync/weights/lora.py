"""Applies a LoRA to a stage: each layer that it names becomes W + alpha / r * B A (Hu et al., 2021, §4.1)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import KeySyncError
from ..network.stage import Stage
from .files import read_tensors
from .finite import check_weights

PREFIX = "diffusion_model."
UP, DOWN, ALPHA = ".lora_B.weight", ".lora_A.weight", ".alpha"
STAGE = "keysync.stage"


def apply_lora(path: Path, *stages: Stage) -> Stage:
    """Changes the one of the stages that the file was trained for; returns it.

    Raises `KeySyncError` for a file that is no LoRA of one of these networks.
    """
    tensors, metadata = read_tensors(path)
    layers = [name.removesuffix(UP) for name in tensors if name.endswith(UP)]
    if not layers:
        raise KeySyncError(f"{path} is not a LoRA: expected a file of training.export with adapters", about="lora")
    made_for = metadata.get(STAGE)
    stage = next((stage for stage in stages if stage.spec.name == made_for), None)
    if stage is None:
        names = " or ".join(stage.spec.name for stage in stages)
        raise KeySyncError(f"{path} is a LoRA for {made_for or 'an unknown model'}: expected {names}", about="lora")
    check_weights(path, tensors)
    changes = {layer: _change(path, tensors, layer) for layer in layers}
    networks = dict(stage.unet.named_modules())
    with torch.no_grad():
        for layer, change in changes.items():
            module = networks.get(layer.removeprefix(PREFIX))
            if not isinstance(module, nn.Linear) or module.weight.shape != change.shape:
                raise KeySyncError(f"{path} does not fit this network: {layer} differs", about="lora")
        for layer, change in changes.items():
            module = stage.unet.get_submodule(layer.removeprefix(PREFIX))
            weight = module.get_parameter("weight")
            weight.copy_(weight.float() + change.to(weight.device))
    return stage


def _change(path: Path, tensors: dict[str, Tensor], layer: str) -> Tensor:
    """What is added to a layer's weight (out, in), in float32."""
    up, down, alpha = (tensors.get(layer + part) for part in (UP, DOWN, ALPHA))
    if up is None or down is None or up.ndim != 2 or down.ndim != 2 or up.shape[1] != len(down):
        raise KeySyncError(f"{path} is not a LoRA: {layer} lacks a half that fits the other", about="lora")
    scale = 1.0 if alpha is None else float(alpha) / max(len(down), 1)
    return up.float() @ down.float() * scale
