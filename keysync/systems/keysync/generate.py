"""The two stages at work: keyframes from speech and identity, then the frames between two keyframes (paper §3.3).

Tensors are batches of windows, (b, t, ...); windows do not see each other, so any grouping gives the same numbers.
"""

from __future__ import annotations

from functools import partial
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

from ...network.euler import euler
from ...network.guidance import guide
from ...network.parallel import SMALL, Stop, at_once, cores
from ...network.precision import NotFiniteError, is_finite
from ...network.stage import Stage, StageSpec, Windows
from ..renderer import OnStep
from .compiled import compile_network, compiling
from .sampling import Sampling

# How much of a GPU's free memory a call of the network may take.
FREE_SHARE = 0.7


class HostStage(Protocol):
    """A stage that a host program runs, its memory managed there: it samples windows by itself, as `sample` does."""

    @property
    def spec(self) -> StageSpec: ...

    def sample(self, windows: Windows, noise: Tensor, sampling: Sampling, on_step: OnStep | None) -> Tensor: ...


@torch.no_grad()
def sample(
    stage: Stage | HostStage, windows: Windows, noise: Tensor, sampling: Sampling, on_step: OnStep | None = None
) -> Tensor:
    """Latents (b, t, 4, h, w) of b windows, from noise of that shape; those of a stage that keeps its ends begin and
    end with the keyframes.

    `on_step(n)` follows each step, in which the network was evaluated n times for a window. Raises `NotFiniteError`
    where a step gives an infinity or NaN.
    """
    sampled = (
        sample_here(stage, windows, noise, sampling, on_step)
        if isinstance(stage, Stage)
        else (stage.sample(windows, noise, sampling, on_step))
    )
    if stage.spec.row.keeps_ends:
        sampled[:, [0, -1]] = windows.reference.to(sampled)
    return sampled


def sample_here(
    stage: Stage,
    windows: Windows,
    noise: Tensor,
    sampling: Sampling,
    on_step: OnStep | None,
    weak: Stage | None = None,
) -> Tensor:
    """What the network itself gives, see `sample`; `weak` is the weaker copy that guides it, where its rule has one."""
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

        denoise = guide(stage, windows[part], scales, sampling.guidance_interval, weak, most)
        return euler(denoise, noise[part].to(stage.device), sigmas, follow)

    group = sampling.group or windows_a_call(stage, len(windows))
    # A GPU has enough to do with one prediction, a compiled network has one shape, and a chosen group is kept to.
    alone = stage.device.type != "cpu" or sampling.compiled or sampling.group
    most = 1 if alone else windows_a_call(stage, stage.spec.window - 1)
    parts = [slice(start, start + group) for start in range(0, len(windows), group)]
    calls = [partial(draw, part) for part in parts]
    if sampling.compiled:
        compile_network(stage)
        with compiling():
            return torch.cat([call() for call in calls])
    count = cores(stage.device, partial(stage.peak_bytes, group)) if len(parts) > 1 else 1
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


def batches_at_once(stage: Stage | HostStage) -> int:
    """How many batches of keyframes of a clip `sample` is best given together: one for each core of a CPU that a small
    network is computed on."""
    return _cores(stage) if isinstance(stage, Stage) else 1
