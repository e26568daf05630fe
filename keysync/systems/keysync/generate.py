"""The two stages at work: keyframes from speech and identity, then the frames between two keyframes (paper §3.3).

Tensors are batches of windows, (b, t, ...); windows do not see each other, so any grouping gives the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

from ...errors import KeySyncError
from ...network.euler import euler
from ...network.guidance import EVERYWHERE, Interval, guide
from ...network.parallel import SMALL, Stop, at_once, cores
from ...network.precision import NotFiniteError, is_finite
from ...network.schedule import ays_sigmas, fall
from ...network.stage import ENDS, Stage, StageSpec, Windows
from ..renderer import OnStep
from .compiled import compile_network, compiling

# How much of a GPU's free memory a call of the network may take.
FREE_SHARE = 0.7


@dataclass(frozen=True)
class Sampling:
    """How latents are sampled. `group` windows share one network call; None: as many as the stage is fastest with.
    `compiled`: the network is compiled first.

    A guidance scale that is None is the one that each stage is best sampled with. `levels` are falling noise levels to
    step through, down to 0, instead of the method's schedule of so many `evaluations`; a stage that is distilled to
    levels of its own steps through those, unless other levels or another number are chosen.
    """

    evaluations: int = 11
    audio_guidance: float | None = None
    identity_guidance: float | None = None
    guidance_interval: Interval = EVERYWHERE
    group: int | None = None
    levels: tuple[float, ...] | None = None
    compiled: bool = False

    def __post_init__(self) -> None:
        _ = self.sigmas  # refuses too few steps here, before any work
        if self.levels is not None and not fall(self.levels):
            raise KeySyncError(
                f"the noise levels are {list(self.levels)}: expected positive numbers, each below the one before"
            )
        for name in ("audio_guidance", "identity_guidance"):
            scale = getattr(self, name)
            if scale is not None and not math.isfinite(scale):
                raise KeySyncError(
                    f"the {name.replace('_', ' ')} is {scale}: expected a finite number, such as 5", about=name
                )
        if any(math.isnan(level) for level in self.guidance_interval):
            raise KeySyncError(f"the guidance interval is {self.guidance_interval}: expected two noise levels")

    @property
    def sigmas(self) -> Tensor:
        """The noise levels of a stage without levels of its own, float64 (n + 1,), ending in 0."""
        return ays_sigmas(self.evaluations) if self.levels is None else torch.tensor([*self.levels, 0.0]).double()

    def sigmas_of(self, spec: StageSpec) -> Tensor:
        """The noise levels of a stage, float64 (n + 1,), ending in 0."""
        own = self.levels is None and self.evaluations == Sampling.evaluations
        return replace(self, levels=spec.levels).sigmas if own else self.sigmas

    def scales(self, spec: StageSpec) -> dict[str, float]:
        """The scales of a stage's guidance rule, by name. Raises `KeySyncError` for those that the stage excludes."""
        return spec.scales_with({name: getattr(self, name) for name in spec.guidance.scales})

    def evaluations_at(self, sigma: float, spec: StageSpec) -> int:
        """How often the network of a stage is evaluated for one window at a noise level."""
        return spec.guidance.evaluations(sigma, self.guidance_interval, self.scales(spec))

    def network_evaluations(self, spec: StageSpec) -> int:
        """How often the network of a stage is evaluated for one window."""
        return sum(self.evaluations_at(sigma, spec) for sigma in self.sigmas_of(spec)[:-1].tolist())


class HostStage(Protocol):
    """A stage that a host program runs, its memory managed there: it samples windows by itself, as `sample` does."""

    @property
    def spec(self) -> StageSpec: ...

    def sample(self, windows: Windows, noise: Tensor, sampling: Sampling, on_step: OnStep | None) -> Tensor: ...


@torch.no_grad()
def sample(
    stage: Stage | HostStage, windows: Windows, noise: Tensor, sampling: Sampling, on_step: OnStep | None = None
) -> Tensor:
    """Latents (b, t, 4, h, w) of b windows, from noise of that shape; windows between keyframes begin and end with
    them.

    `on_step(n)` follows each step, in which the network was evaluated n times for a window. Raises `NotFiniteError`
    where a step gives an infinity or NaN.
    """
    sampled = (
        _sample(stage, windows, noise, sampling, on_step)
        if isinstance(stage, Stage)
        else (stage.sample(windows, noise, sampling, on_step))
    )
    if stage.spec.reference == ENDS:
        sampled[:, [0, -1]] = windows.reference.to(sampled)
    return sampled


def _sample(stage: Stage, windows: Windows, noise: Tensor, sampling: Sampling, on_step: OnStep | None) -> Tensor:
    sigmas, scales = sampling.sigmas_of(stage.spec), sampling.scales(stage.spec)
    evaluations = [sampling.evaluations_at(sigma, stage.spec) for sigma in sigmas[:-1].tolist()]
    stop, taking_turns = Stop(), Lock()

    def draw(part: slice) -> Tensor:
        def follow(step: int, latents: Tensor) -> None:
            """Counts the steps, and stops at the first whose latents are not finite: none after it would be."""
            stop.check()
            if not is_finite(latents):
                raise NotFiniteError
            if on_step is not None:
                with taking_turns:
                    on_step(len(latents) * evaluations[step])

        denoise = guide(stage, windows[part], scales, sampling.guidance_interval)
        return euler(denoise, noise[part].to(stage.device), sigmas, follow)

    group = sampling.group or windows_a_call(stage, len(windows))
    parts = [slice(start, start + group) for start in range(0, len(windows), group)]
    calls = [partial(draw, part) for part in parts]
    if sampling.compiled:
        compile_network(stage)
        with compiling():
            return torch.cat([call() for call in calls])
    count = cores(stage.device, partial(stage.peak_bytes, min(group, len(windows))))
    return torch.cat(at_once(calls, count, stop))


def _cores(stage: Stage) -> int:
    """How many windows are sampled at once on the stage's device, by themselves."""
    return cores(stage.device, partial(stage.peak_bytes, 1))


def windows_a_call(stage: Stage, most: int) -> int:
    """How many of so many windows share a call of the network: as many as a GPU's free memory holds; on a CPU as many
    as caches hold, and so few that all its cores have some."""
    if most == 1 or stage.device.type not in ("cpu", "cuda"):
        return 1
    if stage.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(stage.device)
        fit = int(FREE_SHARE * free) // stage.peak_bytes(1)
    else:
        fit = min(SMALL // stage.peak_bytes(1), -(-most // _cores(stage)))
    return max(1, min(fit, most))


def windows_at_once(stage: Stage | HostStage, sampling: Sampling) -> int:
    """How many windows of a span `sample` is best given together: memory holds what they are made of.

    A host takes all that it is given, and puts them into groups by itself.
    """
    if not isinstance(stage, Stage):
        return sampling.group or 1
    most = stage.spec.window - 1  # those of a batch of keyframes
    return min(most, (sampling.group or windows_a_call(stage, most)) * _cores(stage))
