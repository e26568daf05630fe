"""What a preparation is asked for; every stage's key is made of the part of it that the stage depends on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keysync.errors import KeySyncError
from keysync.models import PIXELS_PER_LATENT, UNTRAINED
from keysync.tiny import LATENT_SIZE

from . import digest

# The least frames of a clip: one window of the interpolation stage.
WINDOW = 14
# What a window of the keyframe stage spans: 14 frames, 13 apart.
KEYFRAME_SPAN = 170
STAND_IN = f"stand-in, {UNTRAINED}"
STAND_IN_RESOLUTION = LATENT_SIZE[0] * PIXELS_PER_LATENT
PUBLISHED_RESOLUTION = 512
NONE = "none"
# Detectors and scorers that work on the processor whatever the device.
WITHOUT_DEVICE = ("mediapipe", "sharpness")


@dataclass(frozen=True)
class ModelFile:
    """A model's file or folder and the digest of its bytes; no path: the untrained stand-in."""

    path: Path | None
    digest: str

    @classmethod
    def of(cls, path: Path | None) -> ModelFile:
        """Raises `KeySyncError` where the path cannot be read."""
        if path is None:
            return cls(None, STAND_IN)
        try:
            return cls(path, digest.of_path(path))
        except OSError as error:
            raise KeySyncError(f"cannot open the model {path} ({error.strerror}): check the path") from error

    @property
    def origin(self) -> str:
        """Where the model came from, for the index."""
        return STAND_IN if self.path is None else str(self.path)


@dataclass(frozen=True)
class Settings:
    """`quality` and `speaker` are names of scorers or "none"; clips that score below the least values are dropped."""

    data: Path
    resolution: int
    vae: ModelFile
    hubert: ModelFile
    wavlm: ModelFile
    detector: str = "mediapipe"
    detector_weights: Path | None = None
    quality: str = "sharpness"
    least_quality: float = 0.0
    speaker: str = "agreement"
    least_agreement: float = 0.0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.resolution < PIXELS_PER_LATENT or self.resolution % PIXELS_PER_LATENT:
            raise KeySyncError(
                f"crops of {self.resolution} pixels: choose a --resolution that {PIXELS_PER_LATENT} divides, such as "
                f"{PUBLISHED_RESOLUTION}"
            )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the crops."""
        return self.resolution, self.resolution

    def device_of(self, tool: str) -> str:
        """Where a detector or a scorer works."""
        return "cpu" if tool in WITHOUT_DEVICE else self.device

    def encoder(self, name: str) -> ModelFile:
        """The file of a speech encoder, by its name."""
        return {"hubert": self.hubert, "wavlm": self.wavlm}[name]
