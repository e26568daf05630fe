"""Decodes latents piece by piece, so that the loss on pixels fits on small GPUs.

A piece is decoded again for its gradients: memory holds the activations of one piece at a time. Within a tile the
decoder's normalisation and attention see less of the picture, so that tiles change it slightly; a single piece changes
nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from keysync.method import PIXELS_PER_LATENT

# Latents around a tile that are decoded with it.
MARGIN = 8


def in_tiles(decode: Callable[[Tensor], Tensor], latents: Tensor, side: int) -> Tensor:
    """The pictures (n, 3, 8h, 8w) that `decode` makes of latents (n, 4, h, w), in tiles of `side` latents; 0: whole."""
    height, width = latents.shape[-2:]
    side = side or max(height, width)
    rows = []
    for top in range(0, height, side):
        row = []
        for left in range(0, width, side):
            inside = (slice(top, min(top + side, height)), slice(left, min(left + side, width)))
            wide = [slice(max(part.start - MARGIN, 0), part.stop + MARGIN) for part in inside]
            decoded = checkpoint(decode, latents[:, :, wide[0], wide[1]], use_reentrant=False)
            y, x = (
                slice((part.start - more.start) * PIXELS_PER_LATENT, (part.stop - more.start) * PIXELS_PER_LATENT)
                for part, more in zip(inside, wide, strict=True)
            )
            row.append(decoded[:, :, y, x])
        rows.append(torch.cat(row, -1))
    return torch.cat(rows, -2)


def called_on(module: nn.Module, device: torch.device, *arguments: Tensor, **named: object) -> Tensor:
    """What a module, which stays where it is, gives on another device: its weights are copied there for this call."""
    weights = {name: part.to(device, copy=True) for name, part in module.state_dict().items()}
    result: Tensor = functional_call(module, weights, arguments, named)
    return result
