"""Dubs a film with the library and reads the lossless result; computes the pixels that a dub may change."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from keysync.dub import DEFAULT_MASK, Settings
from keysync.face.crop import Crops
from keysync.face.masks import MASKS
from keysync.face.paste import Place
from keysync.face.track import FaceTrack, from_landmarks
from keysync.job import FaceSource, dub_file
from keysync.media.info import PictureFormat
from keysync.media.reader import VideoReader
from keysync.media.writer import VideoWriter
from keysync.method import NETWORK_RATE
from keysync.systems.keysync.models import Models
from keysync.systems.renderer import Needs, Renderer

from ..data.preparation.encode import write_sound
from ..synthetic.voice.microphone import Microphone
from .held import HeldKeyframes

if TYPE_CHECKING:
    from ..synthetic.render.shot import Pictures
    from .film import Film

TICK = Fraction(1, NETWORK_RATE)
# The noise that speech is heard in, 15 dB below it.
NOISE = Microphone(noise=1.0, snr=15.0)


class Studio:
    """A film as lossless files, to be dubbed in several ways; made by `studio`."""

    def __init__(self, film: Film, folder: Path) -> None:
        self.film, self.folder = film, folder
        self.track = track_of(film.source)
        self.video = _write(folder / "source.mkv", film.source.frames)
        write_sound(torch.from_numpy(film.said.waveform), 0, film.shot.frames, folder, "speech")
        self.speech = folder / "speech.flac"

    def dub(
        self,
        models: Renderer,
        *,
        mask: str | None = None,
        audio_guidance: float | None = None,
        interpolated: bool = True,
        subtracted: bool = False,
        quiet_mouth: bool = False,
        noisy: bool = False,
        align: bool = False,
    ) -> NDArray[np.uint8]:
        """The frames (n, h, w, 3) of the result.

        Only KeySync has `audio_guidance`, and keyframes: not `interpolated`, each frame shows the nearest one.
        `subtracted`: the mask of the occluder is given. `noisy`: the speech is heard in noise.
        """
        settings = Settings(mask=mask, quiet_mouth=quiet_mouth, align=align)
        if isinstance(models, Models):
            settings = replace(settings, sampling=replace(models.sampling, audio_guidance=audio_guidance))
            if not interpolated:
                stages = models.keyframe, HeldKeyframes(models.interpolation.spec)
                models = Models(*stages, models.vae, models.encoders, models.origins, sampling=models.sampling)
        occluder = None
        if subtracted:
            white = np.uint8(255) * self.film.source.occluder[..., None].repeat(3, -1)
            occluder = _write(self.folder / "occluder.mkv", white)
        output = self.folder / "output.mkv"
        face = FaceSource(track=self.track)
        speech = self._noisy() if noisy else self.speech
        dub_file(self.video, speech, output, models, settings, face, occluder=occluder, lossless=True)
        return np.stack([frame for _, frame in VideoReader(output).frames()])

    def _noisy(self) -> Path:
        """The speech in the noise of a room."""
        heard = NOISE.hear(self.film.said.waveform, len(self.film.said.waveform))
        write_sound(torch.from_numpy(heard), 0, self.film.shot.frames, self.folder, "noisy")
        return self.folder / "noisy.flac"


@contextmanager
def studio(film: Film) -> Iterator[Studio]:
    """A studio in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="keysync-evaluate-") as folder:
        yield Studio(film, Path(folder))


def track_of(pictures: Pictures) -> FaceTrack:
    """The true face track."""
    h, w = pictures.frames.shape[1:3]
    return from_landmarks(list(pictures.landmarks), (h, w))


def changeable(pictures: Pictures, models: Renderer, mask: str | None = None, align: bool = False) -> NDArray[np.bool_]:
    """(n, h, w): the pixels of a film that a dub may change, which are those inside the mask."""
    return masks_of(track_of(pictures), models.needs, mask, align)


def masks_of(track: FaceTrack, needs: Needs, mask: str | None = None, align: bool = False) -> NDArray[np.bool_]:
    """The masks (n, h, w) of a dub in its frames; each shows the face."""
    crops = Crops.of(track, needs.crop_size, needs.crop_scale, needs.native, align)
    draw = MASKS[mask or needs.mask or DEFAULT_MASK]
    inside = np.zeros((len(track.found), *track.size), dtype=np.bool_)
    for number, box in enumerate(crops.boxes):
        drawn = draw(crops.points(track.landmarks[number], number), crops.size_of(number))
        place = Place.of(drawn, box, track.size)
        inside[number][place.region] = place.mask.numpy() > 0.5
    return inside


def _write(path: Path, frames: NDArray[np.uint8]) -> Path:
    _, h, w, _ = frames.shape
    like = PictureFormat(w, h, time_base=TICK, rate=Fraction(NETWORK_RATE))
    with VideoWriter(path, like, lossless=True) as writer:
        for pts, frame in enumerate(frames):
            writer.write(frame, pts)
    return path
