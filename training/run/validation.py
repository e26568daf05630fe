"""Validation of a stage: the loss on clips that it does not train on, also by noise level, and samples of them."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.distributed.fsdp import FSDPModule

from keysync.errors import KeySyncError
from keysync.systems.keyface.sampling import KeyFaceSampling

from ..config.config import NO
from ..data.dataset import Windows, collate
from ..data.index import VALIDATION
from ..loss.loss import LossModule, draw
from .course import Outcome
from .film import FilmMaker
from .samples import grid, sample

if TYPE_CHECKING:
    from keysync.vae.vae import VAE

    from ..config.config import TrainConfig
    from ..data.shards import Shards

logger = logging.getLogger(__name__)

# Number of windows that the loss is averaged over, and of those that are in the picture.
WINDOWS, SAMPLED = 8, 1
# Noise levels that the loss is also measured at, on the first of the windows.
LEVELS, WINDOWS_PER_LEVEL = (0.3, 1.0, 3.0, 10.0, 100.0), 4


class StageValidation:
    """Validates on fixed windows with fixed noise; on training clips if no validation clip is long enough.

    Every process validates, because sharded weights need all of them. `lost` are damaged clips.
    """

    def __init__(self, shards: Shards, config: TrainConfig, vae: VAE) -> None:
        try:
            windows = Windows(shards, config, VALIDATION)
        except KeySyncError as error:  # only the length can fail: all other checks passed for the training clips
            logger.warning("%s; validating on training clips instead", error)
            windows = Windows(shards, config)
        self.batches = [collate([windows[number]]) for number in range(WINDOWS)]
        self.lost = [clip for batch in self.batches for clip in batch.lost]
        self.config, self.vae = config, vae
        self._maker = FilmMaker(shards, windows, vae)
        self.lost += self._maker.lost

    @torch.no_grad()
    def run(self, module: LossModule) -> Outcome:
        """The figures and samples of a module."""
        try:
            figures = self._losses(module)
            # A call for each prediction: processes that share sharded weights must all make the same calls.
            # KeyFace's interpolation has no weaker copy here to guide it.
            sampling = KeyFaceSampling(group=1, autoguidance=1.0)
            shown = self.batches[:SAMPLED]
            truth = torch.cat([batch.latents for batch in shown])
            made, film = (
                [module.with_stage(sample, batch, self.config.seed, sampling) for batch in batches]
                for batches in (shown, self._maker.batches)
            )
        finally:
            # Without a backward pass the outermost weights stay gathered and hide later changes of their shards.
            if isinstance(module, FSDPModule):
                module.reshard()
        filmed, followed = self._maker.make(film)
        return Outcome({**figures, **followed}, grid(self.vae, truth, torch.cat(made)), filmed)

    def _losses(self, module: LossModule) -> dict[str, float]:
        """The mean loss at the levels that are drawn, and unless a teacher decides at which, at each of `LEVELS`."""
        drawn = [(batch, draw(self.config, batch)) for batch in self.batches]
        figures = {"loss": _mean([float(module(*pair).total) for pair in drawn])}
        count = WINDOWS_PER_LEVEL
        if self.config.distill == NO:
            for level in LEVELS:
                at = [
                    (batch, replace(draws, sigma=torch.full_like(draws.sigma, level))) for batch, draws in drawn[:count]
                ]
                figures[f"loss_at_{level:g}"] = _mean([float(module(*pair).total) for pair in at])
        return figures


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
