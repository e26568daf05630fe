"""The VAE of a training run: the one that made its data, or another that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from keysync.errors import KeySyncError
from keysync.systems.keysync.small import BUILT_IN, SMALL
from keysync.vae.vae import VAE, load_vae

if TYPE_CHECKING:
    from ..config.config import TrainConfig
    from ..data.shards import Shards


def load_vae_of(config: TrainConfig, shards: Shards, device: torch.device) -> VAE:
    """The VAE in float32. Raises `KeySyncError` if its file is missing or holds no VAE."""
    origin = config.vae or shards.info.vae
    if origin == BUILT_IN:
        return load_vae(SMALL["vae"], device)
    if not Path(origin).exists():
        raise KeySyncError(f"{origin}, the VAE that made {shards.folder}, does not exist: name it with --vae PATH")
    return load_vae(origin, device)
