"""Small stand-ins for Stable Video Diffusion's files: random weights in both of its layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from keysync.network.unet import UNetConfig, VideoUNet

FRAMES = 5
CONTEXT = 40
LABELS = 48  # three numbers of 16 sinusoids
HEAD_DIM = 16


def diffusers_unet() -> Any:
    """diffusers' own network: two levels, of which the first attends; no layer is zero."""
    from diffusers import UNetSpatioTemporalConditionModel

    torch.manual_seed(0)
    unet = UNetSpatioTemporalConditionModel(
        in_channels=8,
        out_channels=4,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        block_out_channels=(32, 64),
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=LABELS,
        layers_per_block=2,
        cross_attention_dim=CONTEXT,
        num_attention_heads=(32 // HEAD_DIM, 64 // HEAD_DIM),
        num_frames=FRAMES,
    ).eval()
    randomise(unet)
    return unet


def randomise(network: torch.nn.Module) -> None:
    for name, parameter in network.named_parameters():
        spread = 0.5 if parameter.ndim < 2 else parameter[0].numel() ** -0.5
        torch.nn.init.normal_(parameter, mean=float("norm" in name), std=spread)


def write_diffusers(folder: Path, unet: Any, name: str = "diffusion_pytorch_model.safetensors") -> Path:
    """A folder as diffusers saves the network: `config.json` beside the weights."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(dict(unet.config)))
    save_file(unet.state_dict(), folder / name)
    return folder


def sgm_tensors() -> dict[str, Tensor]:
    """One file of the original layout: the U-Net, and a little of what lies beside it there."""
    torch.manual_seed(0)
    config = UNetConfig(8, 32, (1, 2), (True, False), 1, HEAD_DIM, CONTEXT)
    unet = VideoUNet(config)
    randomise(unet)
    tensors = {f"model.diffusion_model.{name}": tensor for name, tensor in unet.state_dict().items()}
    label = "model.diffusion_model.label_emb.0.0.weight"
    return {
        **tensors,
        label: torch.randn(len(tensors[label]), 768),
        "conditioner.embedders.0.open_clip.model.logit_scale": torch.ones(()),
        "conditioner.embedders.3.encoder.quant_conv.bias": torch.ones(2),
        "first_stage_model.decoder.conv_in.bias": torch.ones(3),
    }
