"""The noise that sampling starts from: one stream per stage, generated on the CPU in the order of the video.

A seed gives the same noise on every device. Streams of different seeds or stages are independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """The two streams of a seed: one draw per batch of keyframes, and one per window between keyframes."""

    keyframes: np.random.Generator
    windows: np.random.Generator

    @staticmethod
    def from_seed(seed: int) -> Noise:
        """New streams for a seed, which may be any integer."""
        return Noise(*(stream(f"{stage} {seed}") for stage in ("keyframe", "interpolation")))


def draw(source: np.random.Generator, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """The stream's next Gaussian noise of this shape: float32, on the CPU."""
    return torch.from_numpy(source.standard_normal(tuple(shape), dtype=np.float32))


def stream(label: str) -> np.random.Generator:
    """The stream of a label: a counter-based generator whose key is 128 bits of the label's hash.

    torch's CPU generator uses only 32 bits of its seed.
    """
    return np.random.Generator(np.random.Philox(key=int.from_bytes(sha256(label.encode()).digest()[:16], "little")))
