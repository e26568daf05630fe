"""The precisions that the networks are measured in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .sheet import NotRunError, in_one_line

# The largest number of float8_e4m3fn.
LARGEST = 448.0


@dataclass(frozen=True)
class Precision:
    """`dtype` is computed in; with `eight_bits` the weights of all layers but norms are kept in float8_e4m3fn, half the
    size of float16, and cast whenever a layer is used."""

    name: str
    dtype: torch.dtype
    eight_bits: bool = False

    def check(self, device: str) -> None:
        """Raises `NotRunError` where a device cannot compute in it."""
        try:
            ones = torch.ones(2, 2, device=device, dtype=self.dtype)
            if self.eight_bits:
                ones = ones.to(torch.float8_e4m3fn).to(self.dtype)
            (ones @ ones).sum().item()
        except (RuntimeError, TypeError, AttributeError) as error:
            raise NotRunError(f"not on this card: {in_one_line(error)}") from error


# The first is what the others are compared with.
PRECISIONS = (
    Precision("fp32", torch.float32),
    Precision("fp16", torch.float16),
    Precision("bf16", torch.bfloat16),
    Precision("fp8 weights", torch.float16, eight_bits=True),
)
REFERENCE, FP16 = PRECISIONS[0], PRECISIONS[1]


class EightBits(nn.Module):
    """A weight as float8_e4m3fn with one scale for the tensor; every use casts it anew."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.dtype = weight.dtype
        self.scale = float(weight.abs().max()) / LARGEST or 1.0

    def forward(self, stored: Tensor) -> Tensor:
        return stored.to(self.dtype) * self.scale

    def stored(self, weight: Tensor) -> Tensor:
        return (weight / self.scale).to(torch.float8_e4m3fn)


def keep_in_eight_bits(network: nn.Module) -> None:
    """Keeps the weights of linear layers and convolutions in 8 bits; none of them may need a gradient."""
    for layer in list(network.modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv3d):
            kept = EightBits(layer.weight)
            parametrize.register_parametrization(layer, "weight", kept, unsafe=True)
            original = layer.parametrizations["weight"].original  # type: ignore[index, union-attr]
            original.data = kept.stored(original.data)
