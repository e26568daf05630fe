"""The colours of the built-in VAE's latents, in previews: least squares on crops of the demo."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from keysync.demo import TALK
from keysync.face.crop import Crops
from keysync.job import FaceSource, survey
from keysync.media.reader import VideoReader
from keysync.systems.keysync.small import CROP_SCALE, LATENT_RGB, LATENT_RGB_BIAS, RESOLUTION, SMALL
from keysync.vae.vae import load_vae

SECONDS, EACH = 2.0, 5


@pytest.fixture(scope="module")
def colours() -> tuple[Tensor, Tensor]:
    """Latents (n, 4) of crops of the demo, and the mean colour (n, 3), -1..1, of their pixels."""
    reader = VideoReader(TALK, 0, SECONDS)
    _, track = survey(reader, FaceSource())
    cut = Crops.of(track, (RESOLUTION, RESOLUTION), CROP_SCALE)
    chosen = set(np.flatnonzero(track.found)[::EACH].tolist())
    crops = torch.stack([cut.cut(frame, n) for n, (_, frame) in enumerate(reader.frames()) if n in chosen])
    vae = load_vae(SMALL["vae"])
    latents = vae.encode(crops)
    means = F.avg_pool2d(crops.movedim(-1, 1), vae.downscale).movedim(1, -1) * 2 - 1
    return latents.movedim(1, -1).reshape(-1, 4).double(), means.reshape(-1, 3).double()


def test_the_factors_are_those_of_least_squares(colours: tuple[Tensor, Tensor]) -> None:
    latents, means = colours
    ones = torch.ones(len(latents), 1, dtype=torch.float64)
    solution = torch.linalg.lstsq(torch.cat((latents, ones), 1), means).solution
    held = torch.tensor([*LATENT_RGB, LATENT_RGB_BIAS], dtype=torch.float64)
    assert torch.allclose(held, solution, atol=1e-3), f"expected {solution.numpy().round(4).tolist()}"


def test_the_colours_are_near_the_pictures(colours: tuple[Tensor, Tensor]) -> None:
    latents, means = colours
    shown = latents @ torch.tensor(LATENT_RGB, dtype=torch.float64) + torch.tensor(LATENT_RGB_BIAS)
    assert float((shown - means).abs().mean()) < 0.06
    assert float((means - means.mean(0)).abs().mean()) > 0.2  # one colour for all would be as far off
