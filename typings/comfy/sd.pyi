from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .model_patcher import ModelPatcher

class VAE:
    first_stage_model: nn.Module
    patcher: ModelPatcher
    latent_channels: int
    downscale_ratio: int
    upscale_ratio: int
    # Of the weights in bytes; measured again where it is None.
    size: int | None
    vae_dtype: torch.dtype
    device: torch.device
    # Bytes for pictures of a shape (n, c, h, w).
    memory_used_encode: Callable[[tuple[int, ...], torch.dtype], float]
    # In place, or not: it differs between versions.
    process_output: Callable[[Tensor], Tensor]
    def __init__(self, sd: dict[str, Tensor], *, config: dict[str, Any], dtype: torch.dtype) -> None: ...
    def decode(self, samples_in: Tensor) -> Tensor: ...
    def encode(self, pixel_samples: Tensor) -> Tensor: ...
    def get_sd(self) -> dict[str, Tensor]: ...

def load_lora_for_models(
    model: ModelPatcher,
    clip: None,
    lora: dict[str, Tensor],
    strength_model: float,
    strength_clip: float,
) -> tuple[ModelPatcher, None]: ...
