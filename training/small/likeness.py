"""Fits what tells people apart: python -m training.small.likeness FOLDER -o FILE.

FOLDER holds photographs of faces, named so that those of one person share the first number in their names, as those of
the Face Research Lab London Set do. People of the synthetic world, turned and lit in other ways, join them. Linear
discriminant analysis on the gradients of the aligned faces, each also mirrored, lit from a side, darkened, tinted,
blurred, noisy and partly hidden. Printed first is how often the most alike of the people left out is the right one.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.face.detectors import make_detector
from keysync.face.face import Frame, Points
from keysync.face.likeness import CHANNELS, LEFT_EYE, RIGHT_EYE, SIDE, WEIGHTS, align, gradients, read_picture
from keysync.weights.eight_bits import to_eight_bits

from ..data.disk import written
from ..synthetic.render.camera import Pose
from ..synthetic.render.identity import Identity
from ..synthetic.render.motion import Take
from ..synthetic.render.mouth import MouthShape
from ..synthetic.render.portrait import Portrait
from ..synthetic.render.scene import Actor, Scene, framed

COPIES, RENDERED, VIEWS = 10, 160, 6  # altered copies of a picture; people of the synthetic world, pictures of each
PIXELS = 160  # the side of a rendered picture
RIDGE = 0.15  # added to the variance within people, in its means
MISPLACED = 0.04  # of the eyes, standard deviation in their distance
FOLDS = 2


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of one person with the 68 points."""

    person: str
    frame: Frame
    landmarks: Points


def photographs(folder: Path) -> Iterator[Picture]:
    """The pictures of people that are seen at least twice. Raises `KeySyncError` where there are none."""
    paths: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.jpg")):
        number = re.search(r"\d+", path.stem)
        if number:
            paths.setdefault(number[0], []).append(path)
    seen = {person: files for person, files in paths.items() if len(files) > 1}
    if len(seen) < 2 * FOLDS:
        raise KeySyncError(f"{folder} shows {len(seen)} people twice: expected at least {2 * FOLDS} (.jpg)")
    with closing(make_detector("mediapipe")) as detector:
        for person, files in seen.items():
            for path in files:
                frame = read_picture(path)
                for face in detector.detect(frame)[:1]:
                    yield Picture(person, frame, face.landmarks)


def rendered(people: int, seed: int = 0, views: int = VIEWS) -> Iterator[Picture]:
    """Pictures of people of the synthetic world, each in other light, turned and speaking in another way."""
    for number in range(people):
        rng = np.random.default_rng((seed, number))
        portrait = Portrait(Identity.sample(rng))
        for _ in range(views):
            yaw, pitch, roll = rng.uniform(-0.5, 0.5), rng.uniform(-0.2, 0.2), rng.uniform(-0.15, 0.15)
            size = PIXELS, PIXELS
            actor = Actor(portrait, framed(size), Take((Pose(yaw, pitch, roll),)))
            truth = Scene(rng, size, (actor,)).render(0, (MouthShape.sample(rng),))
            yield Picture(f"rendered {seed} {number}", truth.picture, truth.landmarks)


def altered(aligned: Tensor, rng: np.random.Generator) -> Tensor:
    """An aligned face as another camera shows it in other light."""
    if rng.random() < 0.5:
        aligned = aligned.flip(-1)
    y, x = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE), indexing="ij")
    angle = rng.uniform(0, 2 * np.pi)
    side = 1 / (
        1 + np.exp(-rng.uniform(0.5, 8) * (x * np.cos(angle) + 0.6 * y * np.sin(angle) + rng.uniform(-0.5, 0.5)))
    )
    dark = rng.uniform(0.1, 1.0)
    light = torch.from_numpy(dark + (1 - dark) * side).float() * float(rng.uniform(0.15, 1.6))
    tint = torch.from_numpy(rng.uniform(0.75, 1.25, (3, 1, 1))).float()
    lit = (aligned**2.2 * light * tint).clamp(0, 1) ** (1 / 2.2)
    pixels = int(rng.choice([SIDE, 48, 36, 28, 22]))
    small = F.interpolate(lit[None], size=(pixels, pixels), mode="area")
    lit = F.interpolate(small, size=(SIDE, SIDE), mode="bilinear", align_corners=False)[0]
    lit = lit + torch.from_numpy(rng.normal(0, rng.uniform(0, 0.02), lit.shape)).float()
    if rng.random() < 0.3:  # a microphone, or a hand
        hidden = ((x - rng.uniform(-0.4, 0.4)) / 0.35) ** 2 + ((y - rng.uniform(0.5, 1.1)) / 0.35) ** 2 < 1
        lit[:, torch.from_numpy(hidden)] = torch.from_numpy(rng.uniform(0, 0.8, (3, 1))).float()
    return lit.clamp(0, 1)


