"""Weights are numbers: a file with NaN or infinity in a tensor that is used is refused, and the tensor named.

One NaN spreads through a network to a whole picture, which would be black, and pass for a dub.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..errors import KeySyncError

# Numbers looked at in one go: few enough for a processor's cache.
CHUNK = 2**20
FLOATS = frozenset((torch.float64, torch.float32, torch.float16, torch.bfloat16))
# Types of one byte, which processors do not add up: the largest finite number, as the bits after the sign.
LARGEST = {torch.float8_e4m3fn: 0x7E, torch.float8_e5m2: 0x7B}
# Those whose only number that is not finite is the byte of minus zero.
UNSIGNED_ZERO = frozenset((torch.float8_e4m3fnuz, torch.float8_e5m2fnuz))
# A counter among the weights, for example; always finite.
INTEGERS = frozenset((torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool))


def check_weights(path: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises `KeySyncError` that names `path` and the first tensor with NaN, infinity or an unusual type."""
    for name, tensor in tensors.items():
        if tensor.dtype not in FLOATS | LARGEST.keys() | UNSIGNED_ZERO | INTEGERS:
            raise KeySyncError(
                f"{path}: {name} has dtype {tensor.dtype}: expected floating-point weights; choose another file"
            )
        if not is_finite(tensor):
            raise KeySyncError(
                f"{path}: {name} contains numbers that are not finite: the file is damaged or its training failed; "
                "download it again or choose another file"
            )


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers of a tensor are finite; reads it once, in chunks."""
    if tensor.dtype in INTEGERS:
        return True
    return all(map(_finite, tensor.detach().reshape(-1).split(CHUNK)))


def _finite(numbers: Tensor) -> bool:
    if not len(numbers):
        return True
    if numbers.dtype in LARGEST:
        return bool((numbers.view(torch.int8) & 0x7F).max() <= LARGEST[numbers.dtype])
    if numbers.dtype in UNSIGNED_ZERO:
        return bool(numbers.view(torch.int8).min() > -128)
    # A sum is the fastest pass: it is not finite if a term is not. It may also overflow, so the terms decide then.
    return bool(numbers.sum().isfinite()) or bool(numbers.isfinite().all())
