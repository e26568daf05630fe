"""Teaches the reader of lips vectors: from the whole face, one network learns the numbers of points and mouth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from keysync.systems.flashlips.lips_vector import LipsVector

from ..data.shards import Shards
from ..run.course import Outcome
from .config import FlashLipsConfig
from .course import FlashLipsCourse
from .frames import Frame, FrameDataset, Frames, collate, validation_frames
from .plot import rows_of

VALIDATED = 48


class VectorErrors(NamedTuple):
    """The mean absolute error of the numbers, in their spread over the batch."""

    total: Tensor


class VectorLoss(nn.Module):
    """The loss of a reader (`network`) against a lips vector, which is frozen and not a submodule."""

    def __init__(self, network: nn.ModuleDict, lips: LipsVector) -> None:
        super().__init__()
        self.network = network
        self._lips = (lips,)

    def forward(self, frames: Frames) -> VectorErrors:
        read, true = self.read(frames)
        spread = true.std(0, correction=0).clamp_min(1e-3) if len(true) > 1 else torch.ones_like(true[0])
        return VectorErrors(((read - true).abs() / spread).mean())

    def read(self, frames: Frames) -> tuple[Tensor, Tensor]:
        """The lips vectors (n, w) that the reader reads, and the true ones."""
        device = next(self.network.parameters()).device
        pictures, points = frames.picture.to(device), frames.points.to(device)
        with torch.no_grad():
            true = self._lips[0](pictures, points).float()
        return self.network["reader"](pictures).float(), true


class VectorValidation:
    """The loss on frames that are not trained on."""

    def __init__(self, shards: Shards, config: FlashLipsConfig, trained: FrameDataset) -> None:
        self._frames = validation_frames(shards, config, trained, VALIDATED)

    @torch.no_grad()
    def run(self, module: VectorLoss) -> Outcome:
        """The loss, and a picture of the true numbers above those read."""
        read, true = module.read(self._frames)
        return Outcome({"loss": float(module(self._frames).total)}, rows_of(true, read))


class VectorCourse(FlashLipsCourse):
    """The reader, new or that of a file."""

    TRAINED, NEEDED = ("reader",), ("lips",)

    windows: FrameDataset

    def __init__(self, config: FlashLipsConfig, shards: Shards) -> None:
        super().__init__(config, shards)
        self.windows = FrameDataset(shards, config)

    def collate(self, windows: Sequence[Frame]) -> Frames:
        return collate(windows)

    def loss(self, device: torch.device) -> VectorLoss:
        return VectorLoss(self.network, self.frozen("lips", device))

    def validation(self) -> VectorValidation:
        return VectorValidation(self.shards, self.config, self.windows)

    @property
    def methods(self) -> tuple[str, ...]:
        return ("read",)
