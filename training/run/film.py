"""A film of a validation clip: windows in a row, generated and decoded, beside the clip's own, with its sound.

The mouth is read in the generated frames with the face mesh of `keysync.measure` and compared with that of the clip and
with what the speech asks for: whether a stage learns to speak shows long before its loss tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keysync.correlation import correlation
from keysync.face.mesh import MeshReader
from keysync.face.mouth import MEASURED
from keysync.face.track import from_landmarks
from keysync.measure.listening import listen
from keysync.measure.mouths import MouthMeter, Mouths
from keysync.media.audio import open_sound, read_speech
from keysync.media.info import BT709, PictureFormat
from keysync.media.writer import VideoWriter
from keysync.method import NETWORK_RATE
from keysync.speech.lips_curve import LIPS

from ..data.disk import disk
from ..data.parts import SOUND

if TYPE_CHECKING:
    from keysync.vae.vae import VAE

    from ..data.dataset import Windows
    from ..data.shards import Shards

# The most windows in a row: 2.1 s of the interpolation stage.
WINDOWS = 4
# Fewer frames with a mouth give no correlation.
FEWEST = 8

Frames = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Film:
    """Frames (n, H, 2 W, 3), the clip's own on the left, `apart` frames of the 25 a second apart; the sound as a FLAC
    file and as samples (n,), 16 kHz."""

    frames: Frames
    apart: int
    flac: bytes
    samples: NDArray[np.float32]

    def write(self, folder: Path, name: str) -> None:
        """Writes NAME.mp4 into a folder. Raises `KeySyncError` if it cannot be written."""
        count, height, width, _ = self.frames.shape
        rate = Fraction(NETWORK_RATE, self.apart)
        like = PictureFormat(width, height, Fraction(1, NETWORK_RATE), rate, colours=BT709)
        with disk(folder), TemporaryDirectory() as held:
            sound = Path(held) / f"sound.{SOUND}"
            sound.write_bytes(self.flac)
            with VideoWriter(folder / f"{name}.mp4", like, audio=sound, seconds=count / float(rate)) as writer:
                for number, frame in enumerate(self.frames):
                    writer.write(frame, number * self.apart)


class FilmMaker:
    """Makes films of one clip: `batches` are its windows in a row, which share the frames at their ends.

    Raises `KeySyncError` if the clip cannot be read.
    """

    def __init__(self, shards: Shards, windows: Windows, vae: VAE) -> None:
        self._vae = vae
        clip, self.batches, step = windows.in_a_row(WINDOWS)
        self._apart = step * shards.info.spacing
        self.lost = [lost for batch in self.batches for lost in batch.lost]
        self._flac = shards.stored(clip, SOUND)
        self._own = self._decoded([batch.latents for batch in self.batches])
        numbers = np.arange(len(self._own))
        points = windows.landmarks(clip)[step * numbers]
        self._track = from_landmarks(list(points), (self._own.shape[1], self._own.shape[2]))
        self._reader = MeshReader()
        with TemporaryDirectory() as folder:
            sound = Path(folder) / f"sound.{SOUND}"
            sound.write_bytes(self._flac)
            self._samples = read_speech(sound)[0].numpy()
            asked = listen(open_sound(sound)).lips_at(self._apart * numbers / NETWORK_RATE)
        self._asked = asked[:, LIPS.index("opening")]
        self._mouth = self._opening(self._own)

    def make(self, made: list[Tensor]) -> tuple[Film, dict[str, float]]:
        """The film of generated latents (1, t, 4, h, w) for each batch, and how well its mouth follows: correlations of
        its opening with the clip's own (`mouth_correlation`) and with what the speech asks for (`speech_correlation`);
        none where too few frames show a mouth."""
        frames = self._decoded(made)
        opening = self._opening(frames)
        pairs = {"mouth_correlation": self._mouth, "speech_correlation": self._asked}
        figures = {}
        for name, other in pairs.items():
            known = np.isfinite(opening) & np.isfinite(other)
            if known.sum() >= FEWEST:
                figures[name] = correlation(opening[known], other[known])
        return Film(np.concatenate([self._own, frames], axis=2), self._apart, self._flac, self._samples), figures

    def _decoded(self, windows: list[Tensor]) -> Frames:
        """The frames (n, H, W, 3) of latents (1, t, 4, h, w) in a row; those at the ends of two windows once."""
        parts = [window[0, min(number, 1) :] for number, window in enumerate(windows)]
        pictures = self._vae.decode(torch.cat(parts).cpu())
        frames: Frames = (pictures.nan_to_num() * 255).round().to(torch.uint8).cpu().numpy()
        return frames

    def _opening(self, frames: Frames) -> NDArray[np.float64]:
        meter = MouthMeter(self._track, self._reader)
        for frame in frames:
            meter.add(frame)
        mouths: Mouths = meter.finish()
        return mouths.shape[:, MEASURED.index("opening")]
