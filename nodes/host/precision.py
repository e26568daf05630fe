"""The core's models in float32 for a while, and attention that does not depend on how much memory is free."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.ldm.modules.attention
import comfy.ldm.modules.diffusionmodules.model
import comfy.model_base
import comfy.model_management
import comfy.sd
import torch
from torch import Tensor, nn

from ...keysync.network.precision import HALVES


def on_cpu(device: torch.device) -> bool:
    """Whether the network runs on a CPU: there the same seed gives the same picture, whatever memory is free."""
    return bool(comfy.model_management.is_device_cpu(device))


def is_half(model: comfy.model_base.BaseModel) -> bool:
    """Whether a MODEL computes in half precision."""
    return (model.manual_cast_dtype or model.diffusion_model.dtype) in HALVES


@contextmanager
def in_float32(model: comfy.model_base.BaseModel) -> Iterator[None]:
    """A MODEL computes in float32 inside; its weights stay as they are and are cast layer by layer."""
    with _float32(model, "manual_cast_dtype"), _casting(model.diffusion_model):
        yield


@contextmanager
def vae_in_float32(vae: comfy.sd.VAE) -> Iterator[None]:
    """A VAE computes in float32 inside; its weights stay as they are and are cast layer by layer."""
    with _float32(vae, "vae_dtype"), _casting(vae.first_stage_model):
        yield


@contextmanager
def _float32(owner: Any, attribute: str) -> Iterator[None]:
    before = getattr(owner, attribute)
    setattr(owner, attribute, torch.float32)
    try:
        yield
    finally:
        setattr(owner, attribute, before)


@contextmanager
def _casting(network: nn.Module) -> Iterator[None]:
    """The core's layers cast their weights to the dtype of what they are given, as they do when memory is scarce."""
    layers: list[Any] = [layer for layer in network.modules() if hasattr(layer, "comfy_cast_weights")]
    before = [layer.comfy_cast_weights for layer in layers]
    try:
        for layer in layers:
            layer.comfy_cast_weights = True
        yield
    finally:
        for layer, casts in zip(layers, before, strict=True):
            layer.comfy_cast_weights = casts


def pinned_attention(chosen: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """The core's hook for its attention: PyTorch's own, where the core would cut it up by the memory that is free."""
    return comfy.ldm.modules.attention.attention_pytorch(*args, **kwargs)


@contextmanager
def pinned_vae(vae: comfy.sd.VAE) -> Iterator[None]:
    """Inside, attention in a VAE on a CPU does not depend on the memory that is free."""
    model = comfy.ldm.modules.diffusionmodules.model
    layers: list[Any] = []
    if on_cpu(vae.device):
        layers = [layer for layer in vae.first_stage_model.modules() if isinstance(layer, model.AttnBlock)]
    before = [layer.optimized_attention for layer in layers]
    try:
        for layer in layers:
            layer.optimized_attention = model.pytorch_attention
        yield
    finally:
        for layer, attention in zip(layers, before, strict=True):
            layer.optimized_attention = attention