def misplaced(landmarks: Points, rng: np.random.Generator) -> Points:
    """Points (68, 2) whose eyes are not found exactly."""
    moved = landmarks.copy()
    apart = np.linalg.norm(landmarks[LEFT_EYE].mean(0) - landmarks[RIGHT_EYE].mean(0))
    for eye in (LEFT_EYE, RIGHT_EYE):
        moved[eye] += rng.normal(0, MISPLACED * apart, 2)
    return moved


def rows_of(pictures: list[Picture], copies: int, rng: np.random.Generator) -> tuple[Tensor, NDArray[np.str_]]:
    """The gradients (n, channels) of altered copies of the pictures, and who each shows."""
    rows, people = [], []
    for picture in pictures:
        for _ in range(copies):
            aligned = align(picture.frame, misplaced(picture.landmarks, rng))
            rows.append(gradients(altered(aligned, rng)))
            people.append(picture.person)
    return torch.stack(rows), np.array(people)


def fit(rows: Tensor, people: NDArray[np.str_]) -> dict[str, Tensor]:
    """The weight (CHANNELS, channels) and the mean (channels,) that tell the people apart."""
    rows = rows.double()
    mean = rows.mean(0)
    groups = [rows[torch.from_numpy(people == person)] - mean for person in sorted(set(people.tolist()))]
    inside = torch.cat([group - group.mean(0) for group in groups])
    variances, axes = torch.linalg.eigh(inside.T @ inside / len(inside))
    white = axes * (variances + RIDGE * variances.mean()).rsqrt()
    _, _, between = torch.linalg.svd(torch.stack([group.mean(0) for group in groups]) @ white, full_matrices=False)
    return {"weight": (white @ between[:CHANNELS].T).T.contiguous().float(), "mean": mean.float()}


def first_choices(
    layer: dict[str, Tensor], known: list[Picture], rows: Tensor, people: NDArray[np.str_], together: int = 1
) -> float:
    """The share of rows, or of so many `together`, whose most alike person of those `known` by one picture each is the
    right one."""
    names = np.array([picture.person for picture in known])
    gallery = torch.stack([gradients(align(picture.frame, picture.landmarks)) for picture in known])
    looks, asked = (F.normalize((part - layer["mean"]) @ layer["weight"].T, dim=1) for part in (gallery, rows))
    asked = F.normalize(asked.unflatten(0, (-1, together)).mean(1), dim=1)
    best = (asked @ looks.T).argmax(1).numpy()
    return float((names[best] == people[::together]).mean())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training.small.likeness", description="Fits the looks.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    try:
        rng = np.random.default_rng(0)
        real = list(photographs(options.folder))
        rows, people = rows_of(real, COPIES, rng)
        more, others = rows_of(list(rendered(RENDERED)), COPIES // 2, rng)
        folds = np.array([int(person) % FOLDS for person in people.tolist()])
        firsts = [
            number for number, one in enumerate(real) if one.person not in {other.person for other in real[:number]}
        ]
        first = np.isin(np.arange(len(rows)) // COPIES, firsts)
        for fold in range(FOLDS):
            kept, asked = folds != fold, (folds == fold) & ~first
            layer = fit(torch.cat([rows[torch.from_numpy(kept)], more]), np.concatenate([people[kept], others]))
            known = [real[number] for number in firsts if int(real[number].person) % FOLDS == fold]
            one, ten = (
                first_choices(layer, known, rows[torch.from_numpy(asked)], people[asked], together)
                for together in (1, COPIES)
            )
            print(f"left out, part {fold + 1}: the right one of {len(known)} people is the most alike in {one:.1%},")
            print(f"by the mean of {COPIES} pictures in {ten:.1%}")
        with written(options.output) as temporary:
            layer = fit(torch.cat([rows, more]), np.concatenate([people, others]))
            save_file(to_eight_bits(layer), temporary)
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
