"""KeySync small on the core: its stages and its VAE as the core's, since ComfyUI does not bring the library's VAE."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from ...keysync.systems.keysync.models import Models
from ...keysync.systems.keysync.small import SMALL
from ...keysync.vae.vae import read_vae
from . import encoder
from .model import load_model
from .models import core_models
from .vae import core_vae


def load_small(files: Mapping[str, Path | None], *, device: torch.device, dtype: torch.dtype | None) -> Models:
    """The built-in models, where and as precise as ComfyUI chooses; `files` are none."""
    heard = encoder.load(SMALL["hubert"])
    vae = core_vae(read_vae(SMALL["vae"]))
    keyframe, interpolation = (load_model(SMALL[stage], dtype) for stage in ("keyframe", "interpolation"))
    return core_models(keyframe, interpolation, vae, heard, heard, show=lambda _: None)
