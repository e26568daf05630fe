"""The settings of a preparation; the key of each stage covers the settings that it depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from keysync.errors import KeySyncError
from keysync.method import PIXELS_PER_LATENT, PUBLISHED_CROP_SCALE
from keysync.systems.keysync.small import BUILT_IN, SMALL

from .. import digest

# Least number of frames of a clip: one window of the interpolation stage.
WINDOW = 14
# Span of a window of the keyframe stage: 14 frames, 13 apart.
KEYFRAME_SPAN = 170
PUBLISHED_RESOLUTION = 512
NONE = "none"
# Seconds of a segment of a long video.
SEGMENT = 300.0
# Where shots begin: at the cuts that PySceneDetect finds, or only where the tracker of the face sees one.
SCENEDETECT, TRACKER = CUTS = ("scenedetect", "tracker")
# These run on the CPU regardless of the device: with networks this small, many workers are faster than one GPU.
WITHOUT_DEVICE = ("mediapipe", "sharpness")


@dataclass(frozen=True)
class ModelFile:
    """A model's file or folder, or the name of a built-in one (a key of `SMALL`), and the digest of its bytes."""

    source: Path | str
    digest: str

    @classmethod
    def of(cls, source: Path | str) -> ModelFile:
        """Raises `KeySyncError` for a path that cannot be read."""
        path = _path(source)
        try:
            return cls(source, digest.of_path(path))
        except OSError as error:
            raise KeySyncError(f"cannot read the model {path} ({error.strerror}): check the path") from error

    @property
    def path(self) -> Path:
        """The path on this machine."""
        return _path(self.source)

    @property
    def origin(self) -> str:
        """The source of the model, for the index."""
        return BUILT_IN if isinstance(self.source, str) else str(self.source)


def _path(source: Path | str) -> Path:
    return SMALL[source] if isinstance(source, str) else source


def check_resolution(resolution: int) -> None:
    """Raises `KeySyncError` unless crops that many pixels wide hold whole latents."""
    if resolution < PIXELS_PER_LATENT or resolution % PIXELS_PER_LATENT:
        raise KeySyncError(
            f"crops of {resolution} pixels: expected a multiple of {PIXELS_PER_LATENT}; set --resolution, for example "
            f"to {PUBLISHED_RESOLUTION}"
        )


@dataclass(frozen=True)
class Settings:
    """`encoders` are the speech encoders by name, keys of `ENCODERS`; `quality` and `speaker` are names of scorers or
    "none"; clips that score below the least values are dropped. `cuts` is one of `CUTS`.

    `emotion` is a predictor of valence and arousal, for KeyFace. With `still` the crops of a clip do not follow the
    face: the head moves in them, as in KeyFace's videos. `people` is one of `people.PEOPLE`: how one person's clips are
    recognized. Videos that last longer than `segment` seconds are worked on in segments of up to that length.
    """

    data: Path
    resolution: int
    vae: ModelFile
    encoders: Mapping[str, ModelFile] = field(hash=False)
    detector: str = "mediapipe"
    detector_weights: Path | None = None
    quality: str = "sharpness"
    least_quality: float = 0.0
    speaker: str = "agreement"
    least_agreement: float = 0.0
    device: str = "cpu"
    crop_scale: float = PUBLISHED_CROP_SCALE
    cuts: str = SCENEDETECT
    emotion: ModelFile | None = None
    still: bool = False
    people: str = "video"
    segment: float = SEGMENT

    def __post_init__(self) -> None:
        check_resolution(self.resolution)
        if not self.segment >= 1:
            raise KeySyncError(f"segments of {self.segment:g} s: expected 1 or more (--segment)")
        if not 1 <= self.crop_scale <= 4:
            raise KeySyncError(f"a crop scale of {self.crop_scale:g}: expected a number from 1 to 4 (--crop-scale)")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the crops."""
        return self.resolution, self.resolution

    def device_of(self, tool: str) -> str:
        """The device of a detector or a scorer."""
        return "cpu" if tool in WITHOUT_DEVICE else self.device
