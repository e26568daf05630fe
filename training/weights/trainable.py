"""Which weights of a stage are trained: a row of `CHOICES` per value of the setting `trainable`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from keysync.network.stage import Stage

if TYPE_CHECKING:
    from ..config.config import TrainConfig


class Counts(NamedTuple):
    """The numbers of trained and frozen tensors of the U-Net, and of trained parameters of the whole stage."""

    trained: int
    frozen: int
    numbers: int


def _is_not_temporal(name: str) -> bool:
    """The method freezes the temporal layers and trains the rest (KeySync reference implementation)."""
    return "time_" not in name or "time_embed" in name


# By the name inside the U-Net. The audio projection and the learned mask are trained unless adapters are.
CHOICES: dict[str, Callable[[str], bool]] = {
    "published": _is_not_temporal,
    "all": lambda name: True,
    "lora": lambda name: ".lora_" in name,
}


def freeze(stage: Stage, config: TrainConfig) -> Counts:
    """Marks the weights that `config.trainable` trains, and counts them.

    "lora" trains only the adapters of an adapted stage.
    """
    trained = CHOICES[config.trainable]
    stage.requires_grad_(config.trainable != "lora")
    for name, parameter in stage.unet.named_parameters():
        parameter.requires_grad_(trained(name))
    marks = [parameter.requires_grad for parameter in stage.unet.parameters()]
    numbers = sum(parameter.numel() for parameter in stage.parameters() if parameter.requires_grad)
    return Counts(sum(marks), len(marks) - sum(marks), numbers)
