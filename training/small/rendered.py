"""Fits what tells rendered faces from others: python -m training.small.rendered FOLDER -o FILE.

FOLDER holds pictures and videos of real people; rendered ones come from the synthetic world. A ridge regression on what
the face mesh's network sees, with every face also blurred, darkened, tinted and noisy. Printed are the shares of faces
that are taken for the wrong kind when their person, or their clip, was left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from safetensors.torch import save_file
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.face.crop import crop, resize
from keysync.face.detectors import make_detector
from keysync.face.face import Box, Frame
from keysync.face.mesh import MeshReader
from keysync.face.rendered import WEIGHTS
from keysync.media.reader import open_video

from ..data.disk import written
from ..synthetic.render.world import Clip, clip
from ..synthetic.voice.corpus import speaker
from ..synthetic.voice.sentences import TRAIN
from ..synthetic.voice.speech import talk

SIDE, SCALE = 192, 1.5  # pixels of a crop's side; its width over that of the face's points
EVERY = 25  # of the frames of a real clip
RENDERED, SIDES = 90, (192, 256, 320)  # rendered clips, pixels of their sides
COPIES = 3  # altered copies of each face
RIDGE = 0.03
GROUPS = 10
# The threshold lies nearer to the rendered faces: a real face that KeySync small draws is worse than a rendered one
# that gets its own mouths.
BIAS = -0.3


@dataclass(frozen=True, eq=False)
class Faces:
    """Crops (n, SIDE, SIDE, 3), 0..1, and whose each is."""

    crops: Tensor
    people: NDArray[np.str_]


def real_faces(folder: Path) -> Faces:
    """The largest face of each picture, and of frames of each video. Raises `KeySyncError` where there is none."""
    crops: list[Tensor] = []
    people: list[str] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        for picture in _pictures(path):
            crops.append(picture)
            people.append(path.stem.rsplit("_", 1)[0])  # pictures of one person: NAME_NUMBER
    if not crops:
        raise KeySyncError(f"{folder} shows no face: expected pictures and videos of people")
    return Faces(torch.stack(crops), np.array(people))


def _pictures(path: Path) -> Iterator[Tensor]:
    """The face in each picture of a file; nothing for files that are no pictures."""
    try:
        frames = [np.asarray(Image.open(path).convert("RGB"))]
    except UnidentifiedImageError:
        try:
            frames = [frame for number, (_, frame) in enumerate(open_video(path).frames()) if number % EVERY == 0]
        except KeySyncError as error:
            print(f"left out: {error}")
            return
    with closing(make_detector("mediapipe")) as detector:
        for frame in frames:
            faces = detector.detect(frame)
            if faces:
                yield _cut(frame, max(faces, key=lambda face: face.box[2] - face.box[0]).box)


def rendered_faces(seed: int = 0, clips: int = RENDERED) -> Faces:
    """Two frames each of people of the synthetic world."""
    crops: list[Tensor] = []
    for number in range(clips):
        said = talk(1000 * seed + number, 2.0, voice=speaker(TRAIN, seed, number))
        motion = said.mouth(np.array([0.7, 1.4]))
        side = SIDES[number % len(SIDES)]
        for truth in clip(1000 * seed + number, [motion[0], motion[1]], Clip(size=(side, side))):
            x0, y0 = truth.landmarks.min(0).tolist()
            x1, y1 = truth.landmarks.max(0).tolist()
            crops.append(_cut(truth.picture, (x0, y0, x1, y1)))
    each = len(crops) // clips
    return Faces(torch.stack(crops), np.array([f"rendered {number}" for number in range(clips) for _ in range(each)]))


def _cut(frame: Frame, box: Box) -> Tensor:
    """The crop around a face (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = box
    side = min(round(SCALE * max(x1 - x0, y1 - y0)), *frame.shape[:2])
    corner = np.round([(x0 + x1 - side) / 2, (y0 + y1 - side) / 2])
    x, y = np.clip(corner, 0, [frame.shape[1] - side, frame.shape[0] - side]).astype(int).tolist()
    return crop(frame, np.array([x, y, side]), (SIDE, SIDE))


def altered(crops: Tensor, rng: np.random.Generator) -> Tensor:
    """Crops as other cameras show them: softer, darker, tinted, noisy, mirrored."""
    copies = []
    for picture in crops.permute(0, 3, 1, 2):
        side = int(rng.integers(SIDE // 3, SIDE))
        soft = resize(resize(picture[None], (side, side)), (SIDE, SIDE))[0]
        tint = torch.from_numpy(rng.uniform(0.85, 1.15, (3, 1, 1)).astype(np.float32))
        noise = torch.from_numpy(rng.normal(0, rng.uniform(0, 0.03), soft.shape).astype(np.float32))
        copy = (soft ** float(rng.uniform(0.7, 1.5)) * tint + noise).clamp(0, 1)
        copies.append(copy.flip(-1) if rng.random() < 0.5 else copy)
    return torch.stack(copies).permute(0, 2, 3, 1)


def fit(features: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (c,) and bias of the ridge regression of features (n, c) on kinds (n,), 1 for rendered, -1 for others.

    Both kinds count the same, however many there are of each.
    """
    x, y = features.double(), kinds.double()
    counts = torch.where(y > 0, 1 / (y > 0).sum(), 1 / (y < 0).sum())[:, None] / 2
    mean = (x * counts).sum(0)
    spread = ((x - mean).square() * counts).sum(0).sqrt() + 1e-6
    z = (x - mean) / spread
    square = z.T @ (z * counts) + RIDGE * torch.eye(z.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(square, z.T @ (y * counts[:, 0])) / spread
    return weight.float(), (BIAS - mean @ weight).float()


def errors_left_out(features: Tensor, kinds: Tensor, people: NDArray[np.str_], copies: int) -> tuple[float, float]:
    """The shares of real and of rendered faces taken for the other kind when their person was left out.

    Of each face the unaltered one is judged: `features` holds all faces, then their copies, `copies` times.
    """
    names = np.unique(people)
    np.random.default_rng(0).shuffle(names)
    everyone, scores = np.tile(people, copies + 1), torch.zeros(len(people))
    for group in range(GROUPS):
        held = names[group::GROUPS]
        weight, bias = fit(features[~np.isin(everyone, held)], kinds[~np.isin(everyone, held)])
        judged = np.isin(people, held)
        scores[judged] = features[: len(people)][judged] @ weight + bias
    real, rendered = scores[kinds[: len(people)] < 0], scores[kinds[: len(people)] > 0]
    return float((real > 0).float().mean()), float((rendered <= 0).float().mean())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.small.rendered", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="pictures and videos of real people")
    parser.add_argument("-o", "--output", type=Path, default=WEIGHTS, metavar="FILE", help="default: the built-in file")
    options = parser.parse_args(arguments)
    try:
        real, rendered = real_faces(options.folder), rendered_faces()
        crops = torch.cat([real.crops, rendered.crops])
        people = np.concatenate([real.people, rendered.people])
        rng, reader = np.random.default_rng(0), MeshReader()
        features = torch.cat([reader.features(crops), *(reader.features(altered(crops, rng)) for _ in range(COPIES))])
        kinds = torch.cat([-torch.ones(len(real.crops)), torch.ones(len(rendered.crops))]).repeat(COPIES + 1)
        wrong_real, wrong_rendered = errors_left_out(features, kinds, people, COPIES)
        weight, bias = fit(features, kinds)
        with written(options.output) as file:
            save_file({"weight": weight, "bias": bias[None].squeeze()}, file)
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(real.crops)} real faces, {wrong_real:.1%} taken for rendered ones")
    print(f"{len(rendered.crops)} rendered faces, {wrong_rendered:.1%} taken for real ones")
    return 0


if __name__ == "__main__":
    sys.exit(main())
