"""Dubs films and reads the results: films in, readings out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from keysync.correlation import Curve
from keysync.systems.keysync.models import Models
from keysync.systems.renderer import Renderer

from ..synthetic.measure.meter import Meter, patches, truth
from ..synthetic.voice.sound import loudness
from .dubbing import Studio, changeable, studio
from .likeness import likeness
from .reading import Covered, Quiet, Talk

if TYPE_CHECKING:
    from ..synthetic.render.shot import Pictures
    from .film import Film

STRONG, WEAK = 5.0, 1.0  # audio guidance

# Ways to dub a film with a silence.
QUIET_WAYS: tuple[dict[str, Any], ...] = (
    {"mask": "mouth"},
    {"quiet_mouth": True},
    {"noisy": True},
    {"noisy": True, "quiet_mouth": True},
)

Frames = NDArray[np.uint8]
# The loaded system to dub a film with; called once per dub.
ModelsOf = Callable[["Film"], Renderer]


class Reader:
    """Dubs films and measures the results."""

    def __init__(self, models_of: ModelsOf) -> None:
        self.models_of, self.meter = models_of, Meter()

    def talk(self, film: Film, ablations: bool) -> Talk:
        with studio(film) as place:
            models = self.models_of(film)
            made = place.dub(models)
            strong = weak = held = None
            if ablations and isinstance(models, Models):
                if not (models.keyframe.spec.guidance_baked or models.interpolation.spec.guidance_baked):
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
            texture=texture(made, film.source),
            real_texture=texture(film.real.frames, film.real),
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
            mouth_mask = quiet_mouth = noisy = noisy_quiet_mouth = None
            if ablations:
                mouth_mask, quiet_mouth, noisy, noisy_quiet_mouth = (
                    self._silent(film, place.dub(self.models_of(film), **how)) for how in QUIET_WAYS
                )
        return Quiet(
            silent=self._silent(film, made),
            source=self._silent(film, film.source.frames),
            read=self._opening(made, film.source)[film.talking],
            truth=truth(film.real_landmarks).opening[film.talking],
            outside=self._outside(film, made),
            mouth_mask=mouth_mask,
            quiet_mouth=quiet_mouth,
            noisy=noisy,
            noisy_quiet_mouth=noisy_quiet_mouth,
        )

    def covered(self, film: Film) -> Covered:
        with studio(film) as place:
            subtracted = self._covered(film, place, True)
            whole = self._covered(film, place, False)
        return Covered(subtracted[0], whole[0], max(subtracted[1], whole[1]))

    def _covered(self, film: Film, place: Studio, subtracted: bool) -> tuple[float, int]:
        models = self.models_of(film)
        made = place.dub(models, subtracted=subtracted)
        occluded = film.source.occluder & changeable(film.source, models)
        difference = np.abs(made.astype(np.int16) - film.source.frames)[occluded]
        return float(difference.mean()) if len(difference) else 0.0, self._outside(film, made)

    def _opening(self, frames: Frames, pictures: Pictures) -> Curve:
        return self.meter.read(frames, pictures.landmarks).opening

    def _silent(self, film: Film, frames: Frames) -> Curve:
        return self.meter.read(frames[film.silent], film.source.landmarks[film.silent]).mar

    def _outside(self, film: Film, made: Frames) -> int:
        """The largest difference of a pixel that a dub may not change."""
        difference = np.abs(made.astype(np.int16) - film.source.frames).max(-1)
        return int(difference[~changeable(film.source, self.models_of(film))].max(initial=0))


def texture(frames: Frames, pictures: Pictures) -> Curve:
    """The part of each frame below the nose (n, h, w, 3), aligned by eyes and nose."""
    cut = patches(torch.from_numpy(frames), torch.from_numpy(pictures.landmarks).double())
    return cut.permute(0, 2, 3, 1).numpy()
