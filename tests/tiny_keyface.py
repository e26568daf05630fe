"""Tiny KeyFace models of random weights, written as files and loaded like any others: all that the published ones need.

Only sizes differ from the published files: 64 x 64 pixels, narrow networks.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from keysync.network.stage import ROWS, Stage, StageSpec
from keysync.network.unet import UNetConfig
from keysync.speech.beats_network import BeatsConfig, BeatsNetwork
from keysync.weights.checkpoint import save_stage

from .tiny_models import AUDIO_CHANNELS, LATENT_SIZE, randomise, write_encoder, write_vae


def tiny_stage(name: str, *, seed: int = 0, **changes: Any) -> Stage:
    """A stage of KeyFace with random weights; `changes` are of its U-Net."""
    row = ROWS[name]
    small: dict[str, Any] = {"model_channels": 32, "channel_mult": (1, 1), "attention": (False, True)}
    small |= {"num_res_blocks": 1, "head_dim": 16, "context_dim": 32, "vector_dim": 16 * len(row.controls)}
    unet = UNetConfig(row.unet.in_channels, **small | changes)
    spec = StageSpec(name, unet, 2 * AUDIO_CHANNELS, LATENT_SIZE, 14, row.speech_encoder, crop_scale=2.4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stage = Stage(spec)
        randomise(stage)
    return stage


def write_tiny_keyface(folder: Path) -> dict[str, Path]:
    """Writes all models into `folder`; returns their paths by name."""
    stages = {
        "keyframe": tiny_stage("keyface_keyframe"),
        "interpolation": tiny_stage("keyface_interpolation"),
        "weak": tiny_stage("keyface_interpolation", seed=1),
    }
    paths = {name: folder / f"{name}.safetensors" for name in stages}
    for name, stage in stages.items():
        save_stage(stage, paths[name], extra_metadata={"keysync.untrained": "true"})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        paths["vae"] = write_vae(folder / "vae")
        paths["wavlm"] = write_encoder(folder / "wavlm", "wavlm")
        paths["wav2vec2"] = write_encoder(folder / "wav2vec2", "wav2vec2")
        paths["beats"] = write_beats(folder / "beats.safetensors")
    return paths


def write_beats(path: Path) -> Path:
    """A BEATs of the same width as the other encoders."""
    config = BeatsConfig(
        embed_dim=16, width=AUDIO_CHANNELS, layers=2, heads=2, inner=64, kernel=16, groups=4, buckets=32
    )
    network: nn.Module = BeatsNetwork(config)
    randomise(network)
    save_file(network.state_dict(), path)
    return path


if __name__ == "__main__":
    write_tiny_keyface(Path(sys.argv[1]))
