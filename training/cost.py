"""Counts what a training run costs: `python -m training.cost [PRESET ...] [--key value ...]`.

One step at full size runs on fake tensors, which have shapes but no data: its floating-point operations are counted
operator by operator, its memory tensor by tensor. Hours follow from a GPU's peak throughput and an assumed utilisation,
which is printed with them.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from keysync.errors import KeySyncError
from keysync.method import LATENT_CHANNELS, PIXELS_PER_LATENT
from keysync.network.stage import ALL_STAGES, STAGES, Stage

from .config.config import NO, PRESETS, TrainConfig, load_as, load_config, overrides_of
from .config.run_config import ADAMW, RunConfig
from .data.dataset import Batch
from .flashlips import cost as flashlips
from .flashlips.config import LIPS_STAGES, FlashLipsConfig
from .loss.distillation import is_own_teacher, teacher_evaluations
from .loss.loss import Draws, LossModule
from .run.counting import BATCH, GIB, GPU, GPUS, PEAKS, SHARE, Cost, counted, full_decoder, step_memory
from .weights.frozen import hold
from .weights.initial_weights import new_spec
from .weights.lora import adapted
from .weights.trainable import freeze

# Of AdamW in 8 bits (bitsandbytes, torchao): smaller tensors are in float32, larger have a scale for each block.
LEAST_IN_8_BITS, BLOCK = 4096, 256


def measure(config: TrainConfig, audio_channels: int = 0) -> Cost:
    """The cost of a step with these settings, starting from new weights; needs little memory and no GPU.

    LPIPS and a lip-sync loss, which compare few pictures of a window, are left out. `audio_channels` is by default the
    published stage's.
    """
    config, size = replace(config, lpips_weight=0.0, sync_weight=0.0), config.resolution // PIXELS_PER_LATENT
    audio_channels = audio_channels or ALL_STAGES[config.stage].audio_channels
    with FakeTensorMode():
        stage = Stage(new_spec(config, (size, size), audio_channels)).train()
        if config.trainable == "lora":
            adapted(stage, config)
        freeze(stage, config)
        hold(stage, config.frozen)
        decoder = full_decoder() if config.rgb_weight else None
        module = LossModule(stage, decoder, config)
        trained = [parameter for parameter in stage.parameters() if parameter.requires_grad]
        batch, draws = _inputs(config, size, audio_channels)
        held = list(stage.parameters())
        if decoder and not config.offload_decoder:
            held += decoder.parameters()

        numbers = sum(parameter.numel() for parameter in trained)

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=config.precision != "fp32"):
                total = module(batch, draws).total
            total.backward()

        lasting = {**step_memory(step, held, numbers), "AdamW": _states(trained, config)}
        stage.zero_grad()
        own = counted(step) / config.batch_size
        teacher = 0.0 if config.distill == NO else teacher_evaluations(config, stage.spec)
        with torch.no_grad():
            taught = teacher * counted(lambda: module.denoise(batch, draws)) / config.batch_size
    if teacher and not is_own_teacher(config):
        lasting["teacher"] = sum(parameter.nbytes for parameter in stage.parameters())
    return Cost(
        flops=own + taught,
        precision=config.precision,
        memory=lasting,
        teacher=teacher,
        parameters=sum(parameter.numel() for parameter in stage.parameters()),
        trained=numbers,
    )


def _states(trained: Sequence[Tensor], config: TrainConfig) -> int:
    """Bytes of AdamW's two states; of tensors that are large enough, in 8 bits with a scale for each block."""
    if config.optimizer == ADAMW:
        return sum(8 * parameter.numel() for parameter in trained)
    small = [p.numel() for p in trained if p.numel() < LEAST_IN_8_BITS]
    large = [p.numel() for p in trained if p.numel() >= LEAST_IN_8_BITS]
    return 8 * sum(small) + sum(2 * (numbers + 4 * math.ceil(numbers / BLOCK)) for numbers in large)


