"""Trains the meter of heads on rendered heads: python -m training.synthetic.measure.head_meter_training -o F.

Each random person is rendered with random mouths and feelings; augmentation blurs, shifts, mirrors and adds noise. The
same arguments give the same weights. Training and test use different people.
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
from keysync.face.crop import crop, crop_boxes
from keysync.face.track import from_landmarks

from ..heads import CROP_SCALE
from ..render.feeling import Feeling
from ..render.mouth import MouthShape
from ..render.shot import Shot
from .fitting import fit, relit, uniform
from .head_meter import SIDE, SPREAD, HeadNet
from .meter import truth

log = logging.getLogger(__name__)

FRAMES, APART = 10, 40  # of each person; frames of motion between two of them
LIVELINESS = 0.7
SHIFT = 3  # pixels
BATCH = 32
NAMES = ("opening", "valence", "arousal")
TEST_PEOPLE = 1 << 20  # number of the first test person


@dataclass(frozen=True, eq=False)
class Heads:
    """Crops (n, 3, SIDE, SIDE) uint8 and their truth (n, 3): opening, valence, arousal."""

    crops: Tensor
    readings: Tensor


def person_heads(number: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The crops (FRAMES, SIDE, SIDE, 3) of one person and their truth (FRAMES, 3)."""
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
    readings = np.c_[truth(made.landmarks).opening, values[::APART]]
    return crops, readings.astype(np.float32)


def rendered(first: int, people: int, workers: int) -> Heads:
    """The heads of people `first` to `first + people`, rendered by `workers` processes."""
    numbers = range(first, first + people)
    if workers <= 1:
        made = list(map(person_heads, numbers))
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            made = list(pool.map(person_heads, numbers, chunksize=4))
    crops = torch.from_numpy(np.concatenate([crops for crops, _ in made])).permute(0, 3, 1, 2)  # n h w c -> n c h w
    return Heads(crops.contiguous(), torch.from_numpy(np.concatenate([readings for _, readings in made])))


def train(heads: Heads, epochs: int, seed: int = 0) -> HeadNet:
    """A network trained on these heads."""
    return fit(HeadNet, (heads.crops, heads.readings), SPREAD, augmented, BATCH, epochs, seed)


def augmented(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Crops (n, 3, SIDE, SIDE): shifted, mirrored, blurred, in other light and with noise."""
    parts = []
    # Blur and shift are shared by a group; everything else is per crop.
    for group in crops.chunk(8):
        factor = float(uniform(0.6, 1.8, generator))
        if factor < 1:
            small = F.interpolate(group, scale_factor=factor, mode="bilinear", antialias=True, align_corners=False)
            group = F.interpolate(small, (SIDE, SIDE), mode="bicubic", align_corners=False)
        top, left = torch.randint(0, 2 * SHIFT + 1, (2,), generator=generator).tolist()
        wide = F.pad(group, (SHIFT,) * 4, mode="replicate")
        parts.append(wide[..., top : top + SIDE, left : left + SIDE])
    return relit(torch.cat(parts), generator)


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
    parser.add_argument("--people", type=int, default=260, help="people to train on; a tenth as many to test")
    parser.add_argument("--epochs", type=int, default=24, help="epochs of training (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that render")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and batches")
    parser.add_argument("--heads", type=Path, metavar="FILE", help="cache of the rendered heads")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.heads and options.heads.is_file():
        kept = torch.load(options.heads, weights_only=True)
        known, others = Heads(*kept[:2]), Heads(*kept[2:])
    else:
        known = rendered(0, options.people, options.workers)
        others = rendered(TEST_PEOPLE, max(options.people // 10, 2), options.workers)
        if options.heads:
            torch.save((known.crops, known.readings, others.crops, others.readings), options.heads)
    net = train(known, options.epochs, options.seed)
    write(net, options.output)
    for name, found in figures(net, others).items():
        log.info("%s: correlation %.4f", name, found)


if __name__ == "__main__":
    main()
