"""Guidance: several predictions of a network combined into one (paper eq. 8). A rule is a row of data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from .euler import Denoise
from .parallel import at_once, cores

if TYPE_CHECKING:
    from .stage import Stage, Windows

# Noise levels between which a stage is guided, both inclusive.
Interval = tuple[float, float]
EVERYWHERE: Interval = (0.0, math.inf)


class Prediction(NamedTuple):
    """How the network is evaluated for one prediction: with or without the speech and the reference; `weak`: by a
    weaker copy of the network instead."""

    audio: bool = True
    reference: bool = True
    weak: bool = False


@dataclass(frozen=True)
class Guidance:
    """A guidance rule.

    `predictions` by name, the last one fully conditioned. `scales` names its numbers: fields of `StageSpec`, which
    holds their defaults, and of `Sampling`. `combine` takes predictions and scales by name and returns one prediction.
    `stand_ins` gives, for predictions that cancel out at these scales, the name of another one to use in their place.
    """

    predictions: Mapping[str, Prediction]
    scales: tuple[str, ...]
    combine: Callable[..., Tensor]
    stand_ins: Callable[..., Mapping[str, str]]

    def needed(self, scales: Mapping[str, float]) -> dict[str, Prediction]:
        """The predictions to evaluate at these scales, by name."""
        replaced = self.stand_ins(**scales)
        return {name: prediction for name, prediction in self.predictions.items() if name not in replaced}

    def combined(self, made: Mapping[str, Tensor], scales: Mapping[str, float]) -> Tensor:
        """The guided prediction from the needed ones, tensors of one shape."""
        replaced = self.stand_ins(**scales)
        return self.combine(**{name: made[replaced.get(name, name)] for name in self.predictions}, **scales)

    def evaluations(self, sigma: float, interval: Interval, scales: Mapping[str, float]) -> int:
        """Network evaluations of one step: one outside the guidance interval."""
        return len(self.needed(scales)) if _guided(sigma, interval) else 1


def _combine_conditions(
    neither: Tensor, identity: Tensor, both: Tensor, audio_guidance: float, identity_guidance: float
) -> Tensor:
    return audio_guidance * (both - identity) + identity_guidance * (identity - neither) + neither


def _condition_stand_ins(audio_guidance: float, identity_guidance: float) -> dict[str, str]:
    replaced = {"identity": "both"} if audio_guidance == identity_guidance else {}
    if identity_guidance == 1:
        replaced["neither"] = replaced.get("identity", "identity")
    return replaced


# From nothing to the identity, from there to the speech (paper eq. 8).
TWO_CONDITIONS = Guidance(
    predictions={
        "neither": Prediction(audio=False, reference=False),
        "identity": Prediction(audio=False),
        "both": Prediction(),
    },
    scales=("audio_guidance", "identity_guidance"),
    combine=_combine_conditions,
    stand_ins=_condition_stand_ins,
)


def guide(
    stage: Stage,
    windows: Windows,
    scales: Mapping[str, float] | None = None,
    interval: Interval = EVERYWHERE,
    weak: Stage | None = None,
) -> Denoise:
    """The guided denoiser of windows, by the stage's rule; `scales` None: the stage's own.

    Between the noise levels of `interval` the network is evaluated for each prediction that does not cancel out,
    outside it once, fully conditioned. `weak` is the network of predictions that are made by a weaker one.
    """
    rule, scales = stage.spec.guidance, stage.spec.scales if scales is None else scales
    evaluated = {
        name: (_network(stage, weak, prediction), prediction) for name, prediction in rule.needed(scales).items()
    }
    conditions = {
        name: network.condition(windows, audio=prediction.audio, reference=prediction.reference)
        for name, (network, prediction) in evaluated.items()
    }
    *_, full = conditions.values()

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        if not _guided(float(sigma), interval):
            denoised: Tensor = stage(x, sigma, full)
            return denoised
        calls = [partial(evaluated[name][0], x, sigma, condition) for name, condition in conditions.items()]
        made = dict(zip(conditions, at_once(calls, cores(x.device, partial(stage.peak_bytes, len(x)))), strict=True))
        return rule.combined(made, scales)

    return denoise


def _network(stage: Stage, weak: Stage | None, prediction: Prediction) -> Stage:
    if not prediction.weak:
        return stage
    if weak is None:
        raise ValueError(f"the guidance of the {stage.spec.name} model needs a weaker copy of its network")
    return weak


def _guided(sigma: float, interval: Interval) -> bool:
    return interval[0] <= sigma <= interval[1]
