"""Speech encoders in the core's care: moved between devices by ComfyUI."""

from __future__ import annotations

from pathlib import Path

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...keysync.errors import KeySyncError
from ...keysync.speech.encoder import SpeechEncoder
from ...keysync.speech.encoders import ENCODERS, load_encoder
from ...keysync.speech.features import SpeechFeatures
from ...keysync.speech.weights import FOLDER_FILES
from ...keysync.speech.whisper import WEIGHTS, Whisper
from ...keysync.weights.files import read_tensors, shapes_of
from ...keysync.weights.identify import KINDS as FILE_KINDS
from ...keysync.weights.identify import identify


class CoreSpeechEncoder:
    """A speech encoder that ComfyUI's memory manager loads before use and unloads when others need the memory."""

    def __init__(self, encoder: SpeechEncoder) -> None:
        self._encoder = encoder
        # The core notes on its models where they are, in an attribute that transformers' models keep for themselves.
        self.patcher = ModelPatcher(
            torch.nn.ModuleList([encoder.model]),
            load_device=comfy.model_management.text_encoder_device(),
            offload_device=comfy.model_management.text_encoder_offload_device(),
        )

    @property
    def name(self) -> str:
        return self._encoder.name

    @property
    def channels(self) -> int:
        return self._encoder.channels

    def encode(self, waveform: Tensor) -> SpeechFeatures:
        """Features of a waveform (n,) float32, 16 kHz mono, as `keysync.speech.encoders.SpeechEncoder` gives them."""
        comfy.model_management.load_models_gpu([self.patcher], force_full_load=True)
        return self._encoder.encode(waveform.cpu())


def load(path: Path) -> CoreSpeechEncoder:
    """The speech encoder in a file or folder. Raises `KeySyncError` for what is none, or not whole."""
    file = next((path / name for name in FOLDER_FILES if (path / name).is_file()), path)
    shapes = shapes_of(read_tensors(file)[0])
    name = next((name for name, encoder in ENCODERS.items() if encoder.recognises(shapes)), None)
    if name is None:
        kind, sign = identify(shapes)
        wanted = " or ".join(FILE_KINDS.get(name, encoder.files) for name, encoder in ENCODERS.items())
        raise KeySyncError(f"{file} is {FILE_KINDS[kind]} ({sign}): expected {wanted}")
    return _load(name, path)


def load_whisper() -> CoreSpeechEncoder:
    """The built-in Whisper, which lips are read from."""
    return _load(Whisper.name, WEIGHTS)


def _load(name: str, path: Path) -> CoreSpeechEncoder:
    device = comfy.model_management.text_encoder_offload_device()
    # The executor runs nodes in inference mode, and weights made there are slow to cast later.
    with torch.inference_mode(False):
        return CoreSpeechEncoder(load_encoder(name, path, device=device))
