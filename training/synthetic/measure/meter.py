"""A meter that measures opening, gap and width of a mouth in pixels.

The positions of eyes and nose are given, that of the mouth is not. A small convolutional network sees the part of the
picture below the nose, aligned by the eyes. `meter_training` trains it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from keysync.errors import KeySyncError

WEIGHTS = Path(__file__).with_name("meter.safetensors")
# In units of the distance of the eyes: a patch is 1.6 wide and 1.2 high; its upper edge is just above the nose's base.
EYES = 35.0  # pixels of a patch
HEIGHT, WIDTH = 42, 56
ABOVE = 0.06
# The network predicts (reading - MEAN) / SPREAD.
MEAN, SPREAD = (0.16, 0.14, 0.68), (0.13, 0.11, 0.10)
BATCH = 128

Picture = NDArray[Any] | Tensor


@dataclass(frozen=True, eq=False)
class Readings:
    """Readings of n pictures, each (n,) float32, over the distance of the eyes' centres.

    opening: between the inner lips in the middle (points 62, 66); gap: the mean of the three inner pairs (61 67, 62 66,
    63 65); width: between the inner corners (60, 64).
    """

    opening: NDArray[np.float32]
    gap: NDArray[np.float32]
    width: NDArray[np.float32]

    @property
    def mar(self) -> NDArray[np.float32]:
        """The mouth aspect ratio: gap over width."""
        return np.asarray(self.gap / np.maximum(self.width, 1e-3), dtype=np.float32)


class MeterNet(nn.Module):
    """Patches (n, 3, HEIGHT, WIDTH) in 0..1 to opening, gap and width (n, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, 1, 1), nn.GELU(), nn.Conv2d(16, 24, 3, 2, 1), nn.GELU()),
            *(nn.Conv2d(24, 32, 3, 2, 1), nn.GELU(), nn.Conv2d(32, 32, 3, 2, 1), nn.GELU()),
            *(nn.Flatten(), nn.Linear(32 * 6 * 7, 40), nn.GELU(), nn.Linear(40, 3)),
        )
        self.register_buffer("mean", torch.tensor(MEAN), persistent=False)
        self.register_buffer("spread", torch.tensor(SPREAD), persistent=False)

    def forward(self, patches: Tensor) -> Tensor:
        # Normalises skin colour and light: each channel has mean 0, each patch the same contrast.
        centred = patches - patches.mean((2, 3), keepdim=True)
        scaled = centred / (centred.std((1, 2, 3), keepdim=True) + 0.02)
        read: Tensor = self.layers(scaled) * self.spread + self.mean
        return read


class Meter:
    """Reads pictures. Raises `KeySyncError` if its weights are missing or do not fit."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        if not weights.is_file():
            raise KeySyncError(
                f"the meter's weights {weights} do not exist: run python -m {__package__}.meter_training"
            )
        self.net = MeterNet()
        try:
            self.net.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
        except RuntimeError as error:
            raise KeySyncError(
                f"{weights} does not hold the meter's weights: run python -m {__package__}.meter_training"
            ) from error
        self.net.eval()

    @torch.no_grad()
    def read(self, pictures: Picture, landmarks: Picture) -> Readings:
        """Reads pictures (n, h, w, 3), uint8 or float 0..1, with landmarks (n, 68, 2) in their pixels.

        Only the landmarks of eyes and nose are used.
        """
        planes, points = torch.as_tensor(pictures), torch.as_tensor(landmarks).double()
        parts = [
            self.net(patches(planes[start : start + BATCH], points[start : start + BATCH]))
            for start in range(0, len(planes), BATCH)
        ]
        read = torch.cat(parts).numpy() if parts else np.zeros((0, 3), np.float32)
        # Openings cannot be negative.
        return Readings(np.maximum(read[:, 0], 0), np.maximum(read[:, 1], 0), np.maximum(read[:, 2], 0))


def truth(landmarks: Picture) -> Readings:
    """The true readings of landmarks (n, 68, 2)."""
    points = np.asarray(landmarks, dtype=np.float64)
    eyes = np.linalg.norm(points[:, 36:42].mean(1) - points[:, 42:48].mean(1), axis=-1)
    pairs = np.linalg.norm(points[:, [61, 62, 63]] - points[:, [67, 66, 65]], axis=-1)
    width = np.linalg.norm(points[:, 60] - points[:, 64], axis=-1)
    columns = (pairs[:, 1] / eyes, pairs.mean(1) / eyes, width / eyes)
    return Readings(*(column.astype(np.float32) for column in columns))


def patches(pictures: Tensor, points: Tensor, margin: int = 0) -> Tensor:
    """Patches (n, 3, HEIGHT + 2 margin, WIDTH + 2 margin), float 0..1, of pictures (n, h, w, 3) below the nose."""
    planes = pictures.permute(0, 3, 1, 2).float()  # n h w c -> n c h w
    if pictures.dtype == torch.uint8:
        planes = planes / 255
    right = points[:, 42:48].mean(1) - points[:, 36:42].mean(1)  # along the eyes, as long as their distance
    down = torch.stack([-right[:, 1], right[:, 0]], 1)
    # Centred on the base of the nose, as the mouth is.
    base = points[:, 31:36].mean(1)
    high, wide = HEIGHT + 2 * margin, WIDTH + 2 * margin
    # Pictures of a higher resolution than the patches are averaged.
    fine = min(max(round(float(right.norm(dim=1).max()) / EYES), 1), 6)
    y = ((torch.arange(high * fine, dtype=torch.float64) + 0.5) / fine - margin) / EYES - ABOVE
    x = ((torch.arange(wide * fine, dtype=torch.float64) + 0.5) / fine - margin - WIDTH / 2) / EYES
    grid = base[:, None, None] + y[:, None, None] * down[:, None, None] + x[:, None] * right[:, None, None]
    size = torch.tensor([planes.shape[3], planes.shape[2]])
    sampled = F.grid_sample(planes, (grid / size * 2 - 1).float(), padding_mode="border", align_corners=False)
    return F.avg_pool2d(sampled, fine)
