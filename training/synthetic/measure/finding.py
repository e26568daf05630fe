"""What the face finder sees of rendered heads, whose points are known exactly:

    python -m training.synthetic.measure.finding

prints a table of recall and point errors by yaw, pitch, size, blur, light and what covers the mouth. Each condition
changes one thing of a face that looks at the camera, 96 pixels wide. Recall counts faces; the error of a point is a
share of the width of the face from the front, the mean over brows, nose, eyes and mouth: on the far side of the jaw,
detectors and renderer mean different points.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import radians

import numpy as np
import torch

from keysync.face.face import Face, Frame, Points
from keysync.face.finder.finder import FaceFinder

from ..render.camera import Camera, Pose
from ..render.identity import Identity
from ..render.light import Light
from ..render.motion import Take
from ..render.mouth import MouthShape
from ..render.opencv import cv2
from ..render.portrait import Portrait
from ..render.scene import Actor, Scene

SIZE = (360, 480)  # of a picture (h, w)
FACE = 150.0  # mm: the width of a face
WIDTH = 96.0  # pixels of a face
INNER = slice(17, 68)  # all points but those of the jaw
FIRST_PERSON = (1 << 30) + 4096  # seeds that training does not use
# A face is found where the finder's centre is within this share of the true size, and its size within this factor.
NEAR, LIKE = 0.5, 2.0
# Degrees from frame to frame of a head that turns while it is followed.
STEP = 5.0
MOUTH = MouthShape(open=0.35)


@dataclass(frozen=True)
class Condition:
    """How a face is shown: its pose in degrees, its width in pixels, the standard deviation of a blur as a share of
    that width, the exposure (1: ordinary), the direction of the key light, and what covers the mouth."""

    kind: str
    value: str
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    width: float = WIDTH
    blur: float = 0.0
    exposure: float = 1.0
    key: tuple[float, float, float] | None = None
    occluder: str = "none"

    def of(self, person: int, portrait: Portrait) -> tuple[Frame, Points]:
        """The picture of a person (h, w, 3) and the true points (68, 2)."""
        rng = np.random.default_rng((person, 1))
        light = Light.sample(rng)
        if self.key is not None:
            light = Light(self.key, light.key_colour, light.above, light.below, light.rim)
        h, w = SIZE
        camera = Camera((w * rng.uniform(0.42, 0.58), h * rng.uniform(0.42, 0.5)), self.width / FACE)
        side = 1 if person % 2 else -1
        pose = Pose(side * radians(self.yaw), radians(self.pitch), side * radians(self.roll))
        scene = Scene(rng, SIZE, (Actor(portrait, camera, Take((pose,) * 4)),), self.occluder, 1.0, light)
        truth = scene.render(2 if self.occluder != "none" else 0, (MOUTH,))
        picture = truth.picture.astype(np.float32)
        if self.blur:
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), self.blur * self.width), np.float32)
        if self.exposure != 1:
            noise = rng.normal(0, 2.0, picture.shape).astype(np.float32)
            picture = picture * np.float32(self.exposure) + noise
        return np.clip(picture, 0, 255).astype(np.uint8), truth.landmarks


def conditions() -> list[Condition]:
    """All conditions, the plain one first."""
    yaws, pitches = (0, 30, 45, 60, 70, 80, 90), (-45, -30, -15, 15, 30, 45)
    return [
        *(Condition("yaw", f"{yaw}°", yaw=yaw) for yaw in yaws),
        *(Condition("pitch", f"{pitch}°", pitch=pitch) for pitch in pitches),
        *(Condition("width", f"{width} px", width=width) for width in (128, 64, 48, 32, 24, 16)),
        *(Condition("yaw at 24 px", f"{yaw}°", yaw=yaw, width=24) for yaw in (30, 60, 80)),
        *(Condition("blur", f"{blur:.0%} of the face", blur=blur) for blur in (0.01, 0.02, 0.04, 0.08)),
        *(Condition("exposure", f"{gain:g}", exposure=gain) for gain in (0.5, 0.25, 0.1, 0.05, 2.0)),
        Condition("light", "from the side", key=(-0.97, -0.1, 0.22)),
        Condition("light", "from above", key=(0.0, -0.97, 0.22)),
        *(Condition("covered by", name, occluder=name) for name in ("hand", "microphone")),
    ]


@dataclass
class Figures:
    """Of one condition: how many faces were shown and found, what else was found, and the errors of those found."""

    shown: int = 0
    found: int = 0
    false: int = 0
    errors: list[float] = field(default_factory=list)

    def add(self, faces: Sequence[Face], truth: Points, width: float) -> None:
        near = [face for face in faces if is_there(face, truth)]
        self.shown += 1
        self.found += bool(near)
        self.false += len(faces) - len(near[:1])
        if near:
            self.errors.append(error(max(near, key=lambda face: face.confidence), truth, width))

    @property
    def recall(self) -> float:
        return self.found / self.shown

    @property
    def row(self) -> str:
        """Recall, the median and the 90th percentile of the errors, and what else was found, for a table."""
        off = [f"{100 * value:.1f} %" for value in np.percentile(self.errors, (50, 90))] if self.errors else ["-", "-"]
        return " | ".join([f"{100 * self.recall:.0f} %", *off, str(self.false)])


def is_there(face: Face, truth: Points) -> bool:
    """Whether a face is the true one, and not another thing nearby."""
    (low, high), (x0, y0, x1, y1) = (truth.min(0), truth.max(0)), face.box
    size, found = float((high - low).max()), max(x1 - x0, y1 - y0)
    away = np.hypot(*(np.array([x0 + x1, y0 + y1]) / 2 - (low + high) / 2))
    return bool(away < NEAR * size) and 1 / LIKE < found / size < LIKE


def error(face: Face, truth: Points, width: float) -> float:
    """The mean distance of the points inside the face, over the width of the face from the front."""
    return float(np.linalg.norm(face.landmarks[INNER] - truth[INNER], axis=1).mean()) / width


def measure(people: Sequence[int], finder: FaceFinder, cases: Sequence[Condition]) -> list[tuple[Condition, Figures]]:
    """What the finder sees in single pictures of all people in each condition."""
    figures = [Figures() for _ in cases]
    for person in people:
        portrait = portrait_of(person)
        shown = [case.of(person, portrait) for case in cases]
        for case, figure, (picture, truth) in zip(cases, figures, shown, strict=True):
            figure.add(finder.detect(picture), truth, case.width)
    return list(zip(cases, figures, strict=True))


def followed(people: Sequence[int], finder: FaceFinder, width: float = WIDTH) -> list[tuple[Condition, Figures]]:
    """The same of heads that turn from the front to the side while they are followed, by yaw."""
    turn = [float(yaw) for yaw in np.arange(0, 90 + STEP, STEP)]
    cases = [Condition(f"followed, {width:g} px wide", f"{yaw:.0f}°", yaw=yaw, width=width) for yaw in turn]
    figures = [Figures() for _ in cases]
    for person in people:
        portrait = portrait_of(person)
        before: list[Face] = []
        for case, figure in zip(cases, figures, strict=True):
            picture, truth = case.of(person, portrait)
            before = finder.detect(picture, before)
            figure.add(before, truth, case.width)
    return [(case, figure) for case, figure in zip(cases, figures, strict=True) if case.yaw % 10 == 0]


def portrait_of(person: int) -> Portrait:
    return Portrait(Identity.sample(np.random.default_rng(person)))


def table(rows: Sequence[tuple[Condition, Figures]]) -> Iterator[str]:
    """The lines of a table in Markdown."""
    yield "| condition | | recall | points off: median | 90th percentile | found elsewhere |"
    yield "|---|---|---|---|---|---|"
    for case, figure in rows:
        yield f"| {case.kind} | {case.value} | {figure.row} |"


def main(arguments: Sequence[str] | None = None, make: Callable[[], FaceFinder] = FaceFinder) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.synthetic.measure.finding",
        description="Prints what the built-in face finder sees of rendered heads.",
    )
    parser.add_argument("--people", type=int, default=8, help="number of people (default: %(default)s)")
    count = parser.parse_args(arguments).people
    torch.set_num_threads(1)
    finder, people = make(), range(FIRST_PERSON, FIRST_PERSON + count)
    rows = measure(people, finder, conditions())
    for width in (WIDTH, 24.0):
        rows += followed(people, finder, width)
    print("\n".join(table(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
