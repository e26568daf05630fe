"""Counts what a training run costs: `python -m training.cost [PRESET ...] [--key value ...]`.

One step at full size runs on fake tensors, which have shapes but no data: its floating-point operations are counted
operator by operator, its memory tensor by tensor. Hours follow from a GPU's peak throughput and an assumed utilisation,
which is printed with them.
"""

from __future__ import annotations

import argparse
import math
import sys
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from keysync.errors import KeySyncError
from keysync.method import LATENT_CHANNELS, PIXELS_PER_LATENT
from keysync.network.stage import ALL_STAGES, STAGES, Stage

from .config.config import ADAMW, NO, PRESETS, TrainConfig, load_config, overrides_of
from .data.dataset import Batch
from .loss.distillation import is_own_teacher, teacher_evaluations
from .loss.loss import Draws, LossModule
from .weights.frozen import hold
from .weights.initial_weights import new_spec
from .weights.lora import adapted
from .weights.trainable import freeze

GIB = 2**30
# Peak dense operations per second of an NVIDIA A100, the paper's GPU (fp32 runs as TF32), and the usual utilisation in
# training.
GPU, SHARE = "A100", 0.4
PEAKS = {"fp32": 156e12, "bf16": 312e12, "fp16": 312e12}
# The paper's batch size (table 7), in clips.
BATCH = 32
GPUS = (1, 8)
# Of AdamW in 8 bits (bitsandbytes, torchao): smaller tensors are in float32, larger have a scale for each block.
LEAST_IN_8_BITS, BLOCK = 4096, 256


@dataclass(frozen=True)
class Cost:
    """One step of one process: floating-point operations per clip and their precision, peak memory in bytes by part
    (weights, gradients, AdamW, activations, and of distillation the teacher), and the number of parameters, in all and
    trained; `teacher` is how often a teacher is evaluated per clip, on average, which the operations include."""

    flops: float
    precision: str
    memory: dict[str, int]
    parameters: int
    trained: int
    teacher: float = 0.0

    @property
    def peak(self) -> int:
        """Peak memory in bytes."""
        return sum(self.memory.values())

    def hours(self, steps: int, gpus: int) -> float:
        """Hours for `steps` steps of `BATCH` clips on `gpus` GPUs of type `GPU`."""
        return self.flops * BATCH * steps / (PEAKS[self.precision] * SHARE * gpus) / 3600


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
        decoder = _decoder() if config.rgb_weight else None
        module = LossModule(stage, decoder, config)
        trained = [parameter for parameter in stage.parameters() if parameter.requires_grad]
        batch, draws = _inputs(config, size, audio_channels)
        held = list(stage.parameters())
        if decoder and not config.offload_decoder:
            held += decoder.parameters()

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=config.precision != "fp32"):
                total = module(batch, draws).total
            total.backward()

        # Separate runs: the counter keeps tensors alive that gradient checkpointing computes twice.
        with Memory(held) as memory:
            step()
        stage.zero_grad()
        with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
            step()
        own = counter.get_total_flops() / config.batch_size
        teacher = 0.0 if config.distill == NO else teacher_evaluations(config, stage.spec)
        with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter, torch.no_grad():
            module.denoise(batch, draws)
        taught = teacher * counter.get_total_flops() / config.batch_size
    numbers = sum(parameter.numel() for parameter in trained)
    lasting = {
        "weights": sum(parameter.nbytes for parameter in held),
        "gradients": 4 * numbers,
        "AdamW": _states(trained, config),
    }
    if teacher and not is_own_teacher(config):
        lasting["teacher"] = sum(parameter.nbytes for parameter in stage.parameters())
    return Cost(
        flops=own + taught,
        precision=config.precision,
        memory={**lasting, "activations": memory.peak - lasting["weights"] - lasting["gradients"]},
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


class Memory(TorchDispatchMode):
    """Tracks the bytes of all live tensors; `peak` is their maximum."""

    def __init__(self, held: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: set[int] = set()
        for tensor in held:
            self._add(tensor)

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        out = function(*arguments, **(named or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._add(tensor)
        return out

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _decoder() -> nn.Module:
    """The decoder of Stable Video Diffusion's VAE at full size."""
    from diffusers import AutoencoderKLTemporalDecoder

    decoder: nn.Module = AutoencoderKLTemporalDecoder(
        down_block_types=("DownEncoderBlock2D",) * 4, block_out_channels=(128, 256, 512, 512), layers_per_block=2
    ).decoder
    return decoder


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


def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward(
    grad: Sequence[int], query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any
) -> int:
    return int(sdpa_backward_flop_count(grad, query, key, value))


# PyTorch's counter knows these operators only for GPUs.
CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def table(costs: dict[str, tuple[TrainConfig, Cost]]) -> str:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.cost", description=__doc__, allow_abbrev=False)
    parser.add_argument("presets", nargs="*", default=list(STAGES), metavar="PRESET", help=", ".join(PRESETS))
    parser.add_argument("--cards", action="store_true", help="what fits on cards of 8 to 80 GB, as a table")
    options, rest = parser.parse_known_args(arguments)
    try:
        if options.cards:
            from .cards import counted, table_of_cards  # here: they count with this module

            print(table_of_cards(counted(options.presets, overrides_of(rest))))
            return 0
        configs = {name: load_config(name, None, overrides_of(rest)) for name in options.presets}
        costs = {name: (config, measure(config)) for name, config in configs.items()}
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
