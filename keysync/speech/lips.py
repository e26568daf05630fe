"""The lips read from speech: how they stand in each frame, whoever speaks.

A small network sees the rows of a speech encoder from 8 frames before each frame to 8 frames after it.
`python -m training.small.lips.training` trains it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..assets import ASSETS
from ..errors import KeySyncError
from ..weights.eight_bits import from_eight_bits
from ..weights.files import read_tensors, shapes_of
from ..weights.finite import check_weights
from .context import CHANNELS, ContextNetwork
from .lips_curve import LIPS, POSITIVE
from .whisper import Whisper

WEIGHTS = ASSETS / "lips.safetensors"
# Channels of the hidden layer.
HIDDEN = 128


class LipsNetwork(ContextNetwork):
    """Pairs of rows (b, f, 2, CHANNELS) to curves (b, f, 5), before negative values are cut off."""

    def __init__(self) -> None:
        super().__init__(len(LIPS), HIDDEN)


class LipsReader:
    """Reads the lips from rows of the built-in Whisper."""

    encoder = Whisper.name

    def __init__(self, network: LipsNetwork) -> None:
        self._network = network

    @torch.no_grad()
    def read(self, rows: Tensor) -> Tensor:
        """The lips curve (frames, 5) float32 on the CPU, in the order of `LIPS`, of rows (frames, 2, channels).

        Each frame depends on the `CONTEXT` frames before and after it, so a part of long speech is read exactly with
        that many more frames on both sides, which are then dropped. Raises `KeySyncError` for another encoder's rows.
        """
        if rows.ndim != 3 or rows.shape[1:] != (2, CHANNELS):
            raise KeySyncError(
                f"the lips are read from rows of shape (frames, 2, {CHANNELS}) by the built-in Whisper: these have "
                f"shape {tuple(rows.shape)}"
            )
        if not len(rows):
            return torch.zeros(0, len(LIPS))
        return self.read_projected(self.project(rows))

    @torch.no_grad()
    def project(self, rows: Tensor) -> Tensor:
        """What is read of rows (..., channels): a sixth as many channels, on the CPU."""
        weight = self._network.mean
        return self._network.projected(rows.to(weight.device, weight.dtype)).cpu()

    @torch.no_grad()
    def read_projected(self, rows: Tensor) -> Tensor:
        """The lips curve (frames, 5), see `read`, of pairs of projected rows."""
        curve: Tensor = self._network.read(rows[None].to(self._network.mean))[0].cpu()
        curve[:, POSITIVE] = curve[:, POSITIVE].clamp_min(0)
        return curve


def load_lips(device: str | torch.device = "cpu", weights: Path = WEIGHTS) -> LipsReader:
    """The built-in reader, or one of other weights in the same layout. It works in float32."""
    tensors = from_eight_bits(weights, read_tensors(weights)[0])
    with torch.device("meta"):
        network = LipsNetwork()
    if shapes_of(tensors) != shapes_of(network.state_dict()):
        raise KeySyncError(f"{weights} has no weights of a lips reader: copy or download it again")
    check_weights(weights, tensors)
    network.load_state_dict(
        {name: value.to(device, torch.float32, copy=True) for name, value in tensors.items()}, assign=True
    )
    return LipsReader(network.eval().requires_grad_(False))
