"""The VAE decoder inside a stage's checkpoint, in the layout of the published files: sgm's names under
`first_stage_model.`."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from keysync.vae.names import diffusers_names, widths_of
from keysync.vae.vae import load_vae, read_vae
from keysync.weights.files import shapes_of
from keysync.weights.identify import DECODER


def decoder_tensors(path: Path) -> dict[str, Tensor]:
    """The decoder of the VAE at `path`, in any layout, under its published names.

    Raises `KeySyncError` as `load_vae` does.
    """
    load_vae(path)  # checks the file
    held = {name: tensor.float() for name, tensor in read_vae(path).decoder.items()}
    widths = widths_of(shapes_of(held))
    tensors = {}
    for name, theirs in diffusers_names(_sgm_names(len(widths.channels), widths.blocks + 1)).items():
        tensor = held.get(theirs.removeprefix("decoder."))
        if tensor is not None:
            # diffusers' attention is linear layers, sgm's 1x1 convolutions.
            convolution = ".attn_1." in name and tensor.ndim == 2
            tensors[DECODER + name.removeprefix("decoder.")] = tensor[..., None, None] if convolution else tensor
    assert len(tensors) == len(held), "the table names every tensor of a decoder that load_vae accepts"
    return tensors


def _sgm_names(levels: int, blocks: int) -> list[str]:
    """All names that a decoder of this size may have; not every block has a shortcut, not every level an upsampler."""
    attention = [f"mid.attn_1.{part}" for part in ("norm", "q", "k", "v", "proj_out")]
    places = ["mid.block_1", "mid.block_2", *(f"up.{n}.block.{m}" for n in range(levels) for m in range(blocks))]
    inner = ("norm1", "conv1", "norm2", "conv2", "nin_shortcut")
    over_time = ("in_layers.0", "in_layers.2", "out_layers.0", "out_layers.3")
    layers = ["conv_in", "norm_out", "conv_out", "conv_out.time_mix_conv", *attention]
    layers += [f"{place}.{layer}" for place in places for layer in inner]
    layers += [f"{place}.time_stack.{layer}" for place in places for layer in over_time]
    layers += [f"up.{level}.upsample.conv" for level in range(levels)]
    names = [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    return [f"decoder.{name}" for name in (*names, *(f"{place}.mix_factor" for place in places))]
