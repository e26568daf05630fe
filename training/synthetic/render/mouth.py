"""The mouth of one frame: its opening and shape, and the resulting geometry of the lips.

Lips are curves in millimetres (x to the viewer's right, y down, z towards the viewer) with 0 between the pupils.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .identity import Identity


Curve = NDArray[np.float64]

LINE = 69.0  # where closed lips meet, mm below the pupils
ALONG = 33  # points of each curve, including the landmarks
ACROSS = 7  # points from the outer edge of a lip to the inner
RAISED = 0.2  # share of the opening due to the upper lip; the rest is due to the jaw
SMILE = 8.0  # height of the corners of a smile over those at rest, mm
CLOSED_CORNER = 0.36  # share of the jaw's motion that the corners of the mouth follow
# Positions of iBUG's points along the lips, left to right, over half the mouth's width.
OUTER_PLACES = (-1.0, -0.62, -0.25, 0.0, 0.25, 0.62, 1.0)
INNER_PLACES = (-1.0, -0.5, 0.0, 0.5, 1.0)
_KNOTS = sorted({*OUTER_PLACES, *INNER_PLACES})
# Positions of the curves' points, including the landmarks, and the columns of the landmarks.
PLACES: Curve = np.interp(np.linspace(0, len(_KNOTS) - 1, ALONG), np.arange(len(_KNOTS)), _KNOTS)
OUTER_COLUMNS = [int(np.abs(PLACES - place).argmin()) for place in OUTER_PLACES]
INNER_COLUMNS = [int(np.abs(PLACES - place).argmin()) for place in INNER_PLACES]


@dataclass(frozen=True)
class MouthShape:
    """The articulation of a mouth, each value in 0..1, 0 at rest.

    open: the gap between the inner lips over the largest one; wide: corners drawn apart ("ee"); round: pursed and
    protruded ("oo"); teeth: visibility of both rows; tongue: tip raised to the upper teeth ("l", "th"). Except smile,
    -1..1: corners lowered .. raised.
    """

    open: float = 0.0
    wide: float = 0.0
    round: float = 0.0
    teeth: float = 0.3
    tongue: float = 0.0
    smile: float = 0.0

    @classmethod
    def sample(cls, rng: np.random.Generator) -> MouthShape:
        """Any mouth, closed one time in six; no mouth is wide and round at once."""
        lips = float(rng.uniform(-1, 1))
        return cls(
            open=0.0 if rng.random() < 1 / 6 else float(rng.uniform(0, 1) ** 1.3),
            wide=max(lips, 0.0),
            round=max(-lips, 0.0),
            teeth=float(rng.uniform(0.1, 1)),
            tongue=float(rng.uniform(0, 1)) if rng.random() < 0.4 else 0.0,
        )


@dataclass(frozen=True, eq=False)
class Lips:
    """Both lips in mm: `upper` and `lower` (ACROSS, ALONG, 3), from the outer edge to the inner, left to right."""

    upper: Curve
    lower: Curve

    @property
    def outer_points(self) -> Curve:
        """Landmarks 48 to 59: (12, 3)."""
        places = OUTER_COLUMNS
        return np.concatenate([self.upper[0, places], self.lower[0, places[-2:0:-1]]])

    @property
    def inner_points(self) -> Curve:
        """Landmarks 60 to 67: (8, 3)."""
        places = INNER_COLUMNS
        return np.concatenate([self.upper[-1, places], self.lower[-1, places[-2:0:-1]]])

    @property
    def inner_edge(self) -> Curve:
        """The closed contour of the opening: (2 ALONG - 2, 3)."""
        return np.concatenate([self.upper[-1], self.lower[-1, -2:0:-1]])


def jaw_drop(person: Identity, mouth: MouthShape) -> float:
    """Displacement of lower lip and chin below their rest position, mm."""
    return (1 - RAISED) * person.gape * mouth.open


def raised(person: Identity, mouth: MouthShape) -> float:
    """Displacement of the upper lip above its rest position, mm."""
    return RAISED * person.gape * mouth.open


def half_width(person: Identity, mouth: MouthShape) -> float:
    """Distance from the middle of the mouth to its corner, mm."""
    return person.mouth_width * (1 + 0.16 * mouth.wide - 0.34 * mouth.round - 0.05 * mouth.open + 0.16 * mouth.smile)


def protrusion(mouth: MouthShape) -> float:
    """Protrusion of the lips, mm."""
    return 6.0 * mouth.round - 1.2 * mouth.wide


def lips(person: Identity, mouth: MouthShape, surface: NDArray[np.float64]) -> Lips:
    """The lips on a face with depth `surface` (2, ACROSS, ALONG) in mm at the points of `lip_places`."""
    places = lip_places(person, mouth)
    q = PLACES
    across = np.linspace(0, 1, ACROSS)[:, None]
    # Lips are round in section and flat at the corners; the inner edge is deeper.
    body = np.sin(np.pi * np.clip(0.12 + 0.80 * across, 0, 1)) * (1 - np.abs(q) ** 3)
    pout = 1 + 0.9 * mouth.round - 0.25 * mouth.wide - 0.15 * mouth.open
    z = surface + protrusion(mouth) * (1 - 0.5 * np.abs(q) ** 2)
    z = z + np.stack([0.34 * person.upper_lip * body, 0.42 * person.lower_lip * body]) * pout
    # The jaw rotates about the ears: lowered points also move back.
    z[1] -= 0.22 * jaw_drop(person, mouth) * (1 - np.abs(q) ** 2)
    both = np.concatenate([places, z[..., None]], axis=-1)
    return Lips(both[0], both[1])


def lip_places(person: Identity, mouth: MouthShape) -> NDArray[np.float64]:
    """x and y of both lips: (2, ACROSS, ALONG, 2)."""
    q = PLACES
    half = half_width(person, mouth)
    inner_half = half - (1.6 + 1.4 * mouth.open + 0.8 * mouth.round)
    drop, rise = jaw_drop(person, mouth), raised(person, mouth)
    corner = LINE - person.corner - 1.0 * mouth.wide - SMILE * mouth.smile + CLOSED_CORNER * drop - 0.25 * rise
    thick = 1 + 0.14 * mouth.round - 0.16 * mouth.wide - 0.10 * mouth.open
    # The edges of the opening are flatter than an ellipse; less so for a round mouth.
    bulge = (1 - np.abs(q) ** (2.3 - 0.4 * mouth.round)) ** (0.75 - 0.2 * mouth.round)
    line = _rest_line(person, q)
    upper_inner = corner + (LINE - rise - corner) * bulge + line
    lower_inner = corner + (LINE + drop - corner) * bulge + line
    bow = 1 + person.cupid * (np.exp(-(((np.abs(q) - 0.25) / 0.17) ** 2)) - 1.1 * np.exp(-((q / 0.13) ** 2)))
    upper_edge = upper_inner - person.upper_lip * thick * np.clip(1 - np.abs(q) ** 1.7, 0, 1) ** 0.8 * bow
    lower_edge = lower_inner + person.lower_lip * thick * np.clip(1 - np.abs(q) ** 2.2, 0, 1) ** 0.8
    across = np.linspace(0, 1, ACROSS)[:, None]
    x = q * (half + (inner_half - half) * across)
    return np.stack(
        [
            np.stack([x, upper_edge + (upper_inner - upper_edge) * across], -1),
            np.stack([x, lower_edge + (lower_inner - lower_edge) * across], -1),
        ]
    )


def _rest_line(person: Identity, q: Curve) -> Curve:
    """The curve of the line between closed lips, mm; 0 in the middle."""
    line: Curve = 0.16 * person.upper_lip * (np.cos(2 * np.pi * np.abs(q)) - 1) * 0.5 * (1 - np.abs(q)) * 2
    return line
