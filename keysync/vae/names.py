"""Tensor names of the Stable Video Diffusion VAE: sgm's to diffusers', and the widths derived from shapes.

Both layouts hold the same weights. sgm numbers the decoder's levels from the image, diffusers from the latent; sgm's
attention consists of 1 x 1 convolutions, diffusers' of linear layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from ..weights.identify import Shapes

PREFIX = "first_stage_model."

# Applied in turn to each sgm name.
_COMMON = (
    (r"\.mid\.block_(\d)\.", lambda found: f".mid_block.resnets.{int(found[1]) - 1}."),
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
    (r"\.block\.", ".resnets."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"coder\.norm_out\.", "coder.conv_norm_out."),
)
_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_TEMPORAL = {"in_layers.0": "norm1", "in_layers.2": "conv1", "out_layers.0": "norm2", "out_layers.3": "conv2"}


@dataclass(frozen=True)
class Widths:
    """Channels of each level, from the image to the latent, and residual blocks per level of the encoder."""

    channels: tuple[int, ...]
    blocks: int


def part_of(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """One part ("encoder", "decoder", "quant_conv") of a file in either layout, by diffusers' names without its prefix.

    Empty if the file does not contain the part.
    """
    bare = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    own = {name: tensor for name, tensor in bare.items() if name.startswith(f"{part}.")}
    if any(re.search(r"\.(down|up|mid)\.", name) for name in own):
        own = _from_sgm(own)
    return {name.removeprefix(f"{part}."): tensor for name, tensor in own.items()}


def widths_of(shapes: Shapes) -> Widths:
    """The widths of an encoder or decoder with diffusers' names."""
    encoder = any(name.startswith("down_blocks.") for name in shapes)
    level = r"down_blocks\.(\d+)\." if encoder else r"up_blocks\.(\d+)\."
    block = r"\w+\.\d+\.resnets\.(\d+)\."
    conv = "resnets.0.conv1.weight" if encoder else "resnets.0.spatial_res_block.conv1.weight"
    levels = range(1 + _last(shapes, level))
    names = [f"{'down' if encoder else 'up'}_blocks.{number}.{conv}" for number in levels]
    channels = [shapes[name][0] for name in names if shapes.get(name)]
    blocks = 1 + _last((name for name in shapes if re.match(level, name)), block)
    return Widths(tuple(channels if encoder else reversed(channels)), blocks if encoder else blocks - 1)


def diffusers_names(names: Iterable[str]) -> dict[str, str]:
    """sgm's name -> diffusers' name, for all tensors of an encoder, a decoder or both; names have no prefix."""
    names = list(names)
    top = _last(names, r"decoder\.up\.(\d+)\.")
    return {name: _diffusers_name(name, top) for name in names}


def _from_sgm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, ours in diffusers_names(tensors).items():
        linear = ".attentions." in ours and tensors[name].shape[2:] == (1, 1)
        renamed[ours] = tensors[name][:, :, 0, 0] if linear else tensors[name]
    return renamed


def _diffusers_name(name: str, top: int) -> str:
    name = re.sub(r"\.down\.(\d+)\.downsample\.", r".down_blocks.\1.downsamplers.0.", name)
    name = re.sub(r"\.down\.(\d+)\.", r".down_blocks.\1.", name)
    name = re.sub(r"\.up\.(\d+)\.", lambda found: f".up_blocks.{top - int(found[1])}.", name)
    name = name.replace(".upsample.", ".upsamplers.0.").replace(".conv_out.time_mix_conv.", ".time_conv_out.")
    for pattern, replacement in _COMMON:
        name = re.sub(pattern, replacement, name)
    attention = re.fullmatch(r"(.*\.attentions\.0\.)(\w+)(\.\w+)", name)
    if attention:
        return attention[1] + _ATTENTION.get(attention[2], attention[2]) + attention[3]
    return _block_name(name) if name.startswith("decoder.") else name


def _block_name(name: str) -> str:
    """Renames inside a residual block of the decoder: its spatial half, its temporal half and their mixer."""
    block = re.fullmatch(r"(.*\.resnets\.\d+\.)(.+)", name)
    if not block:
        return name
    inner = block[2]
    if inner == "mix_factor":
        return f"{block[1]}time_mixer.mix_factor"
    temporal = re.fullmatch(r"time_stack\.(\w+\.\d)\.(\w+)", inner)
    if temporal:
        return f"{block[1]}temporal_res_block.{_TEMPORAL.get(temporal[1], temporal[1])}.{temporal[2]}"
    return f"{block[1]}spatial_res_block.{inner}"


def _last(names: Iterable[str], pattern: str) -> int:
    return max((int(found[1]) for name in names if (found := re.match(pattern, name))), default=-1)
