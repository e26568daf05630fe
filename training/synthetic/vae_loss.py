"""What a small VAE is trained on and how: batches of crops, and the loss of what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .crops import PersonCrops

PART = 48  # pixels: a training picture's side
PARTS = 4  # in a batch
WHOLE_EVERY = 4  # batches: one in so many is of whole crops
MOUTH = slice(48, 68)  # points of the lips
MOUTH_MARGIN = 0.25  # of the lips' box, around it
MOUTH_WEIGHT = 6.0  # of a pixel in it, against 1
# The share of pictures whose hue is turned, and how much more colour they get. Else most of what there is, skin, has
# one hue, and it takes long until any other is learned.
DYED, DYE = 0.5, (1.0, 2.5)
GRADIENT = 0.5  # weight of the edges' error against the colours'
TINT, COARSE = 2.0, 8  # weight of the hue's error, and the side in pixels of the squares whose mean hue is compared
KL = 1e-4  # weight of the divergence's mean against the pixels' mean


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures (n, 3, h, w) in -1..1 and the weights (n, 1, h, w) of their pixels."""

    pictures: Tensor
    weights: Tensor


@dataclass(frozen=True, eq=False)
class Loss:
    """Of one batch: what is minimised, and its part that comes from colours alone."""

    total: Tensor
    colour: Tensor


def draw_batch(people: Sequence[PersonCrops], seed: int, step: int) -> Batch:
    """The batch of a step: parts of crops, half of them with the mouth in the middle, or now and then whole crops."""
    rng = np.random.default_rng((seed, step))
    side = people[0].pictures.shape[1]
    whole = step % WHOLE_EVERY == WHOLE_EVERY - 1 or side <= PART
    count = max(PARTS * PART * PART // (side * side), 1) if whole else PARTS
    pictures, weights = [], []
    for number in range(count):
        person = people[int(rng.integers(len(people)))]
        frame = int(rng.integers(len(person.pictures)))
        picture, weight = person.pictures[frame], mouth_weights(person.landmarks[frame], side)
        if not whole:
            centre = person.landmarks[frame, MOUTH].mean(0) + rng.uniform(-8, 8, 2)
            corner = centre - PART / 2 if number % 2 else rng.uniform(0, side - PART, 2)
            left, top = np.clip(np.round(corner), 0, side - PART).astype(int).tolist()
            window = slice(top, top + PART), slice(left, left + PART)
            picture, weight = picture[window], weight[window]
        coloured = picture * rng.uniform(0.75, 1.2) * rng.uniform(0.75, 1.25, 3)
        if rng.random() < DYED:
            coloured = dyed(coloured, rng.uniform(0, 2 * np.pi), rng.uniform(*DYE))
        flip = 1 if rng.random() < 0.5 else -1
        pictures.append(np.clip(coloured, 0, 255)[:, ::flip].astype(np.float32) / 127.5 - 1)
        weights.append(weight[:, ::flip])
    planes = torch.from_numpy(np.stack(pictures)).movedim(-1, 1).contiguous()  # n h w c -> n c h w
    return Batch(planes, torch.from_numpy(np.stack(weights))[:, None])


def dyed(picture: np.ndarray[Any, Any], turn: float, factor: float) -> np.ndarray[Any, Any]:
    """Colours (h, w, 3) turned about grey by an angle, and so many times as far from it."""
    grey = picture.mean(-1, keepdims=True)
    c, s = np.cos(turn), np.sin(turn) / np.sqrt(3)
    # What is left has no grey in it, where a turn about (1, 1, 1) is this.
    matrix = np.array([[c, -s, s], [s, c, -s], [-s, s, c]])
    coloured: np.ndarray[Any, Any] = grey + factor * (picture - grey) @ matrix.T
    return coloured


def mouth_weights(landmarks: np.ndarray[Any, Any], side: int) -> np.ndarray[Any, Any]:
    """The weights (side, side) float32 of a crop's pixels."""
    left, top, right, bottom = mouth_box(landmarks, side)
    weights = np.ones((side, side), dtype=np.float32)
    weights[top:bottom, left:right] = MOUTH_WEIGHT
    return weights


def mouth_box(landmarks: np.ndarray[Any, Any], side: int) -> tuple[int, int, int, int]:
    """left, top, right, bottom in whole pixels of a crop: the lips and a margin."""
    low, high = landmarks[MOUTH].min(0), landmarks[MOUTH].max(0)
    margin = MOUTH_MARGIN * (high - low).max()
    left, top = np.floor(np.clip(low - margin, 0, side)).astype(int).tolist()
    right, bottom = np.ceil(np.clip(high + margin, 0, side)).astype(int).tolist()
    return left, top, right, bottom


def loss_of(vae: Any, batch: Batch, generator: torch.Generator) -> Loss:
    """The loss of a posterior's sample, each picture decoded as a clip of one frame."""
    mean, logvar = vae.quant_conv(vae.encoder(batch.pictures)).chunk(2, dim=1)
    logvar = logvar.clamp(-30, 20)
    z = mean + torch.exp(0.5 * logvar) * torch.randn(mean.shape, generator=generator).to(mean.device)
    decoded = vae.decoder(z, image_only_indicator=torch.zeros(len(z), 1), num_frames=1)
    error = decoded - batch.pictures
    colour = _weighted(error.abs(), batch.weights)
    edges = torch.zeros(())
    for scale in (1, 2):
        small, weights = F.avg_pool2d(error, scale), F.avg_pool2d(batch.weights, scale)
        edges = edges + _weighted(small.diff(dim=-1).abs(), weights[..., 1:])
        edges = edges + _weighted(small.diff(dim=-2).abs(), weights[..., 1:, :])
    coarse = F.avg_pool2d(error, COARSE)
    tint = (coarse - coarse.mean(1, keepdim=True)).abs().mean()
    divergence = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
    return Loss(colour + GRADIENT * edges + TINT * tint + KL * divergence, colour.detach())


class OneFrame(nn.Conv3d):
    """A convolution over time that sees one frame, zeros before and after: its middle alone, and much sooner."""

    def forward(self, x: Tensor) -> Tensor:
        middle = self.weight.shape[2] // 2
        padding: Any = self.padding
        return F.conv2d(x[:, :, 0], self.weight[:, :, middle], self.bias, padding=padding[1:])[:, :, None]


def for_one_frame(network: nn.Module) -> None:
    """Makes each convolution over time a `OneFrame` of the same names; what would see other frames is 0."""
    for module in network.modules():
        if type(module) is nn.Conv3d:
            with torch.no_grad():
                middle = module.weight.shape[2] // 2
                module.weight[:, :, :middle] = 0
                module.weight[:, :, middle + 1 :] = 0
            module.__class__ = OneFrame


def _weighted(error: Tensor, weights: Tensor) -> Tensor:
    return (error * weights).sum() / (weights.sum() * error.shape[1])
