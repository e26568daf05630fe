"""The two U-Nets by themselves: one evaluation for a group of windows, and whole windows sampled by each preset."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from keysync.method import LATENT_CHANNELS
from keysync.network.stage import IDENTITY, SCALE_FACTOR, Stage, StageSpec, Windows, preconditioning
from keysync.systems.keysync.generate import sample
from keysync.systems.keysync.presets import PRESETS, make_sampling

from .cards import peak
from .counts import TERA, evaluation_operations, per_frame
from .machine import Machine, full_float32
from .precisions import REFERENCE, Precision
from .sheet import Figures, NotRunError
from .sizes import INTERPOLATION, KEYFRAME, Sizes, make_stage

# A noise level in the middle of the schedule.
SIGMA = 1.8
# How much of the free memory a group may be expected to take.
SAFE = 0.9
# The presets from the fewest evaluations to the most; the first warms the others up.
BY_COST = tuple(reversed(tuple(PRESETS)))
FEWEST = BY_COST[0]


@dataclass(frozen=True)
class Bench:
    """What all rows of the networks share."""

    machine: Machine
    sizes: Sizes


def random_windows(spec: StageSpec, group: int) -> tuple[Windows, Tensor]:
    """Windows and noisy latents for them, on the CPU; each window's numbers depend on its place alone."""
    each = [_random_window(spec, seed) for seed in range(group)]
    features, reference, known, mask, noisy = (torch.stack(parts) for parts in zip(*each, strict=True))
    return Windows(features, reference, known, mask), noisy


def _random_window(spec: StageSpec, seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    latent, frames = (LATENT_CHANNELS, *spec.latent_size), spec.window
    mask = torch.ones(frames, 1, *spec.latent_size)
    mask[:, :, : spec.latent_size[0] // 2] = 0.0
    reference = latent if spec.reference == IDENTITY else (2, *latent)
    shapes = (frames, 2, spec.audio_channels), reference, (frames, *latent), (frames, *latent)
    features, given, known, noise = (torch.randn(shape, generator=generator) for shape in shapes)
    return features, SCALE_FACTOR * given, known, mask, known + SIGMA * noise


class Evaluation:
    """An evaluation of a stage's network for a group of windows, ready to be called: all inputs are on the device."""

    def __init__(self, stage: Stage, group: int) -> None:
        windows, noisy = random_windows(stage.spec, group)
        self._stage, self._condition = stage, stage.condition(windows)
        sigma = torch.full((), SIGMA, device=stage.device)
        _, _, c_in, c_noise = preconditioning(sigma)
        self._input = c_in * noisy.to(stage.device)
        self._noise = c_noise.expand(group * stage.spec.window)

    @torch.no_grad()
    def __call__(self) -> Tensor:
        return self._stage.network(self._input, self._noise, self._condition)


def precise(precision: Precision) -> AbstractContextManager[None]:
    """Inside, the reference is computed without TF32."""
    return full_float32() if precision == REFERENCE else nullcontext()


def measure_stage(
    bench: Bench, stage: Stage, precision: Precision, group: int, reference: Tensor | None
) -> tuple[dict[str, float | None], Tensor]:
    """Figures of an evaluation for a group of windows, and what it gave for the first one, float32 on the CPU."""
    machine, spec = bench.machine, stage.spec
    evaluation = Evaluation(stage, group)
    machine.release()
    with precise(precision):
        output = evaluation()[:1].float().cpu()
        seconds = machine.median(evaluation, bench.sizes.measured)
    speed = evaluation_operations(spec) * group / seconds
    most = peak(machine.card, precision.dtype)
    figures: dict[str, float | None] = {
        "group": group,
        "seconds": seconds,
        "evaluations_per_second": group / seconds,
        "tflops": speed / TERA,
        "share_of_peak": None if most is None else speed / most,
        "peak_bytes": machine.peak_bytes(),
        "weight_bytes": sum(parameter.nbytes for parameter in stage.parameters()),
        "error": None if reference is None else relative_error(output, reference),
    }
    return figures, output


def relative_error(output: Tensor, reference: Tensor) -> float:
    """Relative L2. Raises `ArithmeticError` where the output is not finite."""
    if not torch.isfinite(output).all():
        raise ArithmeticError("the output is not finite")
    return float((output - reference).norm() / reference.norm())


def frames_per_second(sizes: Sizes, keyframe: Figures, interpolation: Figures) -> dict[str, float | None]:
    """New frames per second by each preset, from figures of both stages; keyframes are never grouped."""
    each = [1 / float(figures["evaluations_per_second"] or 0) for figures in (keyframe, interpolation)]
    return {preset: 1 / per_frame(preset, sizes, *each) for preset in PRESETS}


def largest_group(bench: Bench, alone: Figures) -> int:
    """The largest group that is expected to fit, from the memory that one window took."""
    most, weights, free = alone["peak_bytes"], alone["weight_bytes"], bench.machine.free_bytes()
    if most is None or weights is None or free is None:
        return bench.sizes.most_group
    activations = max(1.0, most - weights)
    return max(1, min(bench.sizes.most_group, int((SAFE * free - weights) / activations)))


def measure_alone(
    bench: Bench, spec: StageSpec, precision: Precision, reference: Tensor | None
) -> tuple[dict[str, float | None], Tensor]:
    """Figures of an evaluation for one window by a new stage, and what it gave."""
    precision.check(bench.machine.device)
    stage = make_stage(spec, precision, bench.machine.device)
    return measure_stage(bench, stage, precision, 1, reference)


def measure_largest(
    bench: Bench, spec: StageSpec, precision: Precision, group: int, reference: Tensor | None
) -> dict[str, float | None]:
    """Figures of the largest group that fits: half as many windows are tried where `group` do not."""

    def measured(windows: int) -> dict[str, float | None]:
        stage = make_stage(spec, precision, bench.machine.device)
        return measure_stage(bench, stage, precision, windows, reference)[0]

    while group > 1:
        with suppress(torch.OutOfMemoryError):
            return measured(group)
        bench.machine.release()
        group //= 2
    raise NotRunError("one window is the largest group that fits")


def measure_sampling(bench: Bench, preset: str, group: int) -> Figures:
    """Figures of windows that are sampled in the library's precision, with guidance, Euler's steps and the checks, and
    of the keyframes that their frames need, which are sampled one window at a time."""
    sampling = replace(make_sampling(preset), group=group)
    machine, seconds, evaluations = bench.machine, {}, {}
    for name, windows in ((KEYFRAME, 1), (INTERPOLATION, group)):
        stage = make_stage(bench.sizes.specs[name], bench.sizes.usual, machine.device)
        given, noise = random_windows(stage.spec, windows)
        sample(stage, given, noise, make_sampling(FEWEST, group=group))
        seconds[name] = machine.clock(partial(sample, stage, given, noise, sampling))
        evaluations[name] = windows * sampling.network_evaluations(stage.spec)
    new = bench.sizes.specs[KEYFRAME].frames_apart
    return {
        "group": group,
        "seconds": sum(seconds.values()),
        "evaluations": sum(evaluations.values()),
        "evaluations_per_second": sum(evaluations.values()) / sum(seconds.values()),
        "frames_per_second": new / (seconds[INTERPOLATION] / group + seconds[KEYFRAME] / new),
    }
