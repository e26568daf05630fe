"""The precision of the weights that a LoRA leaves as they are; the adapters stay float32."""

from __future__ import annotations

import torch
from torch import Tensor, bfloat16, float8_e4m3fn, float32, nn
from torch.nn.utils import parametrize

from keysync.errors import KeySyncError, one_line
from keysync.network.stage import Stage

from ..config.config import BF16, FP8, FP32
from .lora import MARK


class Widened(nn.Module):
    """A weight in 8 bits, as a layer reads it."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.to(bfloat16)


def hold(stage: Stage, precision: str, device: torch.device | str = "cpu") -> Stage:
    """The same stage with all but its adapters in this precision, one of `FROZEN`.

    fp8 is the layers' weights only; they are computed in bf16. Raises `KeySyncError` where PyTorch does not cast from 8
    bits on the device that it will run on.
    """
    if precision == FP8:
        _check_cast(device)
    dtype = float32 if precision == FP32 else bfloat16
    for name, parameter in stage.named_parameters():
        if MARK not in name:
            parameter.data = parameter.data.to(dtype)
    if precision == FP8:
        for name, layer in list(stage.unet.named_modules()):
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv3d) and MARK not in name:
                layer.weight.data = layer.weight.data.to(float8_e4m3fn)
                parametrize.register_parametrization(layer, "weight", Widened(), unsafe=True)
    return stage


def _check_cast(device: torch.device | str) -> None:
    try:
        torch.zeros(1, dtype=float8_e4m3fn).to(device).to(bfloat16)
    except (RuntimeError, TypeError) as error:
        raise KeySyncError(
            f"PyTorch cannot hold weights in 8 bits on {device} ({one_line(error)}): choose {BF16}"
        ) from error
