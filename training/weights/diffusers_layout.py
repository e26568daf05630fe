"""Names of Stable Video Diffusion's U-Net: diffusers' (`UNetSpatioTemporalConditionModel`) to the published ones.

Both layouts hold the same tensors. diffusers numbers blocks per level, the published names number them consecutively;
a down- or upsampling convolution is a block or the last layer of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_ENDS = {
    "conv_in.": "input_blocks.0.0.",
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
}
_RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_TRANSFORMER = {
    "temporal_transformer_blocks.": "time_stack.",
    "time_pos_embed.linear_1.": "time_pos_embed.0.",
    "time_pos_embed.linear_2.": "time_pos_embed.2.",
}


def published_names(names: Iterable[str]) -> dict[str, str]:
    """The published name, without prefix, of each of diffusers' names of a U-Net; an unknown name maps to itself."""
    names = list(names)
    found = [re.match(r"down_blocks\.\d+\.resnets\.(\d+)\.", name) for name in names]
    blocks = 1 + max((int(match[1]) for match in found if match), default=-1)
    attends = {match[1] for name in names if (match := re.match(r"(up_blocks\.\d+)\.attentions\.", name))}
    return {name: _published_name(name, blocks, attends) for name in names}


def _published_name(name: str, blocks: int, attends: set[str]) -> str:
    """`blocks`: residual blocks per level on the way down, one more on the way up; `attends`: the upward levels with
    attention."""
    for theirs, ours in _ENDS.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    match = re.fullmatch(r"(?:(down|up)_blocks\.(\d+)|mid_block)\.(\w+)\.(\d+)\.(.+)", name)
    if match is None:
        return name
    side, level, kind, number, inner = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
    if kind == "downsamplers":
        return f"input_blocks.{(level + 1) * (blocks + 1)}.0.op.{inner.removeprefix('conv.')}"
    if kind == "upsamplers":
        layer = 2 if f"up_blocks.{level}" in attends else 1
        return f"output_blocks.{level * (blocks + 1) + blocks}.{layer}.{inner}"
    if kind not in ("resnets", "attentions"):
        return name
    inner = _residual(inner) if kind == "resnets" else _transformer(inner)
    if side is None:
        return f"middle_block.{2 * number if kind == 'resnets' else 1}.{inner}"
    layer = 0 if kind == "resnets" else 1
    row = level * (blocks + 1) + number
    return f"input_blocks.{row + 1}.{layer}.{inner}" if side == "down" else f"output_blocks.{row}.{layer}.{inner}"


def _residual(inner: str) -> str:
    """Inside a residual block: a spatial part, a temporal part, and their mixer."""
    match = re.fullmatch(r"(spatial|temporal)_res_block\.(\w+)\.(\w+)", inner)
    if match is None:
        return inner
    over_time = "time_stack." if match[1] == "temporal" else ""
    return f"{over_time}{_RESIDUAL.get(match[2], match[2])}.{match[3]}"


def _transformer(inner: str) -> str:
    theirs = next((theirs for theirs in _TRANSFORMER if inner.startswith(theirs)), None)
    return inner if theirs is None else _TRANSFORMER[theirs] + inner.removeprefix(theirs)
