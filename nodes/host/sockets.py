"""The sockets that only KeySync has, and what travels through them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from comfy_api.latest import io
from numpy.typing import NDArray
from torch import Tensor

from ...keysync.errors import KeySyncError
from ...keysync.face.track import FaceTrack
from ...keysync.speakers import Speaker
from ...keysync.speech.features import SpeechFeatures
from ...keysync.systems.rewrite.steps import ClipMouths

SpeechEncoderSocket = io.Custom("KEYSYNC_SPEECH_ENCODER")
SpeechSocket = io.Custom("KEYSYNC_SPEECH")
FaceTrackSocket = io.Custom("FACE_TRACK")
LipsSocket = io.Custom("KEYSYNC_LIPS")  # a `LipsCurve`
MouthsSocket = io.Custom("KEYSYNC_MOUTHS")
FlashLipsSocket = io.Custom("KEYSYNC_FLASHLIPS")  # a `FlashLips`
LipsVectorsSocket = io.Custom("KEYSYNC_LIPS_VECTORS")  # a `LipsVectors`
ClipsSocket = io.Custom("KEYSYNC_CLIPS")
SpeakerSocket = io.Custom("KEYSYNC_SPEAKER")  # a `Speaker`
SoundSocket = io.Custom("KEYSYNC_SOUND")  # a `sound.Sound`
EmotionSocket = io.Custom("KEYSYNC_EMOTION")  # an `Emotion`
SpeakersSocket = io.Custom("KEYSYNC_SPEAKERS")
MeasuredSocket = io.Custom("KEYSYNC_MEASURED")  # a `Measured`


@dataclass(frozen=True, eq=False)
class Speech:
    """Features of a speech, and the rate of the frames that it is said over."""

    features: SpeechFeatures
    fps: float

    def for_frames(self, count: int) -> Tensor:
        """Two feature rows for each of `count` frames: (count, 2, channels).

        Raises `KeySyncError` where the speech ends before the frames do.
        """
        covered = int(len(self.features.rows) / 50 * self.fps + 1e-6)
        if covered < count:
            raise KeySyncError(
                f"the speech covers {covered} frames at {self.fps:g} fps but there are {count}: "
                "put Fit Audio before Encode Speech, or use fewer frames"
            )
        return self.features.at(np.arange(count) / self.fps)


@dataclass(frozen=True, eq=False)
class Faces:
    """A face track in source pixels; after Crop Face also one box a frame, upright (n, 3) or turned (n, 4),
    and the crops' (H, W)."""

    track: FaceTrack
    boxes: NDArray[np.int64] | None = None
    crop_size: tuple[int, int] | None = None

    def at(self, frames: NDArray[np.int64]) -> Faces:
        """Those of a video that shows these frames of this one."""
        return replace(self, track=self.track.at(frames), boxes=None if self.boxes is None else self.boxes[frames])


@dataclass(frozen=True)
class Speakers:
    """The people to dub in one video, each with a voice."""

    people: tuple[Speaker, ...]


@dataclass(frozen=True, eq=False)
class Mouths:
    """The mouths chosen for the frames of a clip, where they may be drawn: `masks` (n, H, W), and `notes` for the
    report."""

    clip: ClipMouths
    masks: Tensor
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Clips:
    """Clips prepared for training, in `folder`: how many and how long in all; the `windows` of the interpolation model
    in them; frames of the `longest`; side of the crops in pixels and their scale; the digest of the VAE that encoded
    them; and the speech encoders that heard them."""

    folder: Path
    clips: int
    seconds: float
    windows: int
    longest: int
    resolution: int
    crop_scale: float
    vae: str
    encoders: tuple[str, ...]
