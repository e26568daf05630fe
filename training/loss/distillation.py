"""The losses of distillation: a student learns in one evaluation what its teacher computes in several.

Guidance (Meng et al., 2023, "On Distillation of Guided Diffusion Models", stage one, at fixed scales): the student's
fully conditioned prediction approaches the teacher's guided one. Steps (Salimans & Ho, 2022, "Progressive Distillation
for Fast Sampling of Diffusion Models", algorithm 2; Euler's steps are DDIM's): a step of the student from level a to b
ends where several steps of the teacher end. The student learns at noised data, or at what the teacher samples on its
way from noise: there it will be evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.network.euler import Denoise, euler
from keysync.network.guidance import guide
from keysync.network.schedule import AYS
from keysync.network.stage import Stage, StageSpec
from keysync.weights.checkpoint import load_stage, open_stage

from ..config.config import GUIDANCE_FIRST, STEPS, TRAJECTORY, TrainConfig
from ..weights.lora import without_adapters
from .loss import Draws, Losses, LossModule, noised, windows_of

if TYPE_CHECKING:
    from ..data.dataset import Batch


class Teacher(NamedTuple):
    """The teacher's spec, and its network: None if it is the student's without adapters."""

    spec: StageSpec
    stage: Stage | None


def is_own_teacher(config: TrainConfig) -> bool:
    """Whether the student without its adapters is the teacher. Not with shards: processes evaluate a teacher unequally
    often, and each evaluation of sharded weights needs all of them."""
    return config.trainable == "lora" and config.distributed != "fsdp"


def load_teacher(config: TrainConfig, device: torch.device | str) -> Teacher:
    """The teacher of a run, in float32. Raises `KeySyncError` as `open_stage` does."""
    if is_own_teacher(config):
        return Teacher(open_stage(config.start, expect=config.stage).spec, None)
    stage = load_stage(config.start, expect=config.stage, device=device, dtype=torch.float32)
    return Teacher(stage.spec, stage)


class Distillation(LossModule):
    """The loss of a student. Speech and identity are never dropped.

    Like the decoder, the teacher is frozen and not a submodule; it must be on the student's device.
    """

    def __init__(self, stage: Stage, teacher: Teacher, config: TrainConfig) -> None:
        """Raises `KeySyncError` for a teacher that cannot be distilled with these settings."""
        super().__init__(stage, None, config)
        spec = teacher.spec
        if config.distill == GUIDANCE_FIRST and spec.guidance_baked:
            raise KeySyncError(f"{config.start} is distilled with its guidance already: distill its steps")
        foreign = [level for level in config.schedule if spec.levels and level not in spec.levels]
        if foreign:
            raise KeySyncError(
                f"levels has {foreign[0]:g} but {config.start} is distilled to the noise levels "
                f"{', '.join(f'{level:g}' for level in spec.levels or ())}: choose levels among these"
            )
        self.teacher, self.scales = teacher, teacher_scales(spec, config)
        if teacher.stage is not None:
            teacher.stage.requires_grad_(False).eval()

    def forward(self, batch: Batch, draws: Draws) -> Losses:
        """The losses of a batch; `pixel` and `sync` are 0."""
        batch, draws = batch.to(self.stage.device), draws.to(self.stage.device)
        with torch.no_grad():
            x, target = self.lesson(batch, draws)
        with torch.autocast(x.device.type, enabled=False):
            condition = self.stage.condition(windows_of(self.stage, batch))
        denoised = self.stage(x, draws.sigma, condition)
        latent = self.latent_loss(denoised, target, batch, draws.sigma)
        none = torch.zeros_like(latent)
        return Losses(latent, latent.detach(), none, none)

    def lesson(self, batch: Batch, draws: Draws) -> tuple[Tensor, Tensor]:
        """Noisy latents (b, t, 4, h, w) at the levels drawn, and the denoised ones that the student is to give."""
        if self.teacher.stage is not None:
            return self._lesson(self.teacher.stage, batch, draws)
        with without_adapters(self.stage):
            return self._lesson(self.stage, batch, draws)

    def _lesson(self, teacher: Stage, batch: Batch, draws: Draws) -> tuple[Tensor, Tensor]:
        windows, noisy = windows_of(teacher, batch), noised(batch.latents, draws)
        given, targets = [], []
        for clip, level in enumerate(draws.sigma.tolist()):  # each clip has a level of its own
            part, way = slice(clip, clip + 1), way_of(self.config, self.teacher.spec, level)
            with torch.autocast(noisy.device.type, enabled=False):
                denoise = guide(teacher, windows[part], self.scales)
            x = noisy[part]
            if way.before:
                x = euler(denoise, draws.noise[part], torch.tensor(way.before).double())
            given.append(x)
            targets.append(step_target(denoise, x, way.after))
        return torch.cat(given), torch.cat(targets)


def step_target(denoise: Denoise, x: Tensor, levels: Sequence[float]) -> Tensor:
    """The denoised latents with which one step of Euler's method from x ends where those through all levels end.

    A step is x' = r x + (1 - r) D with r the ratio of the levels, so that several of them mix their D as they mix x.
    """
    mixed = torch.zeros_like(x)
    for level, below in pairwise(levels):
        ratio = below / level
        denoised = denoise(x, x.new_tensor(level))
        mixed = ratio * mixed + (1 - ratio) * denoised
        x = ratio * x + (1 - ratio) * denoised
    return mixed / (1 - levels[-1] / levels[0])


class Way(NamedTuple):
    """The noise levels that a teacher steps through: `before`, from pure noise to where the student learns (empty: it
    learns at noised data), and `after`, for one step of the student. A level begins where the one before it ends."""

    before: tuple[float, ...]
    after: tuple[float, ...]

    @property
    def steps(self) -> int:
        """The teacher's steps."""
        return max(0, len(self.before) - 1) + len(self.after) - 1


