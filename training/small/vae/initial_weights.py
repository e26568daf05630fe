"""The initial weights of a small VAE with diffusers' temporal decoder.

Every residual branch is zero, and three channels carry red, green and blue through the network: a new VAE reconstructs
each picture blurred and pale, and its latents are the brightness and two hues of 8 by 8 pixels. From common initial
weights it takes hours to learn colours: group norm always has 32 groups, and with two or three channels per group it
removes the level of a picture. The channels of a group are therefore offset by +OFFSET and -OFFSET, which dominate the
group's deviation: three channels per group preserve the level, two preserve the contrast.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

LIT = 1.0  # bias of the last norms, where silu is nearly linear with the following value and slope
LIT_VALUE, LIT_SLOPE = 0.731, 0.928
GROUPS = 32  # of every group norm
OFFSET = 2.0
SILU_MEAN = 0.207  # mean of silu for a normal distribution
FAINT = 0.1  # weight of the other channels in a new VAE's latents and pictures
QUIET = -6.0  # logarithm of the initial posterior's variance: larger noise would hide the signal
# Latents of a colour: brightness, red against blue, green against both.
HUES = torch.tensor([[1.0, 1.0, 1.0], [1.5, 0.0, -1.5], [-0.75, 1.5, -0.75]])
BLUR = torch.tensor([0.25, 0.5, 0.25])


def new_vae(seed: int, widths: tuple[int, ...], blocks: int) -> Any:
    """An `AutoencoderKLTemporalDecoder` with these widths, residual blocks per level, and initial weights."""
    from diffusers import AutoencoderKLTemporalDecoder

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = AutoencoderKLTemporalDecoder(
            down_block_types=("DownEncoderBlock2D",) * len(widths), block_out_channels=widths, layers_per_block=blocks
        )
        with torch.no_grad():
            _start(vae)
    return vae


def offsets(channels: int) -> Tensor:
    """(channels,): alternately +OFFSET and -OFFSET within each group; the last of an odd number is 0."""
    size = channels // GROUPS
    group = torch.tensor([1.0, -1.0]).repeat(size // 2 + 1)[:size]
    if size % 2:
        group[-1] = 0
    return OFFSET * group.repeat(GROUPS)


def colours(channels: int) -> list[int]:
    """The three channels that carry a colour, each in its own group."""
    return [group * (channels // GROUPS) for group in range(3)]


class Centred(nn.Module):
    """A convolution of inputs centred on `level` (in_channels,); its bias is the output where all inputs equal it.

    It computes what `convolution` does and takes over its parameters. A change of the weights then does not shift the
    whole picture, which allows larger learning rates.
    """

    level: Tensor

    def __init__(self, convolution: nn.Conv2d, level: Tensor) -> None:
        super().__init__()
        assert convolution.bias is not None
        self.weight, self.bias = convolution.weight, convolution.bias
        self.stride, self.padding = convolution.stride, convolution.padding
        self.register_buffer("level", level, persistent=False)
        with torch.no_grad():
            self.bias.add_(self.weight.sum((2, 3)) @ level)

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.conv2d(input, self.weight, self.plain_bias(), self.stride, self.padding)

    def plain_bias(self) -> Tensor:
        """The bias of the same convolution as an `nn.Conv2d`."""
        return self.bias - self.weight.sum((2, 3)) @ self.level


def centre(vae: Any) -> None:
    """Replaces the convolutions of a VAE by `Centred` ones, at the levels of a new VAE's inputs."""
    for name, module in list(vae.named_modules()):
        owner, _, kind = name.rpartition(".")
        if type(module) is not nn.Conv2d or kind in ("conv_in", "quant_conv"):
            continue
        if kind in ("conv_shortcut", "conv"):
            level = offsets(module.in_channels)
        else:
            level = torch.full((module.in_channels,), LIT_VALUE if kind == "conv_out" else SILU_MEAN)
        setattr(vae.get_submodule(owner), kind, Centred(module, level))


