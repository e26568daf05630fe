"""A distance of lips and speech, such as SyncNet's, by a function of the user's own, which loads its own weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..config.named import load_named

# Pictures (b, n, 3, H, W) in -1..1 at 25 frames a second and their sound (b, 640 n), 16 kHz -> distances (b,).
Distance = Callable[[Tensor, Tensor], Tensor]


def load_sync(name: str, device: torch.device) -> Distance:
    """What the function `name`, "package.module:function", returns for a device: a distance through which gradients
    reach the pictures. Its weights must be frozen and in float32.

    Raises `KeySyncError` if there is no such function, or if it fails.
    """
    distance: Distance = load_named(name, "lip-sync loss", "a distance", device)
    return distance
