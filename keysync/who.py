"""Who is to be dubbed, as a person writes it: a number, a place, a picture, or whoever speaks; and what that needs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import KeySyncError
from .face.face import Detector
from .face.likeness import look_in, read_picture
from .face.track import Clues, FaceChoice
from .media.audio import AudioReader, hear
from .media.source import FrameSource, SoundSource
from .method import NETWORK_RATE
from .speech.lips_curve import LIPS

# The words for whoever speaks in the video's own sound: the one who speaks most, or each in turn.
SPEAKING, EVERYONE = "speaking", "everyone"
PLACE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)\s*")


def read_choice(text: str, *, kept: bool = False) -> FaceChoice:
    """The choice that a text means: `1`, `320,180`, `speaking`, or a picture file. Raises `KeySyncError` for others.

    `kept`: a number or a place means one person, who is followed through cuts.
    """
    if re.fullmatch(r"\s*-?\d+\s*", text):
        return FaceChoice(int(text), kept=kept)
    place = PLACE.fullmatch(text)
    if place:
        return FaceChoice(point=(float(place[1]), float(place[2])), kept=kept)
    if text == SPEAKING:
        return FaceChoice(speaking=True)
    if not Path(text).is_file():
        raise KeySyncError(
            f"{text!r} is not a face and no such file exists: expected a number (0 is the largest), a place in pixels "
            f"such as 320,180, {SPEAKING}, or a picture of the person",
            about="face",
        )
    return FaceChoice(picture=Path(text))


def clues_of(
    choice: FaceChoice,
    source: FrameSource,
    pts: NDArray[np.int64],
    detector: Detector,
    sound: SoundSource | None = None,
) -> Clues:
    """What the choice compares people with. `sound` is that of the source, by default the one of its file."""
    look = None
    if choice.picture is not None:
        look = look_in(read_picture(choice.picture), str(choice.picture), detector)
    if not choice.speaking:
        return Clues(look)
    times = (pts - pts[0]) * float(source.info.time_base)
    rate = (len(times) - 1) / float(times[-1]) if len(times) > 1 and times[-1] > 0 else float(NETWORK_RATE)
    return Clues(look, said_in(own_sound(source) if sound is None else sound, times), rate)


def own_sound(source: FrameSource) -> SoundSource:
    """The sound of a video's file. Raises `KeySyncError` where it has none."""
    if source.path is None or not source.info.has_audio:
        raise KeySyncError(
            f"{source.name} has no sound that tells who speaks: choose the face by its number or by a picture",
            about="face",
        )
    return AudioReader(source.path)


def said_in(sound: SoundSource, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """The opening (n,) of the mouth that a sound says at `times` (n,) in seconds."""
    from .speech.heard_lips import heard_lips  # here: only a choice by voice needs it

    heard = hear(sound)
    curve = heard_lips(heard.samples, heard.seconds)
    own = np.arange(len(curve.values)) / NETWORK_RATE
    said: NDArray[np.float64] = np.interp(times, own, curve.values[:, LIPS.index("opening")], right=0.0)
    return said
