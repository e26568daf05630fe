"""What is read from one dubbed film: curves of the mouth and how far pixels are from where they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from keysync.systems.keysync.models import Models

from ..synthetic.measure.meter import Meter, patches, truth
from ..synthetic.measure.metrics import OPEN, Curve, correlation
from ..synthetic.render.shot import Pictures
from ..synthetic.voice.sound import loudness
from .dubbing import Studio, changeable, studio
from .film import Film
from .likeness import Distance, likeness

STRONG, WEAK = 5.0, 1.0  # audio guidance

Frames = NDArray[np.uint8]
# The models to dub a film with; asked for once for each dub.
ModelsOf = Callable[[Film], Models]


@dataclass(frozen=True, eq=False)
class Talk:
    """Of a film whose person says something else: `read` and `truth` are openings, `real` those read from the truth's
    own pictures, and `loud` is how loud the speech is; all (n,). `texture` and `real_texture` (n, h, w, 3) show the
    mouths. What the ablations give is None where they were left out."""

    read: Curve
    truth: Curve
    real: Curve
    loud: Curve
    texture: Curve
    real_texture: Curve
    colour: Distance
    shape: Distance
    outside: int
    strong: Curve | None = None  # audio guidance 5
    weak: Curve | None = None  # audio guidance 1
    held: Curve | None = None  # keyframes held

    def gain_over(self, other: Curve) -> float:
        """How much better the mouth follows than another curve does."""
        return correlation(self.read, self.truth) - correlation(other, self.truth)

    @property
    def gain_of_guidance(self) -> float:
        """How much better the mouth follows under strong audio guidance than under weak."""
        assert self.strong is not None
        assert self.weak is not None
        return correlation(self.strong, self.truth) - correlation(self.weak, self.truth)


@dataclass(frozen=True, eq=False)
class Quiet:
    """Of a film whose person falls silent: aspect ratios in the silence, of the dub, its source, and of the dub with
    the mouth mask; openings while the person talks, read and true."""

    silent: Curve
    source: Curve
    read: Curve
    truth: Curve
    outside: int
    mouth_mask: Curve | None = None

    @property
    def leak_of_mouth_mask(self) -> float:
        """The share of silent frames in which the mouth mask leaks and the models' own does not, less the reverse."""
        assert self.mouth_mask is not None
        return float(np.mean(self.mouth_mask > OPEN) - np.mean(self.silent > OPEN))


@dataclass(frozen=True, eq=False)
class Covered:
    """Of a film in which something crosses the mouth: how far its pixels (0..255) are from where they were, on average,
    with the thing's mask subtracted and without."""

    subtracted: float
    whole: float
    outside: int


class Reader:
    """Films in, readings out."""

    def __init__(self, models_of: ModelsOf) -> None:
        self.models_of, self.meter = models_of, Meter()

    def talk(self, film: Film, ablations: bool) -> Talk:
        with studio(film) as place:
            made = place.dub(self.models_of(film))
            strong = weak = held = None
            if ablations:
                strong, weak = (
                    self._opening(place.dub(self.models_of(film), audio_guidance=scale), film.source)
                    for scale in (STRONG, WEAK)
                )
                held = self._opening(place.dub(self.models_of(film), interpolated=False), film.source)
        colour, shape = likeness(made, film)
        return Talk(
            read=self._opening(made, film.source),
            truth=truth(film.real_landmarks).opening,
            real=self._opening(film.real.frames, film.real),
            loud=loudness(film.said.waveform, film.times),
            texture=_texture(made, film.source),
            real_texture=_texture(film.real.frames, film.real),
            colour=colour,
            shape=shape,
            outside=self._outside(film, made),
            strong=strong,
            weak=weak,
            held=held,
        )

    def quiet(self, film: Film, ablations: bool) -> Quiet:
        with studio(film) as place:
            made = place.dub(self.models_of(film))
            mouth_mask = self._silent(film, place.dub(self.models_of(film), mask="mouth")) if ablations else None
        return Quiet(
            silent=self._silent(film, made),
            source=self._silent(film, film.source.frames),
            read=self._opening(made, film.source)[film.talking],
            truth=truth(film.real_landmarks).opening[film.talking],
            outside=self._outside(film, made),
            mouth_mask=mouth_mask,
        )

    def covered(self, film: Film) -> Covered:
        with studio(film) as place:
            subtracted = self._covered(film, place, True)
            whole = self._covered(film, place, False)
        return Covered(subtracted[0], whole[0], max(subtracted[1], whole[1]))

    def _covered(self, film: Film, place: Studio, subtracted: bool) -> tuple[float, int]:
        models = self.models_of(film)
        made = place.dub(models, subtracted=subtracted)
        thing = film.source.occluder & changeable(film.source, models)
        moved = np.abs(made.astype(np.int16) - film.source.frames)[thing]
        return float(moved.mean()) if len(moved) else 0.0, self._outside(film, made)

    def _opening(self, frames: Frames, pictures: Pictures) -> Curve:
        return self.meter.read(frames, pictures.landmarks).opening

    def _silent(self, film: Film, frames: Frames) -> Curve:
        return self.meter.read(frames[film.silent], film.source.landmarks[film.silent]).mar

    def _outside(self, film: Film, made: Frames) -> int:
        """The largest difference of a pixel that no dub may change."""
        moved = np.abs(made.astype(np.int16) - film.source.frames).max(-1)
        return int(moved[~changeable(film.source, self.models_of(film))].max(initial=0))


def _texture(frames: Frames, pictures: Pictures) -> Curve:
    """The part of each frame below the nose (n, h, w, 3), standing still."""
    cut = patches(torch.from_numpy(frames), torch.from_numpy(pictures.landmarks).double())
    return cut.permute(0, 2, 3, 1).numpy()
