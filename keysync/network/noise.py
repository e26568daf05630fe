"""The noise that sampling starts from: a stream for each stage, drawn on the CPU in the order of the video.

A seed gives the same noise on every device. Streams differ wherever the seed or the stage does.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """The two streams of a seed: one draw for each batch of keyframes, one for each window between keyframes."""

    keyframes: np.random.Generator
    windows: np.random.Generator

    @staticmethod
    def from_seed(seed: int) -> Noise:
        """The streams of any whole number, at their beginning."""
        return Noise(*(_stream(f"{stage} {seed}") for stage in ("keyframe", "interpolation")))


def draw(stream: np.random.Generator, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """The stream's next Gaussian noise of this shape: float32, on the CPU."""
    return torch.from_numpy(stream.standard_normal(tuple(shape), dtype=np.float32))


def _stream(label: str) -> np.random.Generator:
    """A stream of its own for each label: the key of a counter-based generator is 128 bits of the label's hash.

    torch's CPU generator cannot tell so many apart: it looks at 32 bits of its seed.
    """
    return np.random.Generator(np.random.Philox(key=int.from_bytes(sha256(label.encode()).digest()[:16], "little")))
