"""A curve of the lips in place of speech."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import KeySyncError
from ..method import SAMPLE_RATE
from ..speech.curve import Curve


@dataclass(frozen=True, eq=False)
class GivenCurve:
    """Stands for an encoder whose rows are the values of a curve, whatever the speech says; see `Given`."""

    curve: Curve
    given: bool = True

    def encode(self, waveform: Tensor) -> GivenCurve:
        """Itself. Raises `KeySyncError` where the curve ends before the speech."""
        seconds = len(waveform) / SAMPLE_RATE
        if self.curve.seconds + 1 / self.curve.fps < seconds:
            raise KeySyncError(
                f"{self.curve.title} lasts {self.curve.seconds:.2f} s but the result {seconds:.2f} s: use a curve of "
                "the whole speech",
                about="lips",
            )
        return self

    def at(self, times: Tensor | NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(self.curve.at(np.asarray(times)))
