"""Reconstruction quality of a VAE on held-out faces: PSNR of crops and mouths, and the mouth's opening."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keysync.correlation import correlation, slope

from ...synthetic.measure.meter import WEIGHTS, Meter, truth
from ...synthetic.render.opencv import cv2
from .loss import mouth_box

if TYPE_CHECKING:
    from .crops import PersonCrops

logger = logging.getLogger(__name__)

DARK = 0.45  # of the brightness around a mouth; darker pixels are inside it
Reader = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[Any]]


@dataclass(frozen=True)
class Figures:
    """PSNR in dB of crops and mouths; correlation `opening` and `slope` of the reconstructed opening with the truth.

    `best` is the correlation for the crops themselves.
    """

    psnr: float
    mouth_psnr: float
    opening: float
    slope: float
    best: float


def measure(decoded: NDArray[np.uint8], crops: PersonCrops) -> Figures:
    """The figures of crops (n, size, size, 3) reconstructed by a VAE."""
    side = crops.pictures.shape[1]
    error = (decoded.astype(np.float64) - crops.pictures) ** 2
    boxes = [mouth_box(points, side) for points in crops.landmarks]
    parts = [picture[top:bottom, left:right] for picture, (left, top, right, bottom) in zip(error, boxes, strict=True)]
    read = opening_reader()
    true = truth(crops.landmarks).opening
    found = read(decoded, crops.landmarks)
    return Figures(
        psnr=_decibels(float(error.mean())),
        mouth_psnr=_decibels(float(np.mean([part.mean() for part in parts]))),
        opening=correlation(found, true),
        slope=slope(found, true),
        best=correlation(read(crops.pictures, crops.landmarks), true),
    )


def opening_reader(weights: Path = WEIGHTS) -> Reader:
    """A function from crops (n, h, w, 3) and landmarks (n, 68, 2) to openings (n,): the meter, else `dark_opening`."""
    if weights.is_file():
        meter = Meter(weights)
        return lambda pictures, landmarks: meter.read(pictures, landmarks).opening
    logger.warning("%s is missing: measuring openings by their dark pixels, which is much less accurate", weights)
    return dark_opening


def dark_opening(pictures: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """The height of the dark pixels in the middle of each mouth over the distance of the eyes."""
    found = []
    for picture, points in zip(pictures, landmarks, strict=True):
        left, top, right, bottom = mouth_box(points, len(picture))
        grey = picture.mean(-1)
        third = (right - left) // 3
        column = grey[top:bottom, left + third : right - third].mean(1)
        eyes = np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0))
        found.append(float(np.clip(1 - column / (DARK * 2 * np.median(grey)), 0, 1).sum() / eyes))
    return np.array(found)


@torch.no_grad()
def round_trip(vae: Any, pictures: NDArray[np.uint8], batch: int = 8) -> NDArray[np.uint8]:
    """Pictures (n, h, w, 3) encoded to the posterior's mean and decoded."""
    parts = []
    for part in torch.from_numpy(pictures).split(batch):
        planes = part.movedim(-1, 1).float() / 127.5 - 1  # n h w c -> n c h w
        z = posterior_mean(vae, planes)
        decoded = vae.decoder(z, image_only_indicator=torch.zeros(len(z), 1), num_frames=1)
        parts.append(((decoded.clamp(-1, 1) + 1) * 127.5).round().byte().movedim(1, -1))
    return torch.cat(parts).numpy()


def posterior_mean(vae: Any, planes: Tensor) -> Tensor:
    """(n, 4, h/8, w/8), unscaled, of planes (n, 3, h, w) in -1..1."""
    mean: Tensor = vae.quant_conv(vae.encoder(planes)).chunk(2, dim=1)[0]
    return mean


def write_sheet(path: Path, crops: NDArray[np.uint8], decoded: NDArray[np.uint8], columns: int = 8) -> None:
    """Writes crops above their reconstructions."""
    rows = []
    for start in range(0, len(crops) - columns + 1, columns):
        rows += [np.concatenate(list(row[start : start + columns]), axis=1) for row in (crops, decoded)]
    cv2.imwrite(str(path), np.concatenate(rows)[..., ::-1])


def _decibels(error: float) -> float:
    return float(10 * np.log10(255**2 / max(error, 1e-9)))
