"""The lips vector: what the lips of a frame do, in 8 + 4 numbers, as the editor is trained with it (FlashLips).

8 numbers are made of where the points of the mouth are in the face, 4 of the picture of the mouth. So few leave no room
for who it is: 16 numbers of the picture would carry identity over (ablation). Which expression encoder the authors
took is not published; ours are the points themselves.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...network.layers import at_least_float32
from .convolution import ResidualBlock, norm
from .networks import LipsConfig

# The points that are looked at: the lips, and the lower jaw, which opens with them.
LOOKED_AT = (*range(48, 68), 6, 7, 8, 9, 10)
RIGHT_EYE, LEFT_EYE, MOUTH = slice(36, 42), slice(42, 48), slice(48, 68)
# The side of the picture of the mouth, in distances of the eyes' centres.
MOUTH_SIDE = 1.5


class LipsVector(nn.Module):
    """Pictures and their 68 points to lips vectors."""

    def __init__(self, config: LipsConfig) -> None:
        super().__init__()
        self.config = config
        wide = config.hidden
        self.points = nn.Sequential(
            nn.Linear(2 * len(LOOKED_AT), wide),
            nn.SiLU(),
            nn.Linear(wide, wide),
            nn.SiLU(),
            nn.Linear(wide, config.points),
        )
        now, levels = 3, []
        for channels in config.channels:
            levels += [nn.Conv2d(now, channels, 3, stride=2, padding=1), ResidualBlock(channels, channels)]
            now = channels
        self.picture = nn.Sequential(*levels, norm(now), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.leave = nn.Linear(now, config.picture)

    def forward(self, pictures: Tensor, points: Tensor) -> Tensor:
        """pictures (n, 3, h, w), 0..1, and points (n, 68, 2) in their pixels -> (n, width)."""
        placed = in_the_face(points).flatten(1).to(pictures.dtype)
        mouths = mouth_pictures(pictures, points, self.config.side)
        return torch.cat((self.points(placed), self.leave(self.picture(mouths * 2 - 1))), dim=-1)


def in_the_face(points: Tensor) -> Tensor:
    """Where the `LOOKED_AT` of points (n, 68, 2) are: (n, 25, 2), from the middle between the eyes, in distances of the
    eyes' centres and turned until the eyes are level."""
    middle, across = _eyes(at_least_float32(points))
    away = at_least_float32(points)[:, LOOKED_AT] - middle[:, None]
    down = torch.stack((-across[:, 1], across[:, 0]), -1)
    axes = torch.stack((across, down), -1) / across.square().sum(-1)[:, None, None]  # n xy (across down)
    return away @ axes


def mouth_pictures(pictures: Tensor, points: Tensor, side: int) -> Tensor:
    """The squares around the mouths of pictures (n, 3, h, w), level with the eyes: (n, 3, side, side).

    Beyond the picture its edge is repeated.
    """
    _, across = _eyes(at_least_float32(points))
    middle = at_least_float32(points)[:, MOUTH].mean(1)
    right = across * (MOUTH_SIDE / 2)
    down = torch.stack((-right[:, 1], right[:, 0]), -1)
    size = torch.tensor((pictures.shape[3], pictures.shape[2]), dtype=right.dtype, device=right.device)
    # Of -1..1 in the square to -1..1 in the picture.
    columns = (2 * right / size, 2 * down / size, 2 * middle / size - 1)
    grid = F.affine_grid(torch.stack(columns, -1), [len(pictures), 3, side, side], align_corners=False)
    return F.grid_sample(pictures, grid.to(pictures.dtype), padding_mode="border", align_corners=False)


def _eyes(points: Tensor) -> tuple[Tensor, Tensor]:
    """The middle between the eyes (n, 2), and from the right one to the left one (n, 2), at least a pixel long."""
    right, left = points[:, RIGHT_EYE].mean(1), points[:, LEFT_EYE].mean(1)
    across = left - right
    length = across.norm(dim=-1, keepdim=True)
    ahead = torch.tensor((1.0, 0.0), dtype=across.dtype, device=across.device)
    return (right + left) / 2, torch.where(length < 1, ahead, across)
