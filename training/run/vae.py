"""The VAE of a training run: the one that made its data, or another that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from keysync.errors import KeySyncError
from keysync.systems.keysync.small import BUILT_IN, SMALL
from keysync.vae.vae import VAE, load_vae

if TYPE_CHECKING:
    from ..data.shards import Shards


def load_vae_of(named: str, shards: Shards, device: torch.device) -> VAE:
    """The VAE `named` in the settings, or else that of the data, in float32.

    Raises `KeySyncError` if its file is missing or holds no VAE.
    """
    origin = named or shards.info.vae
    if origin == BUILT_IN:
        return load_vae(SMALL["vae"], device)
    if not Path(origin).exists():
        raise KeySyncError(f"{origin}, the VAE that made {shards.folder}, does not exist: name it with --vae PATH")
    return load_vae(origin, device)
