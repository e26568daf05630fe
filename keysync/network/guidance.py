"""Guidance: several predictions of a network combined into one (paper eq. 8). A rule is a row of data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from .euler import Denoise
from .parallel import at_once, cores

if TYPE_CHECKING:
    from .stage import Condition, Stage, Windows

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


def _combine_networks(weak: Tensor, good: Tensor, autoguidance: float) -> Tensor:
    return weak + autoguidance * (good - weak)


def _network_stand_ins(autoguidance: float) -> dict[str, str]:
    return {"weak": "good"} if autoguidance == 1 else {}


# Away from what a weaker copy of the network predicts, both fully conditioned (Karras et al., 2024).
AUTOGUIDANCE = Guidance(
    predictions={"weak": Prediction(weak=True), "good": Prediction()},
    scales=("autoguidance",),
    combine=_combine_networks,
    stand_ins=_network_stand_ins,
)


@dataclass(frozen=True)
class _Call:
    """A call of a network for predictions that share it: their names, and the condition of all their windows."""

    network: Stage
    names: tuple[str, ...]
    condition: Condition

    def of(self, x: Tensor, sigma: Tensor) -> Callable[[], dict[str, Tensor]]:
        """Makes the predictions of x (b, t, 4, h, w) by name."""

        def run() -> dict[str, Tensor]:
            count = len(self.names)
            made: Tensor = self.network(x.repeat(count, 1, 1, 1, 1), sigma, self.condition)
            return dict(zip(self.names, made.chunk(count), strict=True))

        return run


def guide(
    stage: Stage,
    windows: Windows,
    scales: Mapping[str, float] | None = None,
    interval: Interval = EVERYWHERE,
    weak: Stage | None = None,
    most: int = 1,
) -> Denoise:
    """The guided denoiser of windows, by the stage's rule; `scales` None: the stage's own.

    Between the noise levels of `interval` the network is evaluated for each prediction that does not cancel out,
    outside it once, fully conditioned. `weak` is the network of predictions that are made by a weaker one. Predictions
    share a call where it has `most` windows at most.
    """
    rule, scales = stage.spec.guidance, stage.spec.scales if scales is None else scales
    alone = [
        _Call(network, (name,), network.condition(windows, audio=made.audio, reference=made.reference))
        for name, made in rule.needed(scales).items()
        for network in [_network(stage, weak, made)]
    ]
    full, calls = alone[-1].condition, _joined(alone, most // len(windows))

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        if not _guided(float(sigma), interval):
            denoised: Tensor = stage(x, sigma, full)
            return denoised
        count = cores(x.device, partial(stage.peak_bytes, len(x) * max(len(call.names) for call in calls)))
        made = at_once([call.of(x, sigma) for call in calls], count)
        return rule.combined({name: prediction for some in made for name, prediction in some.items()}, scales)

    return denoise


def _joined(calls: Sequence[_Call], most: int) -> list[_Call]:
    """Calls of the same network, all silent or none, as one for up to `most` predictions: the attention to speech is
    left out of silent ones."""
    joined: list[_Call] = []
    for call in calls:
        last = joined[-1] if joined else None
        if (
            last is None
            or last.network is not call.network
            or last.condition.silent != call.condition.silent
            or len(last.names) >= most
        ):
            joined.append(call)
        else:
            joined[-1] = _Call(call.network, last.names + call.names, last.condition.and_those(call.condition))
    return joined


def _network(stage: Stage, weak: Stage | None, prediction: Prediction) -> Stage:
    if not prediction.weak:
        return stage
    if weak is None:
        raise ValueError(f"the guidance of the {stage.spec.name} model needs a weaker copy of its network")
    return weak


def _guided(sigma: float, interval: Interval) -> bool:
    return interval[0] <= sigma <= interval[1]
