"""Weights in 8 bits: half the size of float16, with an error of about 1 % of each tensor.

A tensor `name` of two or more axes is stored as int8 of the same shape, beside `name.scale` (outputs, groups) float16:
the weights of each output, in storage order, are cut into equal groups, and a weight is its integer times the scale of
its group. Smaller tensors are stored as they are.
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
    """The tensors, floating-point, with those of two or more axes in 8 bits."""
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2:
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
    """The tensors of a file, with those in 8 bits as float32; files without any are returned as they are.

    Raises `KeySyncError` that names `path` for a scale without integers and for one of another shape.
    """
    read = {name: tensor for name, tensor in tensors.items() if not name.endswith(SCALE)}
    for name in tensors.keys() - read.keys():
        weight, scale = read.get(name.removesuffix(SCALE)), tensors[name]
        fits = (
            weight is not None
            and weight.dtype == torch.int8
            and weight.ndim > 1
            and scale.ndim == 2
            and 0 not in scale.shape
            and len(weight) == len(scale)
            and weight[0].numel() % scale.shape[1] == 0
        )
        if weight is None or not fits:
            raise KeySyncError(
                f"{path}: {name} does not fit 8-bit weights: expected (outputs, groups) of int8 weights; "
                "copy or download it again"
            )
        groups = weight.flatten(1).unflatten(1, (scale.shape[1], -1))
        read[name.removesuffix(SCALE)] = (groups * scale.float()[..., None]).view(weight.shape)
    return read
