"""LPIPS, the perceptual distance of two pictures, by the package `lpips`, which brings its own weights and VGG's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from keysync.errors import KeySyncError, install_line


def load_lpips(device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """The distance (b, 1, 1, 1) of pictures (b, 3, H, W) in -1..1, with VGG; frozen, in float32.

    Raises `KeySyncError` where the package is not installed, and where VGG's weights cannot be loaded.
    """
    try:
        import lpips
    except ImportError as error:
        raise KeySyncError(f"lpips_weight needs lpips: {install_line('lpips')}, or set lpips_weight to 0") from error
    try:
        network: torch.nn.Module = lpips.LPIPS(net="vgg", verbose=False)
    except OSError as error:  # torchvision downloads VGG's weights the first time
        raise KeySyncError(
            f"VGG's weights, which LPIPS needs, cannot be loaded ({error}): connect to the internet once, or set "
            "lpips_weight to 0"
        ) from error
    return network.to(device).eval().requires_grad_(False)
