"""How well what covers a mouth is found, on rendered people:

    python -m training.synthetic.measure.occlusion

prints a table: for things of each kind that cross the mouth, the overlap of found and true masks (intersection over
union) in the mouth region, over all frames of a clip, and how many frames are missed; for clips in which nothing covers
the mouth, the share of frames in which something is found all the same. Faces are found and followed as in a dub.
With --real CLIP ... it prints instead in which frames of real clips something is found.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from keysync.face.detectors import make_detector
from keysync.face.masks import MASKS
from keysync.face.occlusion import find_occluder
from keysync.face.track import Tracker
from keysync.job import FaceSource, survey
from keysync.media.reader import open_video
from keysync.media.source import FramesInMemory

from ..render.covers import COVERS, passing
from ..render.identity import Identity
from ..render.light import Light
from ..render.motion import RATE, Take
from ..render.mouth import MouthShape
from ..render.occluder import Crossing
from ..render.portrait import Portrait
from ..render.scene import Actor, Scene, Truth, framed

SIZE = (288, 288)
FIRST_PERSON = (1 << 30) + 8192  # seeds that training does not use
SHARE = 0.45  # of the frames in which something is before the mouth or on its way
# A clip in which nothing covers the mouth: how lively the head moves, how far it turns (radians), by how much the light
# changes.
FREE = {
    "talking": (1.0, 0.0, 0.0),
    "turning": (1.0, 0.45, 0.0),
    "blinking": (0.0, 0.0, 0.0),
    "light changing": (1.0, 0.0, 0.45),
}
SYLLABLE = 4  # frames
# Texels of the mouth region in which a frame counts as covered, or as found, pixels.
FEWEST = 20


@dataclass
class Figures:
    """Of one kind of clip: the overlap of each clip, and frames that are covered, missed, free, and falsely found."""

    overlaps: list[float] = field(default_factory=list)
    covered: int = 0
    missed: int = 0
    free: int = 0
    false: int = 0

    def add(self, found: NDArray[np.bool_], true: NDArray[np.bool_]) -> None:
        """Masks (n, h, w) of a clip, in the mouth region alone."""
        here, said = true.sum((1, 2)) >= FEWEST, found.sum((1, 2)) > 0
        if true.any():
            self.overlaps.append(float((found & true).sum() / (found | true).sum()))
        self.covered += int(here.sum())
        self.missed += int((here & ~said).sum())
        self.free += int((~true.any((1, 2))).sum())
        self.false += int((said & ~true.any((1, 2))).sum())

    @property
    def row(self) -> str:
        overlap = f"{np.mean(self.overlaps):.3f} | {np.min(self.overlaps):.3f}" if self.overlaps else "- | -"
        missed = f"{self.missed / self.covered:.1%}" if self.covered else "-"
        return f"{overlap} | {missed} | {self.false / max(1, self.free):.2%} of {self.free}"


def clip(person: int, kind: str, frames: int) -> list[Truth]:
    """A rendered clip of a kind of `COVERS` or `FREE`."""
    rng = np.random.default_rng((FIRST_PERSON, person, [*COVERS, *FREE].index(kind)))
    portrait, light = Portrait(Identity.sample(np.random.default_rng((FIRST_PERSON, person)))), Light.sample(rng)
    lively, turn, change = FREE.get(kind, (1.0, 0.0, 0.0))
    take = Take.sample(rng, frames, lively)
    sway = np.sin(np.linspace(0, 2 * np.pi, frames))
    poses = [
        replace(pose, yaw=pose.yaw + turn * float(s), light=pose.light * float(np.exp(change * np.sin(5 * s))))
        for pose, s in zip(take.poses, sway, strict=True)
    ]
    crossing: str | Crossing = "none"
    if kind in COVERS:
        thing = COVERS[kind](portrait.person, light, rng)
        if kind == "strand":
            crossing = passing(thing, rng, frames, SHARE)
        else:
            crossing = Crossing.sample(thing, rng, frames, SHARE)
    camera = framed(SIZE, rng.uniform(0.46, 0.54), rng.uniform(0.40, 0.46), rng.uniform(0.9, 1.2))
    scene = Scene(rng, SIZE, (Actor(portrait, camera, Take(tuple(poses))),), crossing, 1.0, light)
    shut = kind == "blinking"
    mouths = [MouthShape() if shut else mouth for mouth in talking(rng, frames)]
    return [scene.render(number, (mouth,)) for number, mouth in enumerate(mouths)]


def talking(rng: np.random.Generator, frames: int) -> list[MouthShape]:
    """Mouths that move from one shape to another every `SYLLABLE` frames."""
    shapes = [MouthShape.sample(rng) for _ in range(frames // SYLLABLE + 2)]
    mouths = []
    for frame in range(frames):
        number, share = frame // SYLLABLE, (frame % SYLLABLE) / SYLLABLE
        first, second = vars(shapes[number]), vars(shapes[number + 1])
        mouths.append(MouthShape(**{name: (1 - share) * first[name] + share * second[name] for name in first}))
    return mouths


def found_in(truths: Sequence[Truth]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """What is found and what is true in the mouth region of each frame: (n, h, w)."""
    source = FramesInMemory("clip", np.stack([truth.picture for truth in truths]), Fraction(int(RATE)))
    tracker = Tracker()
    with closing(make_detector("mediapipe", None)) as detector:
        for truth in truths:
            tracker.follow(truth.picture, detector)
    occluder = find_occluder(source, source.timestamps(), tracker.finish())
    found, true = [], []
    for number, truth in enumerate(truths):
        region = MASKS["mouth"](torch.from_numpy(truth.landmarks), SIZE).numpy() > 0
        found.append(occluder.mask(number) & region)
        true.append(truth.occluder & region)
    return np.stack(found), np.stack(true)


def measure(people: Sequence[int], kinds: Sequence[str], frames: int) -> Iterator[tuple[str, Figures]]:
    """The figures of each kind of clip."""
    for kind in kinds:
        figures = Figures()
        for person in people:
            figures.add(*found_in(clip(person, kind, frames)))
        yield kind, figures


def real(clips: Sequence[Path]) -> Iterator[str]:
    """What is found in each real clip, a line each."""
    for path in clips:
        source = open_video(path)
        pts, track = survey(source, FaceSource())
        for note in find_occluder(source, pts, track).notes():
            yield f"{path.name}: {note}"


def table(rows: Iterator[tuple[str, Figures]]) -> Iterator[str]:
    """The lines of a table in Markdown."""
    yield "| clip | overlap: mean | worst clip | covered frames missed | free frames with something found |"
    yield "|---|---|---|---|---|"
    for kind, figures in rows:
        yield f"| {kind} | {figures.row} |"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.synthetic.measure.occlusion",
        description="Prints how well what covers a mouth is found on rendered people.",
    )
    parser.add_argument("--people", type=int, default=6, help="number of people (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the first of them (default: %(default)s)")
    parser.add_argument(
        "--kinds", nargs="+", choices=[*COVERS, *FREE], default=[*COVERS, *FREE], help="clips (default: all)"
    )
    parser.add_argument("--frames", type=int, default=60, help="frames of a clip (default: %(default)s)")
    parser.add_argument("--real", type=Path, nargs="+", metavar="CLIP", help="search these clips instead")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    people = range(options.first, options.first + options.people)
    for line in real(options.real) if options.real else table(measure(people, options.kinds, options.frames)):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
