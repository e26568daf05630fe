"""The colours of what covers a face: they tell its own texels, such as a fork's, from those of the face between them.

By Bayes' rule the odds that a texel is covered are multiplied by how much likelier its colour is in the thing than on
the person's usual face there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .usual import Region, Texture, Usual, relit

# Levels of a bin, and bins of each colour; a thing's colour is off by about one bin.
BIN = 12.0
BINS = int(np.ceil(256 / BIN))
# The chance from which a texel shows the thing's colours, and how many of them make a palette.
CERTAIN, FEWEST = 0.9, 60
# Texels that an edge of the face is off; the least spread of its colours, levels.
OFF, LEAST_SPREAD = 1, 10.0
# The most that colours say, as a logarithm of odds; any colour may be on a face or a thing.
MOST, ANY = 4.0, 1 / 256**3
# What is found of a thing is too small rather than too large: the odds of all texels are raised.
RAISED = 1.0
# Chances are kept from 0 and 1.
LEAST = 1e-3

Chances = NDArray[np.float32]


class Palette:
    """How often each colour is among `colours` (n, 3) in the light of the usual look."""

    def __init__(self, colours: Texture) -> None:
        from scipy.ndimage import gaussian_filter

        counts = np.zeros((BINS,) * 3)
        np.add.at(counts, _bins(colours), 1.0)
        smooth = gaussian_filter(counts, 1.0)
        self._density = smooth / smooth.sum() / BIN**3

    @classmethod
    def of(cls, seen: Sequence[tuple[Texture, Region]], chances: NDArray[np.float32], usual: Usual) -> Palette | None:
        """That of what covers unfolded frames, by the chances (n, ROWS, COLUMNS); None where too little does.

        The inside of a thing counts where there is enough of it: its edge is half the face's.
        """
        from scipy.ndimage import binary_erosion

        certain = chances > CERTAIN
        inside = binary_erosion(certain, np.ones((1, 3, 3)))
        used = inside if inside.sum() >= FEWEST else certain
        if used.sum() < FEWEST:
            return None
        frames = np.flatnonzero(used.any((1, 2))).tolist()
        return cls(np.concatenate([relit(seen[n][0], usual, seen[n][1])[0][used[n]] for n in frames]))

    def judged(self, chances: Chances, texture: Texture, shown: Region, usual: Usual) -> Chances:
        """The chances (ROWS, COLUMNS) of a frame with something surely before the face, by its colours too."""
        even, told = relit(texture, usual, shown)
        if not told:
            return chances
        thing = self._density[_bins(even)] + ANY
        weight = np.log(thing / (_usual_density(even, usual) + ANY)).clip(-MOST, MOST)
        weight = np.where(usual.known & shown, weight + RAISED, 0)
        before = chances.clip(LEAST, 1 - LEAST)
        odds = before / (1 - before) * np.exp(weight)
        judged: Chances = np.where(shown, odds / (1 + odds), 0).astype(np.float32)
        return judged


def _usual_density(even: Texture, usual: Usual) -> NDArray[np.float64]:
    """How likely the colours are on the usual face, within `OFF` texels: (ROWS, COLUMNS)."""
    from scipy.ndimage import maximum_filter, minimum_filter

    window = (2 * OFF + 1, 2 * OFF + 1, 1)
    low, high = minimum_filter(usual.colour, window), maximum_filter(usual.colour, window)
    spread = np.maximum(usual.spread, LEAST_SPREAD).astype(np.float64)
    away = np.maximum(np.maximum(even - high, low - even), 0) / spread[..., None]
    density: NDArray[np.float64] = np.exp(-0.5 * (away**2).sum(-1)) / ((2 * np.pi) ** 1.5 * (spread + 3) ** 3)
    return density


def _bins(colours: Texture) -> tuple[NDArray[np.int64], ...]:
    at = (colours / BIN).astype(np.int64).clip(0, BINS - 1)
    return at[..., 0], at[..., 1], at[..., 2]