def plain_weights(vae: Any) -> dict[str, Tensor]:
    """The weights of the VAE before `centre`."""
    biases = {f"{name}.bias": part.plain_bias() for name, part in vae.named_modules() if isinstance(part, Centred)}
    return {**vae.state_dict(), **biases}


def _start(vae: Any) -> None:
    for name, module in vae.named_modules():
        kind = name.rpartition(".")[2]
        if kind == "conv2" or name.endswith("to_out.0"):
            module.weight.zero_()
            module.bias.zero_()
        elif kind in ("conv_shortcut", "conv"):
            _stream(module, stride=2 if "downsamplers" in name else 1)
        elif kind in ("norm1", "group_norm", "conv_norm_out") and ".temporal_" not in name:
            _pass_through(module, LIT if kind == "conv_norm_out" else 0.0)
    for first in (vae.encoder.conv_in, vae.decoder.conv_in):
        nn.init.kaiming_normal_(first.weight, nonlinearity="linear")
        first.bias.copy_(offsets(first.out_channels))
    _centre(vae.encoder.conv_in, torch.eye(3), range(3), colours(vae.encoder.conv_in.out_channels))
    _centre(vae.decoder.conv_in, HUES.inverse(), range(3), colours(vae.decoder.conv_in.out_channels))
    for last, matrix in ((vae.encoder.conv_out, HUES), (vae.decoder.conv_out, torch.eye(3))):
        last.weight[:3] *= FAINT
        _centre(last, matrix / LIT_SLOPE, colours(last.in_channels), range(3))
        last.bias.copy_(-last.weight.sum((1, 2, 3)) * LIT_VALUE)
    # The latents' mean passes through; their variance is small.
    vae.quant_conv.weight.zero_()
    vae.quant_conv.weight[:4, :4, 0, 0] = torch.eye(4)
    vae.quant_conv.bias.zero_()
    vae.quant_conv.bias.chunk(2)[1].fill_(QUIET)
    _centre(vae.decoder.time_conv_out, torch.eye(3), range(3), range(3))
    vae.decoder.time_conv_out.bias.zero_()


def _stream(conv: nn.Conv2d, stride: int) -> None:
    """A convolution on the residual stream: passes colours on and sets the offsets of its outputs."""
    nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
    old = offsets(conv.in_channels)
    # Remove the contribution of the input offsets to the output.
    added = (conv.weight.sum((2, 3)) * old).sum(1) / (old**2).sum() / conv.weight[0, 0].numel()
    conv.weight -= added[:, None, None, None] * old[:, None, None]
    assert conv.bias is not None
    conv.bias.copy_(offsets(conv.out_channels))
    kernel = torch.ones(1, 1)
    if stride == 2:  # padded only at the right and the bottom
        kernel = torch.zeros(3, 3)
        kernel[:2, :2] = 0.25
    elif conv.kernel_size == (3, 3):
        kernel = BLUR[:, None] * BLUR
    for source, target in zip(colours(conv.in_channels), colours(conv.out_channels), strict=True):
        conv.weight[target] = 0
        conv.weight[target, source] = kernel
        conv.bias[target] -= OFFSET  # the colour brings its channel's offset along


def _centre(conv: Any, matrix: Tensor, sources: Any, targets: Any) -> None:
    """Maps these channels to those by a matrix, only in the middle of the kernel."""
    middle = tuple(side // 2 for side in conv.kernel_size)
    for row, target in enumerate(targets):
        for column, source in enumerate(sources):
            conv.weight[target, source] = 0
            conv.weight[(target, source, *middle)] = matrix[row, column]
        if conv.in_channels <= 4:
            for other in set(range(conv.in_channels)) - set(sources):
                conv.weight[target, other] = 0


def _pass_through(norm: nn.GroupNorm, level: float) -> None:
    """Makes a norm return the difference of its inputs from `offsets`, plus `level`."""
    offset = offsets(norm.num_channels)
    deviation = offset.view(GROUPS, -1).std(1, correction=0).repeat_interleave(norm.num_channels // GROUPS)
    norm.weight.copy_(deviation)
    norm.bias.copy_(level - offset)
