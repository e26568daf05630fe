"""The lips of a whole speech, by the built-in encoder and reader."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..method import NETWORK_RATE
from .lips import load_lips
from .lips_curve import LipsCurve
from .whisper import WEIGHTS, Whisper


def heard_lips(samples: Tensor, seconds: float) -> LipsCurve:
    """The lips at 25 frames a second of speech (n,) at 16 kHz that lasts so many seconds; at least one frame."""
    rows = Whisper.load(WEIGHTS, torch.device("cpu"), torch.float32).encode(samples)
    times = np.arange(max(1, math.ceil(seconds * NETWORK_RATE))) / NETWORK_RATE
    return LipsCurve(load_lips().read(rows.at(times)).numpy(), float(NETWORK_RATE))
