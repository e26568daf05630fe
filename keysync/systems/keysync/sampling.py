"""How both stages are sampled: noise levels, guidance, and how many windows share a call."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import KeySyncError
from ...network.guidance import EVERYWHERE, Interval
from ...network.schedule import ays_sigmas, fall

if TYPE_CHECKING:
    from ...network.stage import StageSpec


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
