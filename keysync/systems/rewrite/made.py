"""Mouths for a face that never opens its own: its lips are parted, widened and narrowed, and what is inside is drawn.

They take the place of the mouths that a clip lends, and are chosen and drawn like these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .curve import WIDE_OPEN, WIDER
from .head import Poses
from .inside import Colours, fill
from .points import INNER, LOWER_INNER, LOWER_OUTER, OUTLINE, POINTS, UPPER_INNER, UPPER_OUTER, parting
from .warp import moved

# Gaps between the lips and changes of the mouth's width that are made of each closed mouth, in eye distances.
GAPS = np.linspace(0, 1.1 * WIDE_OPEN, 8)
WIDTHS = (-WIDER, 0.0, WIDER)
MADE = len(GAPS) * len(WIDTHS)
# Mouths with a larger gap show teeth of their own, which these would not match.
CLOSED = 0.06
# How far around the mouth the skin follows its width.
AROUND = 0.3
# How far the teeth are behind the lips.
BEHIND = 0.03
MIDDLES = (POINTS.index(13), POINTS.index(14))
LIPS = [POINTS.index(point) for point in (*UPPER_OUTER, *LOWER_OUTER)]
EDGES = [POINTS.index(point) for point in (*UPPER_INNER, *LOWER_INNER)]
FACE = [POINTS.index(point) for point in OUTLINE]
RING = [POINTS.index(point) for point in INNER]


@dataclass(frozen=True, eq=False)
class Closed:
    """A closed mouth: its `settled` mesh points `POINTS` (n, 3), where they are in the `patch` (p, p, 3) uint8 with its
    `corner` (x, y), and the head's pose."""

    settled: NDArray[np.float64]
    patch: Tensor
    corner: tuple[int, int]
    poses: Poses

    def places(self, settled: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where settled points (n, 3) are in the patch: (n, 2)."""
        placed: NDArray[np.float64] = self.poses.place(settled[None])[0, :, :2] - np.array(self.corner)
        return placed


@dataclass(frozen=True, eq=False)
class Made:
    """A mouth that was made: what it changed in opening and width, its settled points, its places and its patch."""

    change: tuple[float, float]
    settled: NDArray[np.float64]
    points: NDArray[np.float64]
    patch: Tensor


def make_mouths(mouth: Closed, reference: NDArray[np.float64]) -> list[Made]:
    """Mouths of all `GAPS` and `WIDTHS`, made of a closed one."""
    apart = parting(reference)
    own = mouth.places(mouth.settled)
    picture = mouth.patch.permute(2, 0, 1)[None].float() / 255
    colours = Colours.of(mouth.patch, own[FACE], (own[EDGES] + own[LIPS]) / 2)
    rest = float(mouth.settled[MIDDLES, 1].mean())
    made = []
    for width in WIDTHS:
        wide = _widened(mouth.settled, width)
        for gap in GAPS.tolist():
            settled = wide.copy()
            settled[:, 1] += gap * apart
            goals = mouth.places(settled)
            part = moved(picture, torch.from_numpy(goals)[None].float(), torch.from_numpy(own)[None].float())[0]
            if gap:
                upper, lower = settled[MIDDLES, 1].tolist()
                depth = float(settled[RING, 2].mean()) + BEHIND
                part = fill(part, goals[RING], _to_reference(mouth, depth), (upper, lower), rest, colours)
            patch = (part.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
            made.append(Made((gap, width), settled, goals, patch))
    return made


def _widened(settled: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Points whose mouth corners are `width` further apart; the skin around follows less and less."""
    corners = settled[[POINTS.index(61), POINTS.index(291)]]
    middle = corners.mean(0)
    away = settled - middle
    half = abs(float(corners[1, 0] - corners[0, 0])) / 2
    beside = np.maximum(np.abs(away[:, 0]) - half, 0)
    near = np.exp(-(beside**2 + away[:, 1] ** 2) / AROUND**2)
    wider = settled.copy()
    wider[:, 0] += np.clip(away[:, 0] / half, -1, 1) * width / 2 * near
    return wider


def _to_reference(mouth: Closed, depth: float) -> NDArray[np.float64]:
    """(2, 3): from pixels of the patch to the plane of the reference that is `depth` deep."""
    origin, right, down = mouth.places(np.array([(0, 0, depth), (1, 0, depth), (0, 1, depth)], np.float64))
    back = np.linalg.inv(np.stack([right - origin, down - origin], 1))
    return np.concatenate([back, -(back @ origin)[:, None]], 1)
