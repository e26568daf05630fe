"""Numbers that are no numbers: half precision that overflows is computed again in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

HALVES = (torch.float16, torch.bfloat16)


class NotFiniteError(ArithmeticError):
    """A network gave an infinity or NaN, and whatever is computed from it would too."""


@runtime_checkable
class Wider(Protocol):
    """A model that can be run in float32 for a while: `is_half` says whether it runs in half precision now."""

    @property
    def is_half(self) -> bool: ...

    def in_float32(self) -> AbstractContextManager[None]: ...


class Repairable(nn.Module):
    """A module that is `Wider`."""

    @property
    def is_half(self) -> bool:
        return is_half(self)

    def in_float32(self) -> AbstractContextManager[None]:
        """Inside it works in float32, and afterwards as before."""
        return in_float32(self)


def is_finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite."""
    return bool(torch.isfinite(tensor).all())


def only_finite(tensor: Tensor) -> Tensor:
    """The tensor with NaN for infinities: clamped they would pass as the darkest and the brightest level."""
    return torch.nan_to_num(tensor, nan=torch.nan, posinf=torch.nan, neginf=torch.nan)


def is_half(module: nn.Module) -> bool:
    """Whether any weight is in half precision."""
    return any(parameter.dtype in HALVES for parameter in module.parameters())


@contextmanager
def in_float32(module: nn.Module) -> Iterator[None]:
    """The module with its halves in float32, which takes twice their memory; afterwards with the same halves again."""
    halves = [
        (tensor, tensor.dtype) for tensor in chain(module.parameters(), module.buffers()) if tensor.dtype in HALVES
    ]
    try:
        for tensor, _ in halves:
            tensor.data = tensor.data.float()
        yield
    finally:
        for tensor, dtype in halves:
            tensor.data = tensor.data.to(dtype)  # the very numbers: every half is a float32
