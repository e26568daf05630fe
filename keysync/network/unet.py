"""The network of both stages: Stable Video Diffusion's U-Net, conditioned on speech instead of camera motion (§3.3).

Frames travel flattened, (b*t, c, h, w). Every frame attends to all t audio tokens of its clip, and its own token is
added to the time embedding. Attribute names are the published ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .cpu import Linear
from .layers import GroupNorm, SideInputs, VideoResBlock, VideoTransformer, sinusoids


@dataclass(frozen=True)
class UNetConfig:
    """Widths and depths; the defaults are the published ones.

    `attention`: which levels have transformers; `vector_dim`: the numbers of a frame that are added to the time
    embedding before its audio token: 0 in KeySync, an embedded emotion in KeyFace.
    """

    in_channels: int
    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    attention: tuple[bool, ...] = (True, True, True, False)
    num_res_blocks: int = 2
    head_dim: int = 64
    context_dim: int = 1024
    out_channels: int = 4
    transformer_depth: int = 1
    vector_dim: int = 0


KEYFRAME = UNetConfig(in_channels=8)
INTERPOLATION = UNetConfig(in_channels=9)
# KeyFace's keyframes also follow a valence and an arousal, of 256 numbers each; its interpolation is as KeySync's.
KEYFACE_KEYFRAME = UNetConfig(in_channels=8, vector_dim=512)


class Downsample(nn.Module):
    """Halves height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, side: SideInputs) -> Tensor:
        out: Tensor = self.op(x)
        return out


class Upsample(nn.Module):
    """Doubles height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, side: SideInputs) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class Block(nn.ModuleList):
    """Layers in a row; all take x and the side inputs."""

    def forward(self, x: Tensor, side: SideInputs) -> Tensor:
        for layer in self:
            x = layer(x, side)
        return x


class VideoUNet(nn.Module):
    """The U-Net; `gradient_checkpointing` trades time for memory in training."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        width, embedding = config.model_channels, 4 * config.model_channels
        self.time_embed = nn.Sequential(Linear(width, embedding), nn.SiLU(), Linear(embedding, embedding))
        label = config.vector_dim + config.context_dim
        self.label_emb = nn.Sequential(nn.Sequential(Linear(label, embedding), nn.SiLU(), Linear(embedding, embedding)))
        levels = [(width * mult, attends) for mult, attends in zip(config.channel_mult, config.attention, strict=True)]
        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(config.in_channels, width, 3, padding=1)])])
        channels, skips = width, [width]
        for level, (out_channels, attends) in enumerate(levels):
            for _ in range(config.num_res_blocks):
                self.input_blocks.append(self._block(channels, out_channels, attends))
                channels = out_channels
                skips.append(channels)
            if level + 1 < len(levels):
                self.input_blocks.append(Block([Downsample(channels)]))
                skips.append(channels)
        self.middle_block = self._block(channels, channels, attends=True)
        self.middle_block.append(VideoResBlock(channels, channels, embedding))
        self.output_blocks = nn.ModuleList()
        for level, (out_channels, attends) in reversed(list(enumerate(levels))):
            for number in range(config.num_res_blocks + 1):
                block = self._block(channels + skips.pop(), out_channels, attends)
                channels = out_channels
                if level and number == config.num_res_blocks:
                    block.append(Upsample(channels))
                self.output_blocks.append(block)
        out = nn.Conv2d(channels, config.out_channels, 3, padding=1)
        self.out = nn.Sequential(GroupNorm(32, channels), nn.SiLU(), out)

    def _block(self, channels: int, out_channels: int, attends: bool) -> Block:
        block = Block([VideoResBlock(channels, out_channels, 4 * self.config.model_channels)])
        if attends:
            config = self.config
            block.append(VideoTransformer(out_channels, config.context_dim, config.head_dim, config.transformer_depth))
        return block

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        image_only_indicator: Tensor | None = None,
        vector: Tensor | None = None,
        silent: bool = False,
    ) -> Tensor:
        """x (b*t, in_channels, h, w), timesteps (b*t,), audio tokens (b, t, context_dim) -> (b*t, out_channels, h, w).

        `image_only_indicator` (b, t) marks frames that belong to no clip, as in Stable Video Diffusion; this method
        has none. `vector` (b, t, vector_dim). `silent`: all audio tokens are 0, which spares the attention to them.
        """
        labels = context if vector is None else torch.cat((vector, context), dim=-1)
        embedding = self.time_embed(sinusoids(timesteps, self.config.model_channels).to(x.dtype))
        embedding = embedding + self.label_emb(labels.flatten(0, 1))
        single = torch.zeros(context.shape[:2], dtype=torch.bool, device=x.device)
        side = SideInputs(
            embedding, None if silent else context, single if image_only_indicator is None else image_only_indicator
        )
        x = self.input_blocks[0][0](x)  # type: ignore[index]
        skips = [x]
        for block in list(self.input_blocks)[1:]:
            x = self._run(block, x, side)
            skips.append(x)
        x = self._run(self.middle_block, x, side)
        for block in self.output_blocks:
            x = self._run(block, torch.cat((x, skips.pop()), dim=1), side)
        out: Tensor = self.out(x)
        return out

    def _run(self, block: nn.Module, x: Tensor, side: SideInputs) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            kept: Tensor = checkpoint(block, x, side, use_reentrant=False)
            return kept
        out: Tensor = block(x, side)
        return out
