"""The outline of a sound: how far it swings up and down in each part of a picture of it."""

from __future__ import annotations

from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from .source import SoundSource


def outline(sound: SoundSource, seconds: float, parts: int) -> NDArray[np.float32]:
    """The highest and the lowest sample (2 parts,) of each of the equal `parts` of the first `seconds`, in turn.

    It is itself a sound of two samples a part that looks like the whole one; silence fills up what is shorter. The
    channels are averaged; memory does not grow with the length.
    """
    edges = np.stack((np.full(parts, -np.inf), np.full(parts, np.inf)), axis=1).astype(np.float32)
    each, before = seconds * sound.rate / parts, 0
    with closing(sound.blocks()) as blocks:
        for block in blocks:
            samples = block.mean(0)
            places = ((before + np.arange(len(samples))) / each).astype(np.int64)
            before += len(samples)
            held, starts = np.unique(places[places < parts], return_index=True)
            if not len(held):
                break
            samples = samples[: int((places < parts).sum())]
            edges[held, 0] = np.maximum(edges[held, 0], np.maximum.reduceat(samples, starts))
            edges[held, 1] = np.minimum(edges[held, 1], np.minimum.reduceat(samples, starts))
    edges[~np.isfinite(edges)] = 0
    return edges.reshape(-1)
