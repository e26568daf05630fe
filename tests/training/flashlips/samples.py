"""Frames to compute losses of, small enough for hand computation."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.synthetic_face import face_points
from training.flashlips.frames import Frames

SIDE, CELLS = 64, 8


def frames(count: int = 1, references: int = 2) -> Frames:
    """Frames of a face in the middle; the mask is the lower half."""
    points = torch.from_numpy(face_points((32.0, 35.0), 32.0)).float()
    mask = torch.zeros(count, SIDE, SIDE)
    mask[:, SIDE // 2 :] = 1
    shuffled = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=shuffled)

    return Frames(
        key=torch.stack([torch.zeros(count), torch.arange(count), torch.zeros(count)], 1).long(),
        picture=random(3, SIDE, SIDE),
        points=points.repeat(count, 1, 1),
        latent=random(4, CELLS, CELLS),
        mask=mask,
        references=random(references, 4, CELLS, CELLS),
        other_picture=random(3, SIDE, SIDE),
        other_points=points.repeat(count, 1, 1),
        by_another=torch.zeros(count, dtype=torch.bool),
        reversed=torch.zeros(count, dtype=torch.bool),
    )
