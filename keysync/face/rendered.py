"""Whether a face is one that the synthetic world renders, which KeySync small can draw, or one of a camera."""

from __future__ import annotations

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..assets import ASSETS
from .mesh import MeshReader

WEIGHTS = ASSETS / "rendered.safetensors"


class RenderedFaces:
    """Tells rendered faces from others by a linear layer on what the face mesh's network sees."""

    def __init__(self) -> None:
        self._reader = MeshReader()
        stored = load_file(WEIGHTS)
        self._weight, self._bias = stored["weight"], stored["bias"]

    def scores(self, crops: Tensor) -> Tensor:
        """A score (n,) of crops (n, h, w, 3), uint8 or 0..1, with a face in the middle: above 0 for rendered faces."""
        return self._reader.features(crops) @ self._weight + self._bias

    def are_rendered(self, crops: Tensor) -> bool:
        """Whether most of the crops of one clip show a rendered face."""
        return bool(torch.median(self.scores(crops)) > 0)
