"""Batches and loss of the small VAE's training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.resnet import SpatioTemporalResBlock
from torch import Tensor, nn

from keysync.face.masks import box

if TYPE_CHECKING:
    from .crops import PersonCrops


CROPS = 2  # in a batch
MOUTH = slice(48, 68)  # landmarks of the lips
MOUTH_MARGIN = 0.25  # margin around the lips' box, or another part's, over its size
# Weights of a pixel of the mouth, and of one that a dub keeps; the rest of the generated region has 1.
MOUTH_WEIGHT, KEPT_WEIGHT = 8.0, 0.25
# Share of pictures whose hue is rotated, and the factor of their saturation: otherwise most pixels have the hue of
# skin, and others are learned slowly.
DYED, DYE = 0.25, (1.0, 2.5)
GRADIENT = 0.5  # weight of the error of edges; that of colours has 1
TINT, SQUARES = 0.7, (2, 4, 8)  # weight of the hue's error, and the sides in pixels of the squares it is averaged over
KL = 1e-4  # weight of the divergence
# The weights (side, side) of the pixels of a crop with these landmarks (68, 2) and this side.
Weigh = Callable[[np.ndarray[Any, Any], int], np.ndarray[Any, Any]]


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures (n, 3, h, w) in -1..1 and the weights (n, 1, h, w) of their pixels."""

    pictures: Tensor
    weights: Tensor


@dataclass(frozen=True, eq=False)
class Loss:
    """The loss of one batch: the total, and the error of colours."""

    total: Tensor
    colour: Tensor


def draw_batch(people: Sequence[PersonCrops], seed: int, step: int, weigh: Weigh | None = None) -> Batch:
    """The batch of a step: whole crops, because group norm treats parts differently.

    `weigh` gives the weights of a crop's pixels; default: `pixel_weights`.
    """
    weigh = weigh or pixel_weights
    rng = np.random.default_rng((seed, step))
    side = people[0].pictures.shape[1]
    pictures, weights = [], []
    for _ in range(CROPS):
        person = people[int(rng.integers(len(people)))]
        frame = int(rng.integers(len(person.pictures)))
        coloured = person.pictures[frame] * rng.uniform(0.75, 1.2) * rng.uniform(0.75, 1.25, 3)
        if rng.random() < DYED:
            coloured = dyed(coloured, rng.uniform(0, 2 * np.pi), rng.uniform(*DYE))
        flip = 1 if rng.random() < 0.5 else -1
        pictures.append(np.clip(coloured, 0, 255)[:, ::flip].astype(np.float32) / 127.5 - 1)
        weights.append(weigh(person.landmarks[frame], side)[:, ::flip])
    planes = torch.from_numpy(np.stack(pictures)).movedim(-1, 1).contiguous()  # n h w c -> n c h w
    return Batch(planes, torch.from_numpy(np.stack(weights))[:, None])


def dyed(picture: np.ndarray[Any, Any], turn: float, factor: float) -> np.ndarray[Any, Any]:
    """Colours (h, w, 3) with the hue rotated by an angle and the saturation scaled by a factor."""
    grey = picture.mean(-1, keepdims=True)
    c, s = np.cos(turn), np.sin(turn) / np.sqrt(3)
    # Rotation about (1, 1, 1) of vectors orthogonal to it.
    matrix = np.array([[c, -s, s], [s, c, -s], [-s, s, c]])
    coloured: np.ndarray[Any, Any] = grey + factor * (picture - grey) @ matrix.T
    return coloured


def pixel_weights(landmarks: np.ndarray[Any, Any], side: int) -> np.ndarray[Any, Any]:
    """The weights (side, side) float32 of a crop's pixels: highest at the mouth, lowest outside the dubbed region."""
    left, top, right, bottom = mouth_box(landmarks, side)
    inside = box(torch.from_numpy(landmarks), (side, side)).numpy()
    weights: np.ndarray[Any, Any] = KEPT_WEIGHT + (1 - KEPT_WEIGHT) * inside
    weights[top:bottom, left:right] = MOUTH_WEIGHT
    return weights


def mouth_box(landmarks: np.ndarray[Any, Any], side: int) -> tuple[int, int, int, int]:
    """left, top, right, bottom of the lips and a margin, in whole pixels of a crop."""
    return part_box(landmarks[MOUTH], side)


def part_box(landmarks: np.ndarray[Any, Any], side: int) -> tuple[int, int, int, int]:
    """left, top, right, bottom of these points and a margin, in whole pixels of a crop."""
    low, high = landmarks.min(0), landmarks.max(0)
    margin = MOUTH_MARGIN * (high - low).max()
    left, top = np.floor(np.clip(low - margin, 0, side)).astype(int).tolist()
    right, bottom = np.ceil(np.clip(high + margin, 0, side)).astype(int).tolist()
    return left, top, right, bottom


def loss_of(vae: Any, batch: Batch, generator: torch.Generator) -> Loss:
    """The loss of a sample of the posterior, each picture decoded as a clip of one frame."""
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
    tint = torch.zeros(())
    for side in SQUARES:  # otherwise lips become as pale as skin
        small, weights = F.avg_pool2d(error, side), F.avg_pool2d(batch.weights, side)
        tint = tint + _weighted((small - small.mean(1, keepdim=True)).abs(), weights)
    divergence = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
    return Loss(colour + GRADIENT * edges + TINT * tint + KL * divergence, colour.detach())


class SpatialOnly(nn.Module):
    """A block of the decoder whose temporal part is zero and is not evaluated; the parameters keep their names."""

    def __init__(self, block: SpatioTemporalResBlock) -> None:
        super().__init__()
        self.spatial_res_block = block.spatial_res_block
        self.temporal_res_block = block.temporal_res_block.requires_grad_(False)
        self.time_mixer = block.time_mixer.requires_grad_(False)
        with torch.no_grad():
            for parameter in self.temporal_res_block.conv2.parameters():
                parameter.zero_()

    def forward(self, hidden_states: Tensor, temb: Any = None, image_only_indicator: Any = None) -> Tensor:
        found: Tensor = self.spatial_res_block(hidden_states, temb)
        return found


def without_time(network: nn.Module) -> None:
    """Replaces each block of the decoder by a `SpatialOnly` one."""
    for module in list(network.modules()):
        for name, block in list(module.named_children()):
            if isinstance(block, SpatioTemporalResBlock):
                setattr(module, name, SpatialOnly(block))


def _weighted(error: Tensor, weights: Tensor) -> Tensor:
    return (error * weights).sum() / (weights.sum() * error.shape[1])
