"""The guided filter (He, Sun and Tang 2010): a soft mask that takes the edges of its picture."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .face import Frame

# What differences of colour (0..1) count as texture and not as an edge, squared.
EPSILON = 1e-4
COARSE = 6.0


def guided(mask: NDArray[np.float32], picture: Frame, reach: float) -> NDArray[np.float32]:
    """A mask (h, w), about 0..1, whose edges move to those of the picture (h, w, 3) within about `reach` pixels.

    In each window the mask is a linear function of the colours. It is fitted at a resolution at which the reach is
    `COARSE` pixels, and applied to all pixels.
    """
    full = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255  # h w c -> 1 c h w
    planes = torch.cat([full, torch.from_numpy(mask)[None, None]], 1)
    factor = max(1, round(reach / COARSE))
    size = max(1, mask.shape[0] // factor), max(1, mask.shape[1] // factor)
    small = F.interpolate(planes, size, mode="area") if factor > 1 else planes
    radius = max(1, round(reach / factor))
    colours, wanted = small[:, :3], small[:, 3:]
    mean, level = _box(colours, radius), _box(wanted, radius)
    together = _box(colours * wanted, radius) - mean * level
    products = (colours[:, :, None] * colours[:, None]).flatten(1, 2)
    spread = _box(products, radius) - (mean[:, :, None] * mean[:, None]).flatten(1, 2)
    matrix = spread.unflatten(1, (3, 3)).permute(0, 3, 4, 1, 2) + EPSILON * torch.eye(3)
    slope = torch.linalg.solve(matrix, together.permute(0, 2, 3, 1)[..., None])[..., 0].permute(0, 3, 1, 2)
    offset = level - (slope * mean).sum(1, keepdim=True)
    fitted = F.interpolate(_box(torch.cat([slope, offset], 1), radius), mask.shape, mode="bilinear")
    refined: NDArray[np.float32] = ((fitted[:, :3] * full).sum(1) + fitted[:, 3])[0].numpy()
    return refined


def _box(planes: Tensor, radius: int) -> Tensor:
    """The mean over a window around each pixel."""
    return F.avg_pool2d(planes, 2 * radius + 1, 1, radius, count_include_pad=False)
