"""The sizes of the models that are measured, the published ones or toys, and models of these sizes with random weights.

Weights are random on the device from a fixed seed: no file is needed, and every run computes the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_model
from torch import Tensor

from keysync.network.stage import STAGES, Stage, StageSpec
from keysync.network.unet import UNetConfig
from keysync.speech.encoder import SpeechEncoder
from keysync.speech.encoders import load_encoder

from .precisions import FP16, PRECISIONS, REFERENCE, Precision, keep_in_eight_bits

SEED = 0
# Keyframes of a batch are 13 new ones, and so many windows between them: the library groups no more.
MOST_GROUP = 13
KEYFRAME, INTERPOLATION = "keyframe", "interpolation"
CLASSES = {"hubert": "Hubert", "wavlm": "WavLM"}


@dataclass(frozen=True)
class Sizes:
    """Stages by name, channels of the VAE's levels, settings of the speech encoders by transformers' names; the largest
    group of windows, the seconds of a dub, the frames to find faces in, the precision that the library uses on the
    device, what is compiled with which back end of torch.compile, and the seconds that a call is measured for."""

    name: str
    specs: Mapping[str, StageSpec]
    vae: tuple[int, ...]
    encoders: Mapping[str, Any] = field(default_factory=dict)
    most_group: int = MOST_GROUP
    seconds: float = 3.0
    faces: int = 50
    usual: Precision = FP16
    compiled: tuple[Precision, ...] = (*PRECISIONS[1:], REFERENCE)  # the slowest last
    backend: str = "inductor"
    measured: float = 1.0

    @property
    def picture(self) -> tuple[int, int]:
        """Height and width of a crop."""
        return self.specs[INTERPOLATION].image_size


def _toy(spec: StageSpec) -> StageSpec:
    unet = UNetConfig(
        spec.unet.in_channels,
        model_channels=32,
        channel_mult=(1,),
        attention=(True,),
        num_res_blocks=1,
        head_dim=16,
        context_dim=32,
    )
    return replace(spec, unet=unet, audio_channels=32, latent_size=(4, 4), window=6)


FULL = Sizes("published size", STAGES, (128, 256, 512, 512))
TOY = Sizes(
    "toy size",
    {name: _toy(spec) for name, spec in STAGES.items()},
    (32,) * 4,
    {
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 64,
        "conv_dim": (16,) * 7,
    },
    most_group=2,
    seconds=0.24,
    faces=2,
    usual=REFERENCE,
    compiled=(REFERENCE,),
    backend="eager",
    measured=0.0,
)  # fmt: skip


def make_stage(spec: StageSpec, precision: Precision, device: str) -> Stage:
    """A stage with random weights in this precision; they are the same in each but for rounding."""
    generator = torch.Generator(device).manual_seed(SEED)
    with torch.device("meta"):
        stage = Stage(spec)
    weights = {
        name: _random(name, parameter.shape, generator).to(precision.dtype)
        for name, parameter in stage.named_parameters()
    }
    stage.load_state_dict(weights, assign=True)
    stage.eval().requires_grad_(False)
    if precision.eight_bits:
        keep_in_eight_bits(stage)
    return stage


def _random(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """A weight that keeps the scale of what flows through, in float32."""
    if len(shape) > 1:
        std: float = shape[1:].numel() ** -0.5
        return std * torch.randn(shape, generator=generator, device=generator.device)
    value = 0.0 if name.endswith("bias") else 0.5 if name.endswith("mix_factor") else 1.0
    return torch.full(shape, value, device=generator.device)


def write_vae(folder: Path, sizes: Sizes) -> Path:
    """Writes a VAE of the layout of Stable Video Diffusion's, with random weights. Raises `ImportError` without
    diffusers."""
    from diffusers import AutoencoderKLTemporalDecoder

    levels = ("DownEncoderBlock2D",) * len(sizes.vae)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        vae = AutoencoderKLTemporalDecoder(down_block_types=levels, block_out_channels=sizes.vae, layers_per_block=2)
    vae.save_config(folder)
    save_model(vae, str(folder / "diffusion_pytorch_model.safetensors"))
    return folder


def make_encoders(folder: Path, sizes: Sizes, device: str) -> dict[str, SpeechEncoder]:
    """HuBERT and WavLM, base, with random weights, which pass through files in `folder`."""
    import transformers

    made = {}
    for name, kind in CLASSES.items():
        config = getattr(transformers, f"{kind}Config")(**sizes.encoders)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            model = getattr(transformers, f"{kind}Model")(config)
        config.save_pretrained(folder / name)
        save_model(model, str(folder / name / "model.safetensors"))
        made[name] = load_encoder(name, folder / name, device)
    return made
