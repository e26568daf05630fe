"""How a person's unfolded face usually looks, and how far one frame is from it whatever the light.

Textures are those of `unfolded`: (ROWS, COLUMNS, 3) float32, 0..255.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .unfolded import BOTTOM, LEFT, RIGHT, TOP, texels

Texture = NDArray[np.float32]
Region = NDArray[np.bool_]

# Frames that must show a texel for it to be known.
FEWEST = 3
# Noise of cameras and codecs, levels; what a misplaced edge adds, as a share of the slope in levels per texel.
NOISE, MISPLACED = 4.0, 0.5
# The light's fit: every so many texels, its rounds, what is added to logarithms' arguments, and its largest term.
THIN, ROUNDS, DARK, MOST = 4, 4, 8.0, 0.5
# Of the light's terms, so that a large thing does not pass for light.
RIDGE = 0.02


@dataclass(frozen=True, eq=False)
class Usual:
    """The usual colour (ROWS, COLUMNS, 3), its spread (ROWS, COLUMNS) in levels, and which texels are known."""

    colour: Texture
    spread: NDArray[np.float32]
    known: Region

    @classmethod
    def of(cls, textures: NDArray[np.float32], free: Region) -> Usual:
        """Of textures (n, ROWS, COLUMNS, 3), of the texels that are `free` (n, ROWS, COLUMNS) alone.

        The light of each is first made that of their median.
        """
        known = free.sum(0) >= FEWEST
        middle = cls(_median(textures, free), np.full(known.shape, NOISE, np.float32), known)
        even = np.stack([relit(texture, middle, shown)[0] for texture, shown in zip(textures, free, strict=True)])
        colour = _median(even, free)
        off = np.abs(even - colour).max(-1)
        spread = NOISE + 1.4826 * _median(off[..., None], free)[..., 0] + MISPLACED * _slope(colour)
        return cls(colour, spread.astype(np.float32), known)


def relit(texture: Texture, usual: Usual, shown: Region) -> tuple[Texture, bool]:
    """The texture in the light of the usual look; whether enough of both is known to tell.

    Light is a factor for each colour that changes linearly over the face; what deviates most does not count.
    """
    usable = (usual.known & shown)[::THIN, ::THIN]
    if usable.sum() < 30:
        return texture, False
    terms = _TERMS[::THIN, ::THIN][usable]
    now = np.log(texture[::THIN, ::THIN][usable] + DARK)
    then = np.log(usual.colour[::THIN, ::THIN][usable] + DARK)
    ratio = (then - now).astype(np.float64)
    found = np.zeros((3, 3))
    found[0] = np.median(ratio, axis=0)
    for _ in range(ROUNDS):
        off = np.abs(ratio - terms @ found).max(-1)
        weight = 1 / (1 + (off / max(0.03, 1.5 * float(np.median(off)))) ** 4)
        weighted = terms * weight[:, None]
        found = np.linalg.solve(weighted.T @ terms + RIDGE * weight.sum() * _RIDGES, weighted.T @ ratio)
    light = np.exp(_TERMS @ found.clip(-MOST, MOST))
    return ((texture + DARK) * light - DARK).astype(np.float32), True


def _median(textures: NDArray[np.float32], free: Region) -> Texture:
    """The median over the free ones of textures (n, ROWS, COLUMNS, c); over all where none is free."""
    values = np.where((free | ~free.any(0))[..., None], textures, np.nan)
    middle: Texture = np.nanmedian(values, axis=0).astype(np.float32)
    return middle


def _slope(colour: Texture) -> NDArray[np.float32]:
    down, across = np.gradient(colour, axis=(0, 1))
    slope: NDArray[np.float32] = np.hypot(down, across).max(-1)
    return slope


def _terms() -> NDArray[np.float64]:
    """1 and the place of each texel, -1..1: (ROWS, COLUMNS, 3)."""
    at = (texels() - np.array([LEFT + RIGHT, TOP + BOTTOM]) / 2) / np.array([RIGHT - LEFT, BOTTOM - TOP]) * 2
    return np.concatenate([np.ones((*at.shape[:2], 1)), at], -1)


_TERMS, _RIDGES = _terms(), np.diag([0.0, 1.0, 1.0])
