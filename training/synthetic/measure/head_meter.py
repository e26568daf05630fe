"""A meter that reads the opening of the mouth, valence and arousal in crops of talking heads.

It is a small convolutional network that sees nothing but the crop. It finds points of the face, and reads their places:
feelings move the corners of a mouth by two pixels, which a network that only knows what to read does not find.
`head_meter_training` trains it; no trained weights are part of the project.
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
SIDE = 128  # pixels that a crop is scaled to
POINTS = slice(17, 68)  # of the 68: brows, nose, eyes and mouth
# Among these: the bridge of the nose, and each eye.
BRIDGE, EYES = slice(10, 14), (slice(19, 25), slice(25, 31))
WIDTH = 24  # channels of the maps
STEADY = 13  # frames, half a second
APART = (1, 2, 4, 8, 1)  # how far apart the points of a layer's kernel are
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

    def steady(self) -> HeadReadings:
        """The readings of frames in a row with valence and arousal averaged over `STEADY` frames, fewer at the ends:
        feelings last longer than the sounds of speech, which move the same points."""
        count = np.convolve(np.ones(len(self.opening)), np.ones(STEADY), "same")
        valence, arousal = (
            (np.convolve(part, np.ones(STEADY), "same") / count).astype(np.float32)
            for part in (self.valence, self.arousal)
        )
        return HeadReadings(self.opening, valence, arousal)


class HeadNet(nn.Module):
    """Crops (n, 3, SIDE, SIDE) in 0..1 to opening, valence and arousal (n, 3)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3 + 2, 16, 5, 2, 2), nn.GELU(), nn.Conv2d(16, WIDTH, 3, 2, 1), nn.GELU()]
        for apart in APART:
            layers += [nn.Conv2d(WIDTH, WIDTH, 3, padding=apart, dilation=apart), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(WIDTH, POINTS.stop - POINTS.start, 1))
        self.read = nn.Linear(2 * (POINTS.stop - POINTS.start), 3)
        self.mean: Tensor
        self.spread: Tensor
        self.grid: Tensor
        self.coarse: Tensor
        self.register_buffer("mean", torch.tensor(MEAN), persistent=False)
        self.register_buffer("spread", torch.tensor(SPREAD), persistent=False)
        self.register_buffer("grid", places(SIDE), persistent=False)
        self.register_buffer("coarse", places(SIDE // 4), persistent=False)

    def points(self, crops: Tensor) -> Tensor:
        """The places (n, 51, 2) of `POINTS`, x and y in 0..1 of the crop."""
        # Normalises skin colour and light: each channel has mean 0, each crop the same contrast.
        centred = crops - crops.mean((2, 3), keepdim=True)
        scaled = centred / (centred.std((1, 2, 3), keepdim=True) + 0.02)
        maps = self.layers(torch.cat((scaled, self.grid.expand(len(crops), -1, -1, -1)), 1))
        found: Tensor = maps.flatten(2).softmax(2) @ self.coarse.flatten(1).T
        return found

    def forward(self, crops: Tensor) -> Tensor:
        return self.readings(self.points(crops))

    def readings(self, points: Tensor) -> Tensor:
        """Opening, valence and arousal (n, 3) of the places (n, 51, 2) of `POINTS`."""
        read: Tensor = self.read(self.shape_of(points)) * self.spread + self.mean
        return read

    @staticmethod
    def shape_of(points: Tensor) -> Tensor:
        """The places (n, 51, 2) as (n, 102): from the bridge of the nose, over the distance of the eyes."""
        bridge, eyes = points[:, BRIDGE].mean(1, keepdim=True), [points[:, eye].mean(1, keepdim=True) for eye in EYES]
        apart = (eyes[1] - eyes[0]).norm(dim=-1, keepdim=True).clamp_min(1e-3)
        shape: Tensor = ((points - bridge) / apart).flatten(1)
        return shape


def places(side: int) -> Tensor:
    """The middles (2, side, side) of the squares of a grid, x and y in 0..1."""
    middles = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(middles, middles, indexing="ij")
    return torch.stack((x, y))


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
