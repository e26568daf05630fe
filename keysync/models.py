"""The five models of one dub: two stages, the VAE, and the speech encoders that the stages were trained with.

Where a file is not given, a small untrained stand-in of the same architecture takes its place and says so (`tiny.py`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from .checkpoint import load_stage
from .errors import KeySyncError
from .generate import HostStage
from .speech import SpeechEncoder, SpeechFeatures, load_encoder
from .stage import Stage, StageSpec
from .tiny import write_tiny_models
from .vae import VAE, load_vae

PIXELS_PER_LATENT = 8
UNTRAINED = "untrained: the mouth region is noise"


class HostVAE(Protocol):
    """A VAE that a host program runs; the members are those of `VAE`."""

    batch: int
    downscale: int
    source: str

    @property
    def encoder(self) -> object | None: ...

    def encode(self, images: Tensor, /) -> Tensor: ...

    def decode(self, latents: Tensor, /) -> Tensor: ...


class HostSpeechEncoder(Protocol):
    """A speech encoder that a host program runs; the members are those of `SpeechEncoder`."""

    @property
    def name(self) -> str: ...

    @property
    def channels(self) -> int: ...

    def encode(self, waveform: Tensor, /) -> SpeechFeatures: ...


@dataclass(frozen=True)
class Models:
    """What a dub runs on; `origins` says for the report where each model came from."""

    keyframe: Stage | HostStage
    interpolation: Stage | HostStage
    vae: VAE | HostVAE
    encoders: Mapping[str, SpeechEncoder | HostSpeechEncoder]
    origins: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        first, second = self.keyframe.spec, self.interpolation.spec
        if first.latent_size != second.latent_size or first.window != second.window:
            raise KeySyncError(
                f"the keyframe model works on {_working_size(first)} but the interpolation model on "
                f"{_working_size(second)}: give two models that were trained together (--keyframe-model, "
                "--interpolation-model)"
            )
        if self.vae.encoder is None:
            raise KeySyncError(f"{self.vae.source} holds only the VAE's decoder: give a whole one (--vae)")
        if self.vae.downscale != PIXELS_PER_LATENT:
            raise KeySyncError(
                f"{self.vae.source} is a VAE of {self.vae.downscale} pixels a latent but the models want "
                f"{PIXELS_PER_LATENT}: give the VAE of Stable Video Diffusion (--vae)"
            )
        for spec in (first, second):
            encoder = self.encoders.get(spec.speech_encoder)
            if encoder is None:
                raise KeySyncError(f"the {spec.name} model wants the speech encoder {spec.speech_encoder}: load it too")
            if encoder.channels != spec.audio_channels:
                raise KeySyncError(
                    f"the {spec.name} model wants {spec.audio_channels} speech channels but {encoder.name} gives "
                    f"{encoder.channels}: give the {encoder.name} it was trained with (--{encoder.name})"
                )

    @property
    def untrained(self) -> bool:
        """Whether any of the models is a stand-in that nobody trained."""
        return any(UNTRAINED in origin for origin in self.origins.values())


def _working_size(spec: StageSpec) -> str:
    height, width = spec.image_size
    return f"{width}x{height} pixels in windows of {spec.window}"


def load_models(
    keyframe: str | Path | None = None,
    interpolation: str | Path | None = None,
    vae: str | Path | None = None,
    hubert: str | Path | None = None,
    wavlm: str | Path | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> Models:
    """Loads what is given and stands in for what is not. `dtype` is that of the two U-Nets, else float16 on a GPU and
    float32 on a CPU, which is slow at halves; the rest works in float32.

    Raises `KeySyncError` where a file is not what it is given as, or where two models do not fit together.
    """
    dtype = dtype or (torch.float16 if torch.device(device).type == "cuda" else torch.float32)
    given = {"keyframe": keyframe, "interpolation": interpolation, "vae": vae, "hubert": hubert, "wavlm": wavlm}
    origins = {name: str(path) if path else f"stand-in, {UNTRAINED}" for name, path in given.items()}
    with tempfile.TemporaryDirectory(prefix="keysync-tiny-") as folder:
        if None in given.values():
            tiny = write_tiny_models(Path(folder))
            given = {name: path or tiny[name] for name, path in given.items()}
        paths = {name: Path(path) for name, path in given.items() if path is not None}
        first = load_stage(paths["keyframe"], expect="keyframe", device=device, dtype=dtype)
        second = load_stage(paths["interpolation"], expect="interpolation", device=device, dtype=dtype)
        wanted = {first.spec.speech_encoder, second.spec.speech_encoder}
        return Models(
            keyframe=first,
            interpolation=second,
            vae=load_vae(paths["vae"], device=device),
            encoders={name: load_encoder(name, paths[name], device=device) for name in sorted(wanted)},
            origins={
                name: origin for name, origin in origins.items() if name not in ("hubert", "wavlm") or name in wanted
            },
        )
