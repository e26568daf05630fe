"""What a stage in training makes of a validation clip: a grid of pictures, the clip's own above the generated ones."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keysync.network.stage import ENDS, Stage
from keysync.systems.keysync.generate import Sampling, interpolate, sample_keyframes
from keysync.vae.vae import VAE

from ..data.dataset import Batch
from ..data.draws import generator


def sample(stage: Stage, batch: Batch, seed: int, sampling: Sampling) -> Tensor:
    """Latents (b, t, 4, h, w) of the clips of a batch, generated as a dub generates them, on the CPU.

    Keyframes take the batch's identity or else their first frame, interpolation the first and last frame, as in
    training.
    """
    known = batch.latents
    noise = torch.stack(
        [torch.randn(known.shape[1:], generator=generator(seed, number, "sample")) for number in batch.number.tolist()]
    )
    was_training = stage.training
    stage.eval()
    try:
        if stage.spec.reference == ENDS:
            ends = known[:, [0, -1]]
            return interpolate(stage, batch.features, ends, known, batch.mask, noise, sampling).cpu()
        identities = known[:, 0] if batch.identity is None else batch.identity
        parts = zip(*(part.split(1) for part in (batch.features, identities, known, batch.mask, noise)), strict=True)
        made = [
            sample_keyframes(stage, features, identity[0], latents, mask, clip_noise, sampling)
            for features, identity, latents, mask, clip_noise in parts
        ]
        return torch.cat(made).cpu()
    finally:
        stage.train(was_training)


def grid(vae: VAE, truth: Tensor, generated: Tensor) -> NDArray[np.uint8]:
    """A picture of two rows for each clip: its own latents (b, t, 4, h, w) decoded, below them the generated ones."""
    rows = [
        torch.cat(list(vae.decode(clip)), dim=1)  # t H W 3 -> H (t W) 3
        for pair in zip(truth.cpu(), generated.cpu(), strict=True)
        for clip in pair
    ]
    picture: NDArray[np.uint8] = (torch.cat(rows) * 255).round().to(torch.uint8).numpy()
    return picture
