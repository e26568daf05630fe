"""Small files of random weights of models that are not KeySync's own but that its example workflows load."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

WIDTH, GROWTH = 4, 32


def write_tiny_upscaler(path: Path) -> Path:
    """An ESRGAN of one block that enlarges four times, in Real-ESRGAN's layout; returns its path."""
    generator = torch.Generator().manual_seed(0)
    convs = {"conv_first": (WIDTH, 3), "conv_last": (3, WIDTH)}
    convs |= dict.fromkeys(("conv_body", "conv_up1", "conv_up2", "conv_hr"), (WIDTH, WIDTH))
    for block in (1, 2, 3):
        for conv in range(1, 6):
            convs[f"body.0.rdb{block}.conv{conv}"] = (GROWTH if conv < 5 else WIDTH, WIDTH + (conv - 1) * GROWTH)
    tensors = {}
    for name, (out, into) in convs.items():
        tensors[f"{name}.weight"] = torch.randn(out, into, 3, 3, generator=generator) * (9 * into) ** -0.5
        tensors[f"{name}.bias"] = torch.zeros(out)
    save_file(tensors, path)
    return path
