"""A FlashLips of random weights, for tests: untrained, of 64 x 64 pixels, with a VAE of random weights inside.

`python -m tests.tiny_flashlips FOLDER` writes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from keysync.systems.flashlips.bundle import PARTS, save_bundle
from keysync.systems.flashlips.presets import PRESETS
from keysync.systems.flashlips.spec import FlashLipsSpec
from keysync.weights.files import read_tensors

from .tiny_models import write_vae

UNTRAINED = {"keysync.untrained": "true", "modelspec.license": "Apache-2.0"}


def write_tiny_flashlips(
    folder: Path,
    spec: FlashLipsSpec = PRESETS["tiny"],
    *,
    parts: tuple[str, ...] = tuple(PARTS),
    vae: bool = True,
    dtype: torch.dtype | None = None,
) -> Path:
    """Writes these parts into a file of `folder`; its editor changes every frame."""
    path = folder / "flashlips.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = {name: PARTS[name].build(spec.networks) for name in parts}
        for module in built.values():
            for parameter in module.parameters():
                if not parameter.any():
                    torch.nn.init.normal_(parameter, std=0.1)
        tensors = read_tensors(write_vae(folder / "vae") / "diffusion_pytorch_model.safetensors")[0] if vae else None
        save_bundle(path, spec, built, vae=tensors, dtype=dtype, extra_metadata=UNTRAINED)
    return path


if __name__ == "__main__":
    write_tiny_flashlips(Path(sys.argv[1]))
