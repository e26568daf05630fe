"""A meter that reads the opening of the mouth, valence and arousal in crops of talking heads.

It is a small convolutional network that sees nothing but the crop, neither points nor sound. `head_meter_training`
trains it; no trained weights are part of the project.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from keysync.errors import KeySyncError
from keysync.weights.files import read_tensors

COMMAND = f"python -m {__package__}.head_meter_training -o FILE"  # trains it
SIDE = 64  # pixels that a crop is scaled to
# Of opening, valence and arousal: the network predicts (reading - MEAN) / SPREAD.
MEAN, SPREAD = (0.14, 0.0, 0.0), (0.13, 0.58, 0.58)
BATCH = 64


@dataclass(frozen=True, eq=False)
class HeadReadings:
    """Readings of n crops, each (n,) float32: opening over the distance of the eyes' centres, valence and arousal."""

    opening: NDArray[np.float32]
    valence: NDArray[np.float32]
    arousal: NDArray[np.float32]

    def corrected(self, picture: HeadReadings, valence: float, arousal: float) -> HeadReadings:
        """The readings less what the meter misreads in this person's own `picture`, whose feeling is known.

        What brows and corners of the mouth look like at rest differs from person to person.
        """
        return HeadReadings(
            self.opening, self.valence - picture.valence[0] + valence, self.arousal - picture.arousal[0] + arousal
        )


class HeadNet(nn.Module):
    """Crops (n, 3, SIDE, SIDE) in 0..1 to opening, valence and arousal (n, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 16, 5, 2, 2), nn.GELU(), nn.Conv2d(16, 24, 3, 2, 1), nn.GELU()),
            *(nn.Conv2d(24, 32, 3, 2, 1), nn.GELU(), nn.Conv2d(32, 32, 3, 1, 1), nn.GELU()),
            *(nn.Flatten(), nn.Linear(32 * (SIDE // 8) ** 2, 48), nn.GELU(), nn.Linear(48, 3)),
        )
        self.register_buffer("mean", torch.tensor(MEAN), persistent=False)
        self.register_buffer("spread", torch.tensor(SPREAD), persistent=False)

    def forward(self, crops: Tensor) -> Tensor:
        # Normalises skin colour and light: each channel has mean 0, each crop the same contrast.
        centred = crops - crops.mean((2, 3), keepdim=True)
        scaled = centred / (centred.std((1, 2, 3), keepdim=True) + 0.02)
        read: Tensor = self.layers(scaled) * self.spread + self.mean
        return read


class HeadMeter:
    """Reads crops, with the weights that `COMMAND` writes.

    Raises `KeySyncError` if the file is missing, cannot be read or does not hold such weights.
    """

    def __init__(self, weights: Path) -> None:
        if not weights.is_file():
            raise KeySyncError(f"{weights}: no such file: expected the meter of heads that {COMMAND} writes")
        self.net = HeadNet()
        try:
            self.net.load_state_dict({name: value.float() for name, value in read_tensors(weights)[0].items()})
        except RuntimeError as error:
            raise KeySyncError(
                f"{weights} does not hold a meter of heads: expected the file that {COMMAND} writes"
            ) from error
        self.net.eval()

    @torch.no_grad()
    def read(self, crops: NDArray[Any]) -> HeadReadings:
        """Reads crops (n, h, w, 3) uint8."""
        parts = [self.net(planes_of(crops[start : start + BATCH])) for start in range(0, len(crops), BATCH)]
        read = torch.cat(parts).numpy() if parts else np.zeros((0, 3), np.float32)
        return HeadReadings(np.maximum(read[:, 0], 0), read[:, 1], read[:, 2])  # openings cannot be negative


def planes_of(crops: NDArray[Any]) -> Tensor:
    """Crops (n, h, w, 3) uint8 as (n, 3, SIDE, SIDE) in 0..1."""
    planes = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float() / 255  # n h w c -> n c h w
    if planes.shape[-2:] == (SIDE, SIDE):
        return planes
    return F.interpolate(planes, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
