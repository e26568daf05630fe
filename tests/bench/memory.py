"""What the published models hold on a GPU at 512x512, counted on the meta device: nothing is computed.

Counted are weights, and activations as torch's attention keeps them on a GPU: without a matrix of scores. CUDA itself
takes some hundred megabytes more.
"""

from __future__ import annotations

from typing import Any

import torch

from keysync.network.peak import peak_bytes
from keysync.network.stage import STAGES
from keysync.weights.stage_format import on_meta

GIGA = 1e9
GROUPS = (1, 2, 4, 13)
PRECISIONS = {"fp32": torch.float32, "fp16, bf16": torch.float16, "fp8 weights": torch.float8_e4m3fn}
# Frames that the VAE takes at once.
FRAMES = (1, 4)


def measure() -> dict[str, Any]:
    """Gigabytes: of a stage by precision and windows a call, of the VAE by frames a call, of the speech encoders."""
    stages = {}
    for precision, dtype in PRECISIONS.items():
        half = dtype.itemsize == 1  # weights in 8 bits are cast where they are used
        stage = on_meta(STAGES["interpolation"]).to(torch.float16 if half else dtype)
        weights = sum(parameter.numel() for parameter in stage.parameters()) * dtype.itemsize / GIGA
        stages[precision] = {"weights": weights} | {group: stage.peak_bytes(group) / GIGA for group in GROUPS}
    return {"stage": stages, "vae": _vae(), "encoders": _encoders()}


def _vae() -> dict[Any, float]:
    from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import TemporalDecoder
    from diffusers.models.autoencoders.vae import Encoder

    channels = (128, 256, 512, 512)
    with torch.device("meta"):
        decoder = TemporalDecoder(4, 3, channels, 2)
        encoder = Encoder(3, 4, ("DownEncoderBlock2D",) * 4, block_out_channels=channels, layers_per_block=2)
    weights = sum(parameter.numel() for part in (decoder, encoder) for parameter in part.parameters())
    rows: dict[Any, float] = {"weights": 4 * weights / GIGA}
    for count in FRAMES:
        video = torch.empty(count, 1, device="meta")
        latents = torch.empty(count, 4, 64, 64, device="meta")
        rows[count] = peak_bytes(decoder, latents, image_only_indicator=video, num_frames=1) / GIGA
    return rows


def _encoders() -> float:
    from transformers import HubertConfig, HubertModel, WavLMConfig, WavLMModel

    with torch.device("meta"):
        both = HubertModel(HubertConfig()), WavLMModel(WavLMConfig())
    count: int = sum(parameter.numel() for model in both for parameter in model.parameters())
    return 4 * count / GIGA
