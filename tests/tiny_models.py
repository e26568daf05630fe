"""Tiny models of random weights and of the published architecture, for tests: all five that the published ones need.

Only sizes differ from the published files: 64 x 64 pixels, narrow networks. They are written as files and loaded like
any others, so that a run with them takes the same path as a run with published weights.

`python -m tests.tiny_models FOLDER` writes them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_model
from torch import nn

from keysync.network.stage import Stage, StageSpec
from keysync.network.unet import UNetConfig
from keysync.weights.checkpoint import save_stage

AUDIO_CHANNELS = 32
LATENT_SIZE = (8, 8)


def write_tiny_models(folder: Path, seed: int = 0) -> dict[str, Path]:
    """Writes the five models into `folder`; returns their paths: keyframe, interpolation, vae, hubert, wavlm."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        paths = {name: _write_stage(folder / f"{name}.safetensors", name) for name in ("keyframe", "interpolation")}
        paths["vae"] = write_vae(folder / "vae")
        paths["hubert"] = write_encoder(folder / "hubert", "hubert")
        paths["wavlm"] = write_encoder(folder / "wavlm", "wavlm")
    return paths


def _write_stage(path: Path, name: str) -> Path:
    unet = UNetConfig(
        in_channels=8 if name == "keyframe" else 9,
        model_channels=64,
        channel_mult=(1, 1),
        attention=(False, True),
        num_res_blocks=1,
        head_dim=32,
        context_dim=64,
    )
    encoder = "hubert" if name == "keyframe" else "wavlm"
    stage = Stage(StageSpec(name, unet, AUDIO_CHANNELS, LATENT_SIZE, 14, encoder))
    randomise(stage)
    save_stage(stage, path, dtype=torch.float16, extra_metadata={"keysync.untrained": "true"})
    return path


def randomise(module: nn.Module) -> None:
    """Weights that keep the scale of what flows through, in every layer: nothing starts at zero, nothing is trained."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)


def write_vae(folder: Path) -> Path:
    """Writes a Stable Video Diffusion VAE, as diffusers keeps it."""
    from diffusers import AutoencoderKLTemporalDecoder

    vae = AutoencoderKLTemporalDecoder(
        down_block_types=("DownEncoderBlock2D",) * 4, block_out_channels=(32,) * 4, layers_per_block=2
    )
    vae.save_config(folder)
    save_model(vae, str(folder / "diffusion_pytorch_model.safetensors"))
    return folder


def write_encoder(folder: Path, name: str, channels: int = AUDIO_CHANNELS) -> Path:
    """Writes the encoder "hubert", "wavlm" or "wav2vec2" of this width into `folder`, in transformers' layout."""
    import transformers

    kind = {"hubert": "Hubert", "wavlm": "WavLM", "wav2vec2": "Wav2Vec2"}[name]
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=channels,
        num_hidden_layers=2,
        num_attention_heads=1,
        intermediate_size=64,
        conv_dim=(16,) * 7,
    )
    config.save_pretrained(folder)
    # A wav2vec 2.0 is known by the prefix that it has beside its head.
    head = "ForCTC" if name == "wav2vec2" else "Model"
    save_model(getattr(transformers, f"{kind}{head}")(config), str(folder / "model.safetensors"))
    return folder


if __name__ == "__main__":
    write_tiny_models(Path(sys.argv[1]))
