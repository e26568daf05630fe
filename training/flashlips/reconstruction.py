"""The loss of a drawn frame (FlashLips, equation 9): its latent, its pixels around the mouth, and their features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from keysync.errors import KeySyncError
from keysync.systems.flashlips.editor import hidden_cells

from ..data.dataset import lip_weights
from ..loss.loss import decoded, mean_over
from . import region
from .hooks import Features, feature_error

if TYPE_CHECKING:
    from .config import FlashLipsConfig
    from .frames import Frames


class Errors(NamedTuple):
    """The errors of a batch, scalars: the weighted `total`, which is minimised, and each term without its weight."""

    total: Tensor
    latent: Tensor
    masked: Tensor
    lower: Tensor
    lips: Tensor
    perceptual: Tensor
    face: Tensor


class Reconstruction:
    """Compares drawn latents with a frame. All errors are absolute differences.

    The VAE's `decoder` is needed if the settings compare pixels; `perceptual` and `face` are networks of `hooks` or
    None. Raises `KeySyncError` if the decoder is missing.
    """

    def __init__(
        self, config: FlashLipsConfig, decoder: nn.Module | None, perceptual: Features | None, face: Features | None
    ) -> None:
        if config.compares_pixels and decoder is None:
            raise KeySyncError("the loss compares pixels but there is no VAE decoder: name a VAE with --vae")
        self.config, self.decoder = config, decoder
        self.networks = ((config.perceptual_weight, perceptual), (config.face_weight, face))

    def errors(self, drawn: Tensor, target: Tensor, frames: Frames, pixels: Tensor | None = None) -> Errors:
        """The errors of drawn latents (n, 4, h, w) against target latents; of pictures against `pixels` (n, 3, H, W) in
        0..1, by default the frames' own."""
        config = self.config
        error = (drawn - target).abs()
        if config.mouth_weight != 1:
            weights = lip_weights(frames.points.cpu(), (target.shape[-2], target.shape[-1]), config.mouth_weight)
            error = error * weights.to(error)
        latent, masked = error.mean(), mean_over(error, hidden_cells(frames.mask)).mean()
        terms = [(config.latent_weight, latent), (config.masked_weight, masked)]
        if config.compares_pixels:
            terms += self._pixel_terms(drawn, frames, frames.picture if pixels is None else pixels)
        else:
            terms += [(0.0, torch.zeros_like(latent))] * 4
        total = torch.stack([weight * term for weight, term in terms]).sum()
        return Errors(total, *(term.detach() for _, term in terms))

    def _pixel_terms(self, drawn: Tensor, frames: Frames, pixels: Tensor) -> Sequence[tuple[float, Tensor]]:
        """The weights and errors of the pixels and the features, of the first `decoded` pictures."""
        config, count = self.config, self.config.decoded or len(drawn)
        assert self.decoder is not None
        ours, target = decoded(self.decoder, drawn[:count]), pixels[:count] * 2 - 1
        size = (target.shape[-2], target.shape[-1])
        points = frames.points[:count].cpu()
        error = (ours - target).abs()
        lower = mean_over(error, region.lower_face(points, size).to(error)).mean()
        lips = region.lips(points, size).to(error)
        counts = lips.mean((1, 2, 3)) > config.lips_area
        at_lips = (mean_over(error, lips) * counts).mean()
        seen = [
            (weight, feature_error(network, ours, target)) if network else (0.0, torch.zeros_like(lower))
            for weight, network in self.networks
        ]
        return [(config.lower_weight, lower), (config.lips_weight, at_lips), *seen]
