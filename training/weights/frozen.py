"""The precision of the weights that a LoRA leaves as they are; the adapters stay float32."""

from __future__ import annotations

from torch import Tensor, bfloat16, float8_e4m3fn, float32, nn
from torch.nn.utils import parametrize

from keysync.errors import KeySyncError
from keysync.network.stage import Stage

from .lora import MARK

# Of the weights in memory. fp8 is the layers' weights only; they are computed in bf16.
FP32, BF16, FP8 = FROZEN = ("fp32", "bf16", "fp8")


class Widened(nn.Module):
    """A weight in 8 bits, as a layer reads it."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.to(bfloat16)


def hold(stage: Stage, precision: str) -> Stage:
    """The same stage with all but its adapters in this precision, one of `FROZEN`.

    Raises `KeySyncError` where this PyTorch or device does not cast from 8 bits.
    """
    dtype = float32 if precision == FP32 else bfloat16
    for name, parameter in stage.named_parameters():
        if MARK not in name:
            parameter.data = parameter.data.to(dtype)
    if precision == FP8:
        for name, layer in list(stage.unet.named_modules()):
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv3d) and MARK not in name:
                layer.weight.data = layer.weight.data.to(float8_e4m3fn)
                parametrize.register_parametrization(layer, "weight", Widened(), unsafe=True)
        _check_cast(stage)
    return stage


def _check_cast(stage: Stage) -> None:
    weight = next(part for part in stage.parameters() if part.dtype == float8_e4m3fn)
    try:
        weight[:1].to(bfloat16)
    except RuntimeError as error:
        raise KeySyncError(
            f"this PyTorch does not cast weights from 8 bits ({str(error).splitlines()[0]}): choose bf16"
        ) from error
