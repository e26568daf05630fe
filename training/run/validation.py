"""How far a run is: the loss on clips that it never trains on, and what it makes of one of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.distributed.fsdp import FSDPModule

from keysync.errors import KeySyncError
from keysync.systems.keysync.generate import Sampling

from ..data.dataset import Shards, Windows, collate
from ..data.index import VALIDATION
from ..loss.loss import LossModule, draw
from .samples import grid, sample

if TYPE_CHECKING:
    from keysync.vae.vae import VAE

    from ..config.config import TrainConfig

logger = logging.getLogger(__name__)

# Windows that the loss is averaged over, and how many of them are sampled.
WINDOWS, SAMPLED = 8, 1


class Outcome(NamedTuple):
    """The loss on the validation clips, and the picture that shows clips above what was generated for them."""

    loss: float
    picture: NDArray[np.uint8]


class Validation:
    """The same windows and the same noise each time; of clips that are trained on where no other is long enough.

    Every process does all of it: sharded weights need all of them.
    """

    def __init__(self, shards: Shards, config: TrainConfig, vae: VAE) -> None:
        try:
            windows = Windows(shards, config, VALIDATION)
        except KeySyncError as error:  # the clips to train on have passed all but the question of their length
            logger.warning("%s; the loss and the samples of validation come from clips that are trained on", error)
            windows = Windows(shards, config)
        self.batches = [collate([windows[number]]) for number in range(WINDOWS)]
        self.config, self.vae = config, vae

    @torch.no_grad()
    def run(self, module: LossModule) -> Outcome:
        """Measures a module and lets it sample."""
        try:
            losses = [float(module(batch, draw(self.config, batch)).total) for batch in self.batches]
            shown = self.batches[:SAMPLED]
            truth = torch.cat([batch.latents for batch in shown])
            made = torch.cat([module.with_stage(sample, batch, self.config.seed, Sampling()) for batch in shown])
        finally:
            # Without a backward pass the outermost weights stay whole, and what is put into their pieces is not seen.
            if isinstance(module, FSDPModule):
                module.reshard()
        return Outcome(sum(losses) / len(losses), grid(self.vae, truth, made))
