"""How well tilted heads are dubbed in upright crops, as published, and in crops that are turned with the head:

    python -m training.evaluation.tilt

prints a table by roll. The films are those of `training.evaluate`, dubbed with other speech, with their heads tilted:
everything is known of them. Mouths are read aligned by the eyes, so that the roll does not matter to the reading; the
column *real* is what is read of the ground truth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import radians

import numpy as np

from keysync.correlation import Curve
from keysync.measure.seam import seam
from keysync.systems.keysync.models import Models
from keysync.systems.keysync.presets import PRESETS, make_sampling
from keysync.systems.renderer import Renderer

from ..synthetic.measure.meter import Meter, truth
from ..synthetic.measure.metrics import mean_of, sync
from .dubbing import changeable, studio
from .film import Film, talk_film
from .reader import texture
from .scope import ModelFiles, Scope, open_models, side_of

ROLLS = (0, 15, 30, 45)


@dataclass
class Figures:
    """Of one roll and one kind of crop: openings read of each film, differences of the mouth's pixels from the truth
    (levels), seams, and the largest change outside the mask."""

    read: list[Curve] = field(default_factory=list)
    truth: list[Curve] = field(default_factory=list)
    pixels: list[float] = field(default_factory=list)
    seams: list[float] = field(default_factory=list)
    outside: int = 0

    @property
    def row(self) -> str:
        found = sync(self.read, self.truth)
        seams = f"{np.mean(self.seams):.2f}" if self.seams else "-"
        outside = str(self.outside) if self.seams else "-"
        return f"{found.correlation} | {found.slope} | {mean_of(self.pixels)} | {seams} | {outside}"


def measure(models: Renderer, films: Sequence[Film], roll: float) -> dict[str, Figures]:
    """The figures of upright and of turned crops, and those of the ground truth, for films tilted by `roll` degrees."""
    meter, figures = Meter(), {name: Figures() for name in ("real", "upright", "turned")}
    for upright in films:
        film = replace(upright, shot=replace(upright.shot, roll=radians(roll)))
        real, opening = film.real, truth(film.real_landmarks).opening
        mouth = texture(real.frames, real)
        with studio(film) as place:
            made = {"real": real.frames} | {
                name: place.dub(models, align=align) for name, align in (("upright", False), ("turned", True))
            }
        for name, frames in made.items():
            figure, pictures = figures[name], real if name == "real" else film.source
            seen = texture(frames, pictures)
            figure.read.append(meter.read(frames, pictures.landmarks).opening)
            figure.truth.append(opening)
            figure.pixels.append(float(255 * np.abs(seen - mouth).mean()))
            if name == "real":
                continue
            inside = changeable(film.source, models, align=name == "turned")
            change = np.abs(frames.astype(np.int16) - film.source.frames).max(-1)
            figure.seams.append(seam(film.source.frames, frames, inside))
            figure.outside = max(figure.outside, int(change[~inside].max()))
    return figures


def table(models: Renderer, films: Sequence[Film]) -> Iterator[str]:
    """The lines of a table in Markdown."""
    yield "| roll | crops | correlation | slope | mouth's pixels off, of 255 | seam | largest change outside |"
    yield "|---|---|---|---|---|---|---|"
    for roll in ROLLS:
        for name, figures in measure(models, films, roll).items():
            yield f"| {roll}° | {name} | {figures.row} |"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluation.tilt",
        description="Prints how well tilted heads are dubbed in upright crops and in crops that are turned with them.",
    )
    parser.add_argument("--system", choices=("keysync", "rewrite"), default="keysync", help="default: %(default)s")
    parser.add_argument("--clips", type=int, default=6, help="films of each roll (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=Scope.talk_frames, help="of a film (default: %(default)s)")
    parser.add_argument("--preset", choices=list(PRESETS), default="balanced", help="default: %(default)s")
    options = parser.parse_args(arguments)
    models = open_models(ModelFiles(system=options.system))
    if isinstance(models, Models):
        models = replace(models, sampling=make_sampling(options.preset))
    films = [talk_film(Scope.seed, number, options.frames, side_of(models)) for number in range(options.clips)]
    for line in table(models, films):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
