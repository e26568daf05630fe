"""Weights in 8 bits: half the size of float16, with an error of about 1 % of each tensor.

A tensor `name` of two or more axes and outputs is stored as int8 of the same shape, beside `name.scale` (outputs,
groups) float16: the weights of each output, in storage order, are cut into equal groups, and a weight is its integer
times the scale of its group. Other tensors are stored as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..errors import KeySyncError

SCALE = ".scale"
MOST_GROUP, LARGEST = 128, 127
# In the metadata of a file, for those who read it without KeySync.
FORMAT = "weight = int8 * scale, float16, of its group: each output's weights in equal groups, in storage order"


def to_eight_bits(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, floating-point, with those of two or more axes and outputs in 8 bits."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2 or len(tensor) < 2:
            stored[name] = tensor
            continue
        weights = tensor.float().flatten(1)
        size = next(size for size in range(MOST_GROUP, 0, -1) if weights.shape[1] % size == 0)
        groups = weights.unflatten(1, (-1, size))
        # Rounded first, so that the integers make up for it; 1 where all weights are 0.
        scale = (groups.abs().amax(2) / LARGEST).half()
        scale[scale == 0] = 1
        integers = (groups / scale.float()[..., None]).round().clamp(-LARGEST, LARGEST)
        stored |= {name: integers.to(torch.int8).view(tensor.shape), f"{name}{SCALE}": scale}
    return stored


def from_eight_bits(path: str | Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file, with those in 8 bits as float32; a file without any is returned as it is.

    Raises `KeySyncError` that names `path` for a scale that does not fit its integers.
    """
    read = dict(tensors)
    for name, integers in tensors.items():
        scale = tensors.get(f"{name}{SCALE}")
        if integers.dtype != torch.int8 or scale is None:
            continue
        if not _fits(scale, integers):
            raise KeySyncError(
                f"{path}: {name}{SCALE} has shape {tuple(scale.shape)}, which does not fit {name} of shape "
                f"{tuple(integers.shape)}: copy or download it again"
            )
        groups = integers.flatten(1).unflatten(1, (scale.shape[1], -1))
        read[name] = (groups * scale.float()[..., None]).view(integers.shape)
        del read[f"{name}{SCALE}"]
    return read


def _fits(scale: Tensor, integers: Tensor) -> bool:
    return (
        scale.ndim == 2
        and integers.ndim > 1
        and len(scale) == len(integers) > 0
        and scale.shape[1] > 0
        and integers[0].numel() % scale.shape[1] == 0
    )
