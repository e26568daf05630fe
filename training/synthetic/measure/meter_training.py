"""Trains the meter on rendered mouths of known opening: python -m training.synthetic.measure.meter_training.

Each random person is rendered in three lights; augmentation blurs, shifts and adds noise. The same arguments give the
same weights. Training and test use different people.
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

from ..render.identity import Identity
from ..render.motion import Take
from ..render.mouth import MouthShape
from ..render.portrait import Portrait
from ..render.scene import Actor, Scene, framed
from .fitting import distance, fit, mirrored, relit, uniform
from .meter import HEIGHT, SPREAD, WEIGHTS, WIDTH, MeterNet, patches, truth

log = logging.getLogger(__name__)

SIZE = (192, 192)
MARGIN = 4  # pixels around a patch, for augmentation
SCENES, FRAMES = 3, 10  # of each person
BATCH = 64
TEST_PEOPLE = 1 << 20  # number of the first test person


@dataclass(frozen=True, eq=False)
class Mouths:
    """Patches (n, 3, HEIGHT + 2 MARGIN, WIDTH + 2 MARGIN) uint8 and their truth (n, 3): opening, gap, width."""

    patches: Tensor
    readings: Tensor


def person_mouths(number: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The patches (SCENES * FRAMES, 3, h, w) of one person and their truth (SCENES * FRAMES, 3)."""
    rng = np.random.default_rng((number, 0x6D657465))
    portrait = Portrait(Identity.sample(rng))
    truths = []
    for _ in range(SCENES):
        camera = framed(SIZE, rng.uniform(0.46, 0.54), rng.uniform(0.43, 0.48), rng.uniform(1.0, 1.4))
        take = Take.sample(rng, FRAMES * 40, 1.3)
        spread = Take(take.poses[::40])  # one pose per 1.6 seconds, so that poses differ
        scene = Scene(rng, SIZE, (Actor(portrait, camera, spread),))
        truths += [scene.render(frame, (MouthShape.sample(rng),)) for frame in range(FRAMES)]
    points = np.stack([frame.landmarks for frame in truths])
    pictures = torch.from_numpy(np.stack([frame.picture for frame in truths]))
    cut = patches(pictures, torch.from_numpy(points).double(), MARGIN)
    read = truth(points)
    return (cut * 255).round().byte().numpy(), np.stack([read.opening, read.gap, read.width], 1)


def rendered(first: int, people: int, workers: int) -> Mouths:
    """The mouths of people `first` to `first + people`, rendered by `workers` processes."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        made = list(pool.map(person_mouths, range(first, first + people), chunksize=4))
    return Mouths(
        torch.from_numpy(np.concatenate([cut for cut, _ in made])),
        torch.from_numpy(np.concatenate([read for _, read in made])),
    )


def train(mouths: Mouths, epochs: int, seed: int = 0) -> MeterNet:
    """A network trained on these mouths."""
    return fit(MeterNet, (mouths.patches, mouths.readings), error_of, BATCH, epochs, seed)


def error_of(net: MeterNet, wide: Tensor, shown: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """The error of the network's readings of augmented patches."""
    return distance(net(augmented(wide, generator)), shown[0], SPREAD)


def augmented(wide: Tensor, generator: torch.Generator) -> Tensor:
    """Patches from patches with a margin (n, 3, h, w): shifted, mirrored, blurred, in other light and with noise."""
    parts = []
    # Blur and shift are shared by a group; everything else is per patch.
    for group in wide.chunk(8):
        factor = float(uniform(0.28, 1.6, generator))
        if factor < 1:
            small = F.interpolate(group, scale_factor=factor, mode="bilinear", antialias=True, align_corners=False)
            group = F.interpolate(small, wide.shape[-2:], mode="bicubic", align_corners=False)
        top, left = torch.randint(MARGIN - 2, MARGIN + 3, (2,), generator=generator).tolist()
        parts.append(group[..., top : top + HEIGHT, left : left + WIDTH])
    return relit(mirrored(torch.cat(parts), generator), generator)


def blurred(wide: Tensor, factor: float) -> Tensor:
    """Patches without their margin, scaled down by a factor and up again, as in a picture of lower resolution."""
    if factor < 1:
        small = F.interpolate(wide, scale_factor=factor, mode="bilinear", antialias=True, align_corners=False)
        wide = F.interpolate(small, wide.shape[-2:], mode="bilinear", align_corners=False)
    return wide[..., MARGIN : MARGIN + HEIGHT, MARGIN : MARGIN + WIDTH]


@torch.no_grad()
def figures(net: MeterNet, mouths: Mouths, factor: float) -> dict[str, tuple[float, float, float]]:
    """Correlation with the truth, slope and mean absolute error of opening, gap and width."""
    parts = [net(blurred(part.float() / 255, factor)) for part in mouths.patches.split(256)]
    read, true = torch.cat(parts).double().numpy(), mouths.readings.double().numpy()
    found = {}
    for number, name in enumerate(("opening", "gap", "width")):
        x, y = true[:, number], read[:, number]
        correlation = float(np.corrcoef(x, y)[0, 1])
        found[name] = (correlation, float(correlation * y.std() / x.std()), float(np.abs(y - x).mean()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-o", "--output", type=Path, default=WEIGHTS, help="file of the weights")
    parser.add_argument("--people", type=int, default=280, help="people to train on; a tenth as many to test")
    parser.add_argument("--epochs", type=int, default=24, help="epochs of training (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and batches")
    parser.add_argument("--mouths", type=Path, metavar="FILE", help="cache of the rendered mouths")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.mouths and arguments.mouths.is_file():
        kept = torch.load(arguments.mouths, weights_only=True)
        known, others = Mouths(*kept[:2]), Mouths(*kept[2:])
    else:
        known = rendered(0, arguments.people, arguments.workers)
        others = rendered(TEST_PEOPLE, max(arguments.people // 10, 2), arguments.workers)
        if arguments.mouths:
            torch.save((known.patches, known.readings, others.patches, others.readings), arguments.mouths)
    net = train(known, arguments.epochs, arguments.seed)
    save_file({name: value.half().contiguous() for name, value in net.state_dict().items()}, arguments.output)
    for factor in (1.0, 0.6, 0.35):
        for name, found in figures(net, others, factor).items():
            log.info("%.2f of the pixels, %s: correlation %.4f, slope %.3f, error %.4f", factor, name, *found)


if __name__ == "__main__":
    main()
