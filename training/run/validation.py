"""Validation of a stage: the loss on clips that it does not train on, and a sample of one of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from torch.distributed.fsdp import FSDPModule

from keysync.errors import KeySyncError
from keysync.systems.keyface.sampling import KeyFaceSampling

from ..data.dataset import Windows, collate
from ..data.index import VALIDATION
from ..loss.loss import LossModule, draw
from .course import Outcome
from .samples import grid, sample

if TYPE_CHECKING:
    from keysync.vae.vae import VAE

    from ..config.config import TrainConfig
    from ..data.shards import Shards

logger = logging.getLogger(__name__)

# Number of windows that the loss is averaged over, and that are sampled.
WINDOWS, SAMPLED = 8, 1


class StageValidation:
    """Validates on fixed windows with fixed noise; on training clips if no validation clip is long enough.

    Every process validates, because sharded weights need all of them.
    """

    def __init__(self, shards: Shards, config: TrainConfig, vae: VAE) -> None:
        try:
            windows = Windows(shards, config, VALIDATION)
        except KeySyncError as error:  # only the length can fail: all other checks passed for the training clips
            logger.warning("%s; validating on training clips instead", error)
            windows = Windows(shards, config)
        self.batches = [collate([windows[number]]) for number in range(WINDOWS)]
        self.config, self.vae = config, vae

    @torch.no_grad()
    def run(self, module: LossModule) -> Outcome:
        """The loss and a sample of a module."""
        try:
            losses = [float(module(batch, draw(self.config, batch)).total) for batch in self.batches]
            shown = self.batches[:SAMPLED]
            truth = torch.cat([batch.latents for batch in shown])
            # A call for each prediction: processes that share sharded weights must all make the same calls.
            # KeyFace's interpolation has no weaker copy here to guide it.
            sampling = KeyFaceSampling(group=1, autoguidance=1.0)
            made = torch.cat([module.with_stage(sample, batch, self.config.seed, sampling) for batch in shown])
        finally:
            # Without a backward pass the outermost weights stay gathered and hide later changes of their shards.
            if isinstance(module, FSDPModule):
                module.reshard()
        return Outcome(sum(losses) / len(losses), grid(self.vae, truth, made))
