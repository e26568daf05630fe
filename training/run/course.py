"""What a run teaches a network: its data, its loss, and its form in checkpoints. `training.train` runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..config.run_config import RunConfig

if TYPE_CHECKING:
    from ..data.dataset import Lost
    from ..data.shards import Shards
    from .film import Film

# Files of checkpoints: stages, averaged weights of any network, and adapters.
STAGE, AVERAGED, ADAPTERS = "stage.safetensors", "ema.safetensors", "lora.safetensors"

Config = TypeVar("Config", bound=RunConfig)


class Outcome(NamedTuple):
    """Figures by name, the `loss` on the validation clips among them; a picture of the clips above the generated ones;
    and a film, None where the course makes none or the clip has no sound."""

    figures: dict[str, float]
    picture: NDArray[np.uint8]
    film: Film | None = None


class Validation(Protocol):
    """Validates on fixed samples. Every process runs it, because sharded weights need all of them."""

    def run(self, module: Any) -> Outcome:
        """The figures and samples of a module that `Course.loss` made."""


class Course(ABC, Generic[Config]):
    """A course of `config` on the data of `shards`; `windows` are its samples.

    Raises `KeySyncError` for data that does not fit the settings.
    """

    windows: Dataset[Any]
    network: nn.Module

    def __init__(self, config: Config, shards: Shards) -> None:
        self.config, self.shards = config, shards

    @abstractmethod
    def collate(self, windows: Sequence[Any]) -> Any:
        """Samples as one batch."""

    @abstractmethod
    def load(self, checkpoint: Path | None) -> None:
        """Sets `network`: that of a checkpoint folder, or for None the one that the settings start from; its trained
        parameters require gradients. Raises `KeySyncError` for a damaged checkpoint and files that do not fit."""

    @abstractmethod
    def loss(self, device: torch.device) -> nn.Module:
        """The loss of `network` as a module that holds all trained parameters: called with `inputs`, it returns a named
        tuple of scalars, of which the first, the total, is minimised."""

    @abstractmethod
    def inputs(self, batch: Any) -> tuple[Any, ...]:
        """What the loss is computed from: the batch, and what is drawn for it."""

    @abstractmethod
    def validation(self) -> Validation:
        """The validation of the loss that was made last."""

    @abstractmethod
    def held(self) -> dict[str, Tensor]:
        """What a checkpoint holds of the network's state."""

    @abstractmethod
    def write(
        self, folder: Path, weights: Mapping[str, Tensor], averages: Mapping[str, Tensor], metadata: Mapping[str, str]
    ) -> None:
        """Writes `held` and, unless they are empty, averages of the trained parameters into a checkpoint's folder."""

    @abstractmethod
    def averages(self, folder: Path) -> Mapping[str, Tensor]:
        """The averages in a checkpoint's folder."""

    @abstractmethod
    def blocks(self) -> Iterable[nn.Module]:
        """The parts of the network that are sharded each on its own."""

    def lost(self, met: Any) -> Sequence[Lost]:
        """The damaged clips that a batch or the validation left out; none where a course ends at the first."""
        return ()

    @property
    def methods(self) -> tuple[str, ...]:
        """The loss's methods, besides calling it, that need whole weights where they are sharded."""
        return ()
