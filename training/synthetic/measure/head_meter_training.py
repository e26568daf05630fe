"""Trains the meter of heads on rendered heads: python -m training.synthetic.measure.head_meter_training -o F.

Each random person is rendered with random mouths and feelings; augmentation blurs, shifts and adds noise. The network
learns where points of the face are, and what to read from them. The same arguments give the same weights. Training and
test use different people.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from keysync.correlation import correlation
from keysync.face.crop import crop, crop_boxes, to_crop
from keysync.face.track import from_landmarks

from ..heads import CROP_SCALE
from ..render.feeling import Feeling
from ..render.mouth import MouthShape
from ..render.shot import Shot
from .fitting import distance, fit, relit, uniform
from .head_meter import POINTS, SIDE, SPREAD, HeadNet
from .meter import truth

log = logging.getLogger(__name__)

FRAMES, APART = 16, 40  # of each person; frames of motion between two of them
LIVELINESS = 0.7
SHIFT = 6  # pixels
BATCH, RATE = 32, 4e-3
RIDGE = 1e-4  # of the least squares that settle the readings
NAMES = ("opening", "valence", "arousal")
TEST_PEOPLE = 1 << 20  # number of the first test person


@dataclass(frozen=True, eq=False)
class Heads:
    """Crops (n, 3, SIDE, SIDE) uint8, the places (n, 51, 2) of `POINTS` in 0..1 of a crop, and the true
    readings (n, 3): opening, valence and arousal."""

    crops: Tensor
    points: Tensor
    readings: Tensor

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.crops, self.points, self.readings


def person_heads(number: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """The crops (FRAMES, SIDE, SIDE, 3) of one person, their points (FRAMES, 51, 2) and readings (FRAMES, 3)."""
    rng = np.random.default_rng((number, 0x68656164))
    count, side = FRAMES * APART, 2 * SIDE
    values = rng.uniform(-1, 1, (count, 2))
    felt = tuple(Feeling(*pair) for pair in values.tolist())
    shot = Shot((number, 0x68656164), count, side, feelings=felt, liveliness=LIVELINESS)
    shown = range(0, count, APART)
    mouths = {frame: MouthShape.sample(rng) for frame in shown}
    made = shot.draw([mouths.get(frame, MouthShape()) for frame in range(count)], shown)
    box = crop_boxes(from_landmarks([made.landmarks[0]], (side, side)), 0, 1, CROP_SCALE)[0]
    crops = np.stack([crop(frame, box, (SIDE, SIDE)).mul(255).round().byte().numpy() for frame in made.frames])
    points = np.stack([to_crop(face, box, (SIDE, SIDE)).numpy()[POINTS] / SIDE for face in made.landmarks])
    readings = np.c_[truth(made.landmarks).opening, values[::APART]]
    return crops, points.astype(np.float32), readings.astype(np.float32)


def rendered(first: int, people: int, workers: int) -> Heads:
    """The heads of people `first` to `first + people`, rendered by `workers` processes."""
    numbers = range(first, first + people)
    if workers <= 1:
        made = list(map(person_heads, numbers))
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            made = list(pool.map(person_heads, numbers, chunksize=4))
    crops, points, readings = (torch.from_numpy(np.concatenate(part)) for part in zip(*made, strict=True))
    return Heads(crops.permute(0, 3, 1, 2).contiguous(), points, readings)  # n h w c -> n c h w


def train(heads: Heads, epochs: int, seed: int = 0) -> HeadNet:
    """A network trained on these heads."""
    net = fit(HeadNet, heads.tensors, error_of, BATCH, epochs, seed, RATE)
    settle(net, heads)
    return net


def error_of(net: HeadNet, crops: Tensor, shown: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """The error of the points that the network finds in augmented crops, in pixels, and of what it reads from them."""
    points, readings = shown
    seen, moved = augmented(crops, points, generator)
    found = net.points(seen)
    return F.smooth_l1_loss(SIDE * found, SIDE * moved) + distance(net.readings(found), readings, SPREAD)


@torch.no_grad()
def settle(net: HeadNet, heads: Heads) -> None:
    """Sets what the network reads from the points that it finds in these heads to the least squares of its errors."""
    found = torch.cat([net.points(part.float() / 255) for part in heads.crops.split(256)])
    rows = net.shape_of(found).double()
    rows = torch.cat((rows, torch.ones(len(rows), 1, dtype=rows.dtype)), 1)
    true = ((heads.readings - net.mean) / net.spread).double()
    gram = rows.T @ rows / len(rows) + RIDGE * torch.eye(rows.shape[1], dtype=rows.dtype)
    solved = torch.linalg.solve(gram, rows.T @ true / len(rows)).float()
    net.read.weight.copy_(solved[:-1].T)
    net.read.bias.copy_(solved[-1])


def augmented(crops: Tensor, points: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Crops (n, 3, SIDE, SIDE) shifted, blurred, in other light and with noise, and their points (n, 51, 2)."""
    seen, moved = [], []
    # Blur and shift are shared by a group; everything else is per crop.
    for group, places in zip(crops.chunk(8), points.chunk(8), strict=True):
        factor = float(uniform(0.5, 1.8, generator))
        if factor < 1:
            side = round(SIDE * factor)  # not `scale_factor`, with which a rounded size would shift the picture
            small = F.interpolate(group, (side, side), mode="bilinear", antialias=True, align_corners=False)
            group = F.interpolate(small, (SIDE, SIDE), mode="bicubic", align_corners=False)
        top, left = torch.randint(0, 2 * SHIFT + 1, (2,), generator=generator).tolist()
        wide = F.pad(group, (SHIFT,) * 4, mode="replicate")
        seen.append(wide[..., top : top + SIDE, left : left + SIDE])
        moved.append(places + torch.tensor([SHIFT - left, SHIFT - top]) / SIDE)
    return relit(torch.cat(seen), generator), torch.cat(moved)


@torch.no_grad()
def figures(net: HeadNet, heads: Heads) -> dict[str, float]:
    """The correlation of each reading with the truth."""
    read = torch.cat([net(part.float() / 255) for part in heads.crops.split(256)]).numpy()
    true = heads.readings.numpy()
    return {name: correlation(read[:, number], true[:, number]) for number, name in enumerate(NAMES)}


def write(net: HeadNet, path: Path) -> None:
    """Writes the weights as float16 safetensors, as `HeadMeter` reads them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.half().contiguous() for name, value in net.state_dict().items()}, path)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}.head_meter_training", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="file of the weights")
    parser.add_argument("--people", type=int, default=336, help="people to train on; a tenth as many to test")
    parser.add_argument("--epochs", type=int, default=45, help="epochs of training (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that render")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and batches")
    parser.add_argument("--heads", type=Path, metavar="FILE", help="cache of the rendered heads")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.heads and options.heads.is_file():
        kept = torch.load(options.heads, weights_only=True)
        known, others = Heads(*kept[:3]), Heads(*kept[3:])
    else:
        known = rendered(0, options.people, options.workers)
        others = rendered(TEST_PEOPLE, max(options.people // 10, 2), options.workers)
        if options.heads:
            torch.save((*known.tensors, *others.tensors), options.heads)
    net = train(known, options.epochs, options.seed)
    write(net, options.output)
    for name, found in figures(net, others).items():
        log.info("%s: correlation %.4f", name, found)


if __name__ == "__main__":
    main()
