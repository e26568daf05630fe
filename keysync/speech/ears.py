"""The ears of KeySync small: what its own HuBERT would hear in clean speech, read from rows of the built-in Whisper.

Its stages were trained with a HuBERT of one synthesiser; Whisper hears people. The network between them is
trained by `python -m training.small.ears`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import KeySyncError
from ..weights.eight_bits import from_eight_bits
from ..weights.files import read_tensors, shapes_of
from ..weights.finite import check_weights
from ..weights.identify import EARS
from .context import ContextNetwork
from .encoder import SpeechEncoder
from .projected import Projected
from .whisper import WEIGHTS, Whisper

# Channels of the HuBERT's rows, of the hidden layer, and frames before and after each that the linear layer sees.
CHANNELS, HIDDEN, NEAR = 128, 256, 2


class EarsNetwork(ContextNetwork):
    """Pairs of Whisper's rows (b, f, 2, 384) to both rows of each frame, one after the other: (b, f, 2 CHANNELS)."""

    def __init__(self) -> None:
        super().__init__(2 * CHANNELS, HIDDEN, NEAR)


class Ears(SpeechEncoder):
    """The built-in Whisper, heard as KeySync small's HuBERT."""

    name = "hubert"
    files = "the ears of KeySync small, built in"

    @classmethod
    def load(cls, path: Path, device: torch.device, dtype: torch.dtype) -> Ears:
        """The ears in a file. Raises `KeySyncError` for missing and misshapen tensors."""
        tensors = from_eight_bits(path, read_tensors(path)[0])
        tensors = {name.removeprefix(EARS): tensor for name, tensor in tensors.items()}
        with torch.device("meta"):
            network = EarsNetwork()
        if shapes_of(tensors) != shapes_of(network.state_dict()):
            raise KeySyncError(f"{path} does not hold the ears of KeySync small: copy or download it again")
        check_weights(path, tensors)
        weights = {name: tensor.to(device, dtype, copy=True) for name, tensor in tensors.items()}
        network.load_state_dict(weights, assign=True)
        return cls(Whisper.load(WEIGHTS, device, dtype), network.eval().requires_grad_(False))

    def __init__(self, whisper: Whisper, network: EarsNetwork) -> None:
        super().__init__(nn.ModuleList([whisper.model, network]))
        self._whisper, self._network = whisper, network

    @property
    def channels(self) -> int:
        return CHANNELS

    def _encode(self, waveform: Tensor, one_pass: int) -> Tensor:
        place = self._network.mean
        frames = Projected(self._whisper, lambda rows: self._network.projected(rows.to(place))).encode(waveform).frames
        heard: Tensor = self._network.read(frames[None])[0]
        rows: Tensor = heard.unflatten(1, (2, CHANNELS)).flatten(0, 1)
        return rows.float().cpu()
