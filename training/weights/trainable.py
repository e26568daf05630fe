"""Which weights of a stage are trained: a row of `CHOICES` for each value of the setting `trainable`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from keysync.network.stage import Stage

if TYPE_CHECKING:
    from ..config.config import TrainConfig


class Counts(NamedTuple):
    """Tensors of the U-Net that are trained and frozen, and how many numbers of the whole stage are trained."""

    trained: int
    frozen: int
    numbers: int


def _is_not_temporal(name: str) -> bool:
    """The method freezes what mixes frames and trains the rest (KeySync reference implementation)."""
    return "time_" not in name or "time_embed" in name


# By the name inside the U-Net. Audio projection and learned mask are trained where any of the U-Net's own weights are.
CHOICES: dict[str, Callable[[str], bool]] = {
    "published": _is_not_temporal,
    "all": lambda name: True,
    "lora": lambda name: ".lora_" in name,
}


def freeze(stage: Stage, config: TrainConfig) -> Counts:
    """Marks the weights that `config.trainable` trains, and counts them.

    "lora" trains the adapters in an adapted stage alone.
    """
    trained = CHOICES[config.trainable]
    stage.requires_grad_(config.trainable != "lora")
    for name, parameter in stage.unet.named_parameters():
        parameter.requires_grad_(trained(name))
    marks = [parameter.requires_grad for parameter in stage.unet.parameters()]
    numbers = sum(parameter.numel() for parameter in stage.parameters() if parameter.requires_grad)
    return Counts(sum(marks), len(marks) - sum(marks), numbers)
