"""Identity of a generated mouth: its distance from that of the same person, and from others saying the same.

The compared pictures share place, light and moment; only the person differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..synthetic.measure.meter import patches
from ..synthetic.measure.metrics import Estimate, bootstrap
from .reading import Distance

if TYPE_CHECKING:
    from .film import Film

CELLS = (3, 4)  # grid of a patch; colours are averaged per cell


def likeness(generated: NDArray[np.uint8], film: Film) -> tuple[Distance, Distance]:
    """Distances in colour (0..255) and in lip shape (of pictures normalised to contrast 1) of a film's open mouths."""
    frames = film.open_frames
    own_points = torch.from_numpy(film.real.landmarks[frames]).double()
    here = patches(torch.from_numpy(generated[frames]), torch.from_numpy(film.source.landmarks[frames]).double())
    own = patches(torch.from_numpy(film.real.frames[frames]), own_points)
    others = [
        patches(torch.from_numpy(stranger.frames), torch.from_numpy(stranger.landmarks).double())
        for stranger in film.strangers
    ]
    return _distance(here, own, others, _colours), _distance(here, own, others, _shapes)


def ratio(distances: Sequence[Distance]) -> Estimate:
    """The distance from the same person over that from another, over clips."""
    own = np.array([distance.own for distance in distances])
    others = np.array([distance.others for distance in distances])
    return bootstrap(lambda drawn: float(own[drawn].sum() / max(others[drawn].sum(), 1e-9)), len(own))


def _distance(here: Tensor, own: Tensor, others: Sequence[Tensor], look: Callable[[Tensor], Tensor]) -> Distance:
    seen = look(here)
    return Distance(_apart(seen, look(own)), float(np.mean([_apart(seen, look(other)) for other in others])))


def _colours(parts: Tensor) -> Tensor:
    return 255 * F.adaptive_avg_pool2d(parts, CELLS)


def _shapes(parts: Tensor) -> Tensor:
    """The grey values of patches (n, 3, h, w), normalised to mean 0 and contrast 1."""
    grey = parts.mean(1)
    centred = grey - grey.mean((1, 2), keepdim=True)
    return centred / (centred.std((1, 2), keepdim=True) + 0.02)


def _apart(one: Tensor, other: Tensor) -> float:
    """The root mean square difference."""
    return float((one - other).square().mean().sqrt())
