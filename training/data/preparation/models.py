"""The models of a preparation, each loaded when first used."""

from __future__ import annotations

from functools import cached_property, lru_cache

import torch

from keysync.errors import KeySyncError
from keysync.face.detectors import make_detector
from keysync.face.face import Detector
from keysync.method import PIXELS_PER_LATENT
from keysync.speech.encoder import SpeechEncoder
from keysync.speech.encoders import load_encoder
from keysync.vae.vae import VAE, load_vae

from ..index import DataInfo, EncoderInfo
from . import quality, speaker
from .emotion import EmotionPredictor
from .settings import NONE, SCENEDETECT, WINDOW, Settings
from .shots import load_detector


@lru_cache(maxsize=1)
def open_models(settings: Settings) -> Models:
    """The models of these settings, cached per process."""
    return Models(settings)


class Models:
    """Detector, speech encoders, VAE and scorers of these settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def check(self) -> DataInfo:
        """Loads all models, so that a wrong file fails before any work; returns the description of the data.

        Raises `KeySyncError` for models that do not fit.
        """
        settings = self.settings
        _check_device(settings.device)
        _ = self.detector, self.quality, self.speaker, self.emotion
        if settings.cuts == SCENEDETECT:
            load_detector()
        height, width = settings.size
        downscale = self.vae.downscale
        if self.vae.encoder is None or downscale != PIXELS_PER_LATENT:
            has = "no encoder" if self.vae.encoder is None else f"{downscale} pixels per latent"
            raise KeySyncError(
                f"{self.vae.source} has {has}: expected a complete VAE of Stable Video Diffusion with "
                f"{PIXELS_PER_LATENT} pixels per latent (--vae)"
            )
        return DataInfo(
            resolution=settings.size,
            latent_size=(height // downscale, width // downscale),
            window=WINDOW,
            encoders={
                name: EncoderInfo(self.encoders[name].channels, file.origin) for name, file in settings.encoders.items()
            },
            vae=settings.vae.origin,
            detector=settings.detector,
            crop_scale=settings.crop_scale,
        )

    @cached_property
    def detector(self) -> Detector:
        settings = self.settings
        return make_detector(settings.detector, settings.detector_weights, device=settings.device_of(settings.detector))

    @cached_property
    def vae(self) -> VAE:
        return load_vae(self.settings.vae.path, device=self.settings.device)

    @cached_property
    def encoders(self) -> dict[str, SpeechEncoder]:
        files, device = self.settings.encoders, self.settings.device
        return {name: load_encoder(name, file.path, device=device) for name, file in files.items()}

    @cached_property
    def emotion(self) -> EmotionPredictor | None:
        file = self.settings.emotion
        return None if file is None else EmotionPredictor.load(file.path, self.settings.device)

    @cached_property
    def quality(self) -> quality.Scorer:
        name = self.settings.quality
        return _no_score if name == NONE else quality.QUALITY[name](self.settings.device_of(name))

    @cached_property
    def speaker(self) -> speaker.Scorer:
        name = self.settings.speaker
        return _no_score if name == NONE else speaker.load_scorer(name)


def _no_score(*_: object) -> float:
    """The scorer "none", whose stage is omitted."""
    return 0.0


def _check_device(name: str) -> None:
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise KeySyncError(f"the device {name!r} is not available ({reason}): use --device cpu") from error
