"""A head to animate: a picture of a person, a sound and an emotion held out from training, and what they truly give."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from keysync.method import NETWORK_RATE

from ...synthetic.heads import Head, cropped, head
from ...synthetic.measure.meter import truth
from ...synthetic.render.feeling import Feeling, feelings
from ...synthetic.voice.corpus import speaker
from ...synthetic.voice.sentences import TEST
from ...synthetic.voice.sounds import laugh, sigh, with_sound
from ...synthetic.voice.speech import Utterance
from ..film import chatter, seeds_of

SOUNDS = ("speech", "laugh", "sigh")


@dataclass(frozen=True, eq=False)
class HeadFilm:
    """A person who says `said` and feels `felt`, one feeling for each frame; crops are `resolution` pixels wide and
    `scale` times as wide as the face. `sound` is one of `SOUNDS`."""

    seeds: tuple[int, int]
    said: Utterance
    felt: tuple[Feeling, ...]
    resolution: int
    scale: float
    sound: str = "speech"

    @property
    def frames(self) -> int:
        return len(self.felt)

    @property
    def asked(self) -> NDArray[np.float64]:
        """Valence and arousal (n, 2)."""
        return np.array([(feeling.valence, feeling.arousal) for feeling in self.felt])

    def true(self, frames: int | None = None) -> Head:
        """The first frames, or all, as they truly look."""
        return self._head(self.frames if frames is None else min(frames, self.frames), self.felt)

    @cached_property
    def portrait(self) -> Head:
        """The picture to animate: the first frame with a neutral face, which says nothing of what is asked."""
        return self._head(1, (Feeling(),) * self.frames)

    @cached_property
    def opening(self) -> NDArray[np.float32]:
        """The true opening of each frame."""
        return truth(self._whole.pictures.landmarks).opening

    @cached_property
    def crops(self) -> NDArray[np.uint8]:
        """The true crops (n, h, w, 3)."""
        return cropped(self._whole, self.resolution)

    @cached_property
    def _whole(self) -> Head:
        return self.true()

    def _head(self, drawn: int, felt: tuple[Feeling, ...]) -> Head:
        return head(self.seeds, self.said, self.frames, self.resolution, range(drawn), felt, self.scale)


def talking(seed: int, number: int, frames: int, resolution: int, scale: float) -> HeadFilm:
    """A head that speaks, with a laugh or a sigh in two of three films, whose emotion changes."""
    seeds = seeds_of(seed, number, "head")
    rng = np.random.default_rng((*seeds, 0x66656C74))
    said, sound = chatter(seed, number, "head", frames / NETWORK_RATE), SOUNDS[number % len(SOUNDS)]
    if sound != "speech":
        said = with_sound(said, laugh(rng, speaker(TEST, seeds[1], 0)) if sound == "laugh" else sigh(rng))
    return HeadFilm(seeds, said, feelings(rng, frames, NETWORK_RATE), resolution, scale, sound)


def lasting(seed: int, frames: int, resolution: int, scale: float) -> HeadFilm:
    """A head that speaks for long with one emotion throughout."""
    seeds = seeds_of(seed, 0, "lasting head")
    feeling = Feeling(*np.random.default_rng((*seeds, 0x66656C74)).uniform(-0.5, 0.5, 2).tolist())
    said = chatter(seed, 0, "lasting head", frames / NETWORK_RATE)
    return HeadFilm(seeds, said, (feeling,) * frames, resolution, scale)
