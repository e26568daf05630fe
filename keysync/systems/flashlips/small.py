"""FlashLips small: a trained FlashLips that comes with KeySync, and the VAE that it shares with KeySync small.

It works on 128 x 128 pixels and hears KeySync small's HuBERT. It was trained on rendered people only
(`training.small.flashlips`): real faces need one of your own training, since none is published.
"""

from __future__ import annotations

from pathlib import Path

from ..keysync.small import FOLDER, SMALL
from .spec import FlashLipsSpec

FLASHLIPS_SMALL = FOLDER / "flashlips-small.safetensors"
TITLE = "FlashLips small, built in"


def built_in_vae(spec: FlashLipsSpec) -> Path | None:
    """The VAE that a file was trained with, where that one is built in."""
    return SMALL["vae"] if spec.vae == SMALL["vae"].name else None
