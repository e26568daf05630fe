"""What a stage in training makes of a validation clip: a grid of pictures, the clip's own above the generated ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keysync.network.stage import Stage
from keysync.systems.keysync import generate
from keysync.systems.keysync.sampling import Sampling
from keysync.vae.vae import VAE

from ..data.draws import generator
from ..loss.loss import windows_of

if TYPE_CHECKING:
    from ..data.dataset import Batch


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
        return generate.sample(stage, windows_of(stage, batch), noise, sampling).cpu()
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