def way_of(config: TrainConfig, spec: StageSpec, level: float) -> Way:
    """The teacher's way to and from a noise level; of the levels of a schedule, it is the nearest one."""
    if not config.schedule:
        return Way((), (level, 0.0))
    levels = (*config.schedule, 0.0)
    place = min(range(len(config.schedule)), key=lambda number: abs(levels[number] - level))
    parts = [between(config, spec, *ends) for ends in pairwise(levels)]
    to = (*(one for part in parts[:place] for one in part[:-1]), levels[place])
    return Way(
        before=to if config.distill_from == TRAJECTORY else (),
        after=parts[place] if config.distill == STEPS else (levels[place], 0.0),
    )


def between(config: TrainConfig, spec: StageSpec, first: float, last: float) -> tuple[float, ...]:
    """The teacher's levels from one level of the student to the next: `teacher_steps` steps, spread evenly over the
    table of the method's schedule, or for 0 the levels of the teacher's own schedule."""
    levels: Sequence[float] = spec.levels or AYS
    if config.teacher_steps:
        places, logs = np.arange(len(AYS)), np.log(AYS)
        start, end = np.interp(-np.log([first, last or AYS[-1]]), -logs, places)
        within = np.linspace(start, end, config.teacher_steps + 1)[1:-1]
        if not last:  # the step to 0 begins at the table's end
            within = np.linspace(start, end, config.teacher_steps)[1:]
        levels = np.exp(np.interp(within, places, logs)).tolist()
    return (first, *(level for level in levels if last < level < first), last)


def teacher_scales(spec: StageSpec, config: TrainConfig) -> dict[str, float]:
    """The scales that the teacher is guided with. Raises `KeySyncError` for those that it excludes."""
    return spec.scales_with({name: getattr(config, name) or None for name in spec.guidance.scales})


def teacher_evaluations(config: TrainConfig, spec: StageSpec) -> float:
    """How often the teacher's network is evaluated for a clip, on average over the levels."""
    steps = [way_of(config, spec, level).steps for level in config.schedule or (1.0,)]
    return sum(steps) / len(steps) * len(spec.guidance.needed(teacher_scales(spec, config)))