def _inputs(config: TrainConfig, size: int, audio_channels: int) -> tuple[Batch, Draws]:
    b, t, pixels = config.batch_size, config.window, config.resolution
    with_pixels, controls = bool(config.rgb_weight), ALL_STAGES[config.stage].row.controls
    batch = Batch(
        number=torch.zeros(b, dtype=torch.int64),
        latents=torch.zeros(b, t, LATENT_CHANNELS, size, size),
        mask=torch.ones(b, t, 1, size, size),
        features=torch.zeros(b, t, 2, audio_channels),
        pixel_frame=torch.zeros(b, dtype=torch.int64),
        pixels=torch.zeros(b, 3, pixels, pixels) if with_pixels else None,
        pixel_mask=torch.ones(b, 1, pixels, pixels) if with_pixels else None,
        controls=torch.zeros(b, t, len(controls)) if controls else None,
    )
    kept = torch.ones(b, dtype=torch.bool)
    return batch, Draws(torch.ones(b), torch.zeros_like(batch.latents), kept, kept)


def table(costs: dict[str, tuple[RunConfig, Cost]]) -> str:
    """The costs as a Markdown table with one row per preset."""
    hours = " | ".join(f"hours on {count} {GPU}" for count in GPUS)
    lines = [
        f"| preset | trained / all parameters | TFLOP per clip | memory per process, GiB | steps | {hours} |",
        "|---" * (5 + len(GPUS)) + "|",
    ]
    for name, (config, cost) in costs.items():
        spent = " | ".join(f"{cost.hours(config.steps, count):,.0f}" for count in GPUS)
        lines.append(
            f"| {name} | {cost.trained / 1e9:.2f} / {cost.parameters / 1e9:.2f} billion | {cost.flops / 1e12:.0f} | "
            f"{cost.peak / GIB:.0f} | {config.steps:,} | {spent} |"
        )
    return "\n".join(lines)


def _cost(preset: str, overrides: dict[str, str]) -> tuple[RunConfig, Cost]:
    """The settings and the cost of a preset. Raises `KeySyncError` for invalid settings."""
    if preset.replace("-", "_") in LIPS_STAGES:
        begun = {"start": "a file"}  # of the same networks
        lips = load_as(FlashLipsConfig, preset, None, {**begun, **overrides})
        return lips, flashlips.measure(lips)
    config = load_config(preset, None, overrides)
    return config, measure(config)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.cost", description=__doc__, allow_abbrev=False)
    known = ", ".join([*PRESETS, *FlashLipsConfig.PRESETS])
    parser.add_argument("presets", nargs="*", default=list(STAGES), metavar="PRESET", help=known)
    parser.add_argument("--cards", action="store_true", help="what fits on cards of 8 to 80 GB, as a table")
    options, rest = parser.parse_known_args(arguments)
    try:
        if options.cards:
            from .cards import counted as of_cards  # here: they count with this module
            from .cards import table_of_cards

            print(table_of_cards(of_cards(options.presets, overrides_of(rest))))
            return 0
        costs = {name: _cost(name, overrides_of(rest)) for name in options.presets}
    except KeySyncError as error:
        print(f"training: error: {error}", file=sys.stderr)
        return 1
    print(table(costs))
    for name, (_, cost) in costs.items():
        parts = ", ".join(f"{part} {size / GIB:.1f}" for part, size in cost.memory.items())
        print(f"{name}: {parts} GiB")
        if cost.teacher:
            print(f"{name}: {cost.teacher:g} evaluations of the teacher per clip, included in the operations")
    peaks = ", ".join(f"{peak / 1e12:.0f} TFLOP/s in {precision}" for precision, peak in PEAKS.items())
    print(f"hours: assumed for batches of {BATCH} clips at {SHARE:.0%} of the {GPU}'s {peaks}; not measured")
    return 0


if __name__ == "__main__":
    sys.exit(main())
