"""Floating-point operations, counted operator by operator on the meta device: nothing is computed."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from keysync.method import NETWORK_RATE
from keysync.network.peak import on_meta
from keysync.network.stage import Stage, StageSpec
from keysync.systems.keysync.presets import PRESETS, make_sampling

from .sizes import INTERPOLATION, KEYFRAME, Sizes

TERA = 1e12


@torch.no_grad()
def operations(module: nn.Module, *inputs: Tensor, **more: Any) -> int:
    """Floating-point operations of a call of a module, whatever device it is on."""
    given = tuple(tensor.to("meta") for tensor in inputs)
    named = {name: value.to("meta") if isinstance(value, Tensor) else value for name, value in more.items()}
    with FlopCounterMode(display=False) as counter:
        functional_call(module, on_meta(module), given, named)
    return int(counter.get_total_flops())


@cache
def evaluation_operations(spec: StageSpec) -> int:
    """Floating-point operations of an evaluation of a stage's network for one window."""
    with torch.device("meta"):
        network = Stage(spec).unet
        frames = torch.empty(spec.window, spec.unet.in_channels, *spec.latent_size)
        return operations(network, frames, torch.empty(len(frames)), torch.empty(1, len(frames), spec.unet.context_dim))


def evaluations(preset: str, spec: StageSpec) -> int:
    """Evaluations of a stage's network for one window."""
    return make_sampling(preset).network_evaluations(spec)


def per_frame(preset: str, sizes: Sizes, keyframe: float, interpolation: float) -> float:
    """What a frame costs, where an evaluation for a window costs so much in each stage: a window brings 13 new frames,
    and a window of keyframes serves 13 of them."""
    specs = sizes.specs
    new = specs[KEYFRAME].frames_apart
    window = evaluations(preset, specs[INTERPOLATION]) * interpolation
    return (window + evaluations(preset, specs[KEYFRAME]) * keyframe / new) / new


def table(sizes: Sizes) -> str:
    """What the presets cost, as a Markdown table."""
    each = {name: evaluation_operations(spec) / TERA for name, spec in sizes.specs.items()}
    digits = 1 if each[INTERPOLATION] > 1 else 5
    lines = [
        "| preset | evaluations per window | TFLOP per window | TFLOP per second of video |",
        "|---|---:|---:|---:|",
    ]
    for preset in PRESETS:
        count = evaluations(preset, sizes.specs[INTERPOLATION])
        second = NETWORK_RATE * per_frame(preset, sizes, each[KEYFRAME], each[INTERPOLATION])
        lines.append(f"| {preset} | {count} | {count * each[INTERPOLATION]:,.{digits}f} | {second:,.{digits}f} |")
    return "\n".join(lines)
