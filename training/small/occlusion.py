"""Trains the small network that finds what covers a mouth, on rendered people and on photographs:

    python -m training.small.occlusion OUT.safetensors --photographs FOLDER

OUT is written after each epoch, and --start goes on from weights such as those that are built in.

Each person is rendered talking, as is and behind hands, microphones, cups, forks, hair and shapes of any colour. The
network sees what `keysync.face.occlusion` shows it in a video: the unfolded face, the person's usual look, and how far
the two differ.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from keysync.face.face import Points
from keysync.face.occlusion_network import OcclusionNetwork, network_inputs, occlusion_network
from keysync.face.unfolded import COLUMNS, ROWS, Unfolding
from keysync.face.usual import Texture, Usual
from keysync.weights.eight_bits import to_eight_bits

from ..data.disk import written
from ..run.precision import precision_on_cpu
from ..synthetic.render.covers import COVERS, SHAPES
from ..synthetic.render.identity import Identity
from ..synthetic.render.light import Light, shown
from ..synthetic.render.motion import Take
from ..synthetic.render.mouth import MouthShape
from ..synthetic.render.occluder import Crossing
from ..synthetic.render.opencv import cv2
from ..synthetic.render.portrait import Portrait
from ..synthetic.render.scene import FIELD, Actor, Scene, Truth, framed
from ..synthetic.render.surface import linear
from .likeness import Picture, photographs

FIRST_PERSON = 1 << 29
SIDE = 320  # of a picture
HEAD = 140.0  # mm that the points of a face cover
POSES, COVERED = 10, 3  # of a person, and things before the mouth in each
OWN = 0.8  # the share of hands, limbs and hair that are the person's own: those look most like the face
CHANCES = {"hand": 0.3, "microphone": 0.12, "cup": 0.1, "fork": 0.19, "strand": 0.11, "slab": 0.08, "limb": 0.1}

# The share of poses in which the head is turned, and how far: yaw and pitch, radians.
TURNED, FURTHEST = 0.4, (0.8, 0.3)
# Usual looks that each person's frames are compared with, and how often they come from what kind of clip.
USUALS = 2
CLIPS = {"free": 0.45, "mixed": 0.3, "still": 0.1, "unknown": 0.15}
PLANES = 11  # of the inputs, without the places
BATCH, EPOCHS, RATE = 16, 5, 4e-3
OVERLAP = 0.8  # what an overlap that is missed counts, against the cross entropy

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Looks:
    """Unfolded faces of one person: `bare` (POSES, ROWS, COLUMNS, 3) and `covered` (m, ROWS, COLUMNS, 3) uint8, and
    where the latter are covered (m, ROWS, COLUMNS)."""

    bare: NDArray[np.uint8]
    covered: NDArray[np.uint8]
    masks: NDArray[np.bool_]


def photographed(folder: Path) -> Iterator[Looks]:
    """The people of a folder of photographs, named as `likeness` says, each as is and behind rendered things."""
    for who, pictures in groupby(photographs(folder), key=lambda picture: picture.person):
        rng = np.random.default_rng((FIRST_PERSON, *who.encode()))
        yield _looks_of(rng, list(pictures), Identity.sample(rng), Light.sample(rng))


def _looks_of(rng: np.random.Generator, pictures: Sequence[Picture], owner: Identity, light: Light) -> Looks:
    unfolding = Unfolding.of(np.stack([picture.landmarks for picture in pictures]))
    textures, masks = [], []
    for number in range(POSES * (1 + COVERED)):
        picture, hidden = pictures[number % len(pictures)], number >= POSES
        points, frame = picture.landmarks, picture.frame
        scale = float(np.ptp(points, axis=0).max()) / HEAD
        mask = np.zeros(frame.shape[:2], np.bool_)
        if hidden:
            pose = number % POSES
            drawn = linear(frame / 255).astype(np.float32)
            mouth = points[[62, 66]].mean(0).astype(np.float64)
            shaded = np.ones(mask.shape, np.float32)
            mask = thing_at(rng, pose, owner, light).draw(drawn, pose, mouth, scale, light, shaded)
            frame = (shown(np.clip(drawn, 0, 1))).astype(np.uint8)
        seen = off(rng, points, scale, 3.0 if hidden else 0.0)
        textures.append(unfolding.texture(frame, seen)[0])
        masks.append(unfolding.texture(np.repeat(mask[..., None].astype(np.uint8) * 255, 3, -1), seen)[0][..., 0] > 127)
    pixels = np.clip(np.round(textures), 0, 255).astype(np.uint8)
    return Looks(pixels[:POSES], pixels[POSES:], np.stack(masks[POSES:]))


def looks_of(person: int) -> Looks:
    """A person in some poses, each as is and behind `COVERED` things."""
    rng = np.random.default_rng((FIRST_PERSON, person))
    portrait, light = Portrait(Identity.sample(rng)), Light.sample(rng)
    lively = Take.sample(rng, 20 * POSES, float(rng.uniform(0.5, 2.0)))
    # Some heads are turned as far as heads are dubbed.
    turns = rng.uniform(-1, 1, (POSES, 2)) * (FURTHEST * (rng.random((POSES, 1)) < TURNED))
    take = Take(
        tuple(
            replace(pose, yaw=pose.yaw + float(yaw), pitch=pose.pitch + float(pitch))
            for pose, (yaw, pitch) in zip(lively.poses[::20], turns, strict=True)
        )
    )
    size, zoom = (SIDE, SIDE), float(rng.uniform(0.7, 1.5))
    actor = Actor(portrait, framed(size, rng.uniform(0.45, 0.55), rng.uniform(0.36, 0.46), zoom), take)
    mouths = [MouthShape.sample(rng) for _ in range(POSES)]
    seed = int(rng.integers(1 << 30))

    def truth(pose: int, crossing: str | Crossing = "none") -> Truth:
        scene = Scene(np.random.default_rng(seed), size, (actor,), crossing, 1.0, light)
        return scene.render(pose, (mouths[pose],))

    bare = [truth(pose) for pose in range(POSES)]
    covered = [
        truth(pose, thing_at(rng, pose, portrait.person, light)) for _ in range(COVERED) for pose in range(POSES)
    ]
    unfolding = Unfolding.of(np.stack([truth.landmarks for truth in bare]))
    scale = zoom * SIDE / FIELD
    textures, masks = [], []
    for number, one in enumerate([*bare, *covered]):
        seen = off(rng, one.landmarks, scale, 3.0 if number >= POSES else 0.0)
        textures.append(unfolding.texture(one.picture, seen)[0])
        mask = np.repeat(one.occluder[..., None].astype(np.uint8) * 255, 3, -1)
        masks.append(unfolding.texture(mask, seen)[0][..., 0] > 127)
    pictures = np.clip(np.round(textures), 0, 255).astype(np.uint8)
    return Looks(pictures[:POSES], pictures[POSES:], np.stack(masks[POSES:]))


def thing_at(rng: np.random.Generator, pose: int, person: Identity, light: Light) -> Crossing:
    """A thing somewhere before the lower face in one pose."""
    make = {**COVERS, **SHAPES}[str(rng.choice(list(CHANCES), p=list(CHANCES.values())))]
    owner = person if rng.random() < OWN else Identity.sample(rng)
    way = np.full((POSES, 3), np.nan)
    way[pose] = rng.uniform(-60, 60), rng.uniform(-50, 110), rng.normal(0, 0.7)
    return Crossing(make(owner, light, rng), way)


def off(rng: np.random.Generator, points: Points, scale: float, hidden: float) -> Points:
    """Points as a detector finds them: off by about a millimetre, those of a hidden mouth and jaw by `hidden` more."""
    moved = points + rng.normal(0, 0.6 * scale, 2) + rng.normal(0, 0.6 * scale, points.shape)
    if hidden and rng.random() < 0.7:
        moved[48:] += rng.normal(0, hidden * scale, 2)
        middle = moved[48:].mean(0)
        moved[48:] = middle + (moved[48:] - middle) * rng.uniform((0.8, 0.4), (1.1, 1.6))
        moved[3:14] += rng.normal(0, hidden * scale, 2)
    return moved.astype(np.float32)


def samples(person: int, looks: Looks) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Inputs of the network (13, ROWS, COLUMNS) and what is covered (ROWS, COLUMNS)."""
    rng = np.random.default_rng((FIRST_PERSON, person, 1))
    everywhere = np.ones((ROWS, COLUMNS), np.bool_)
    frames = [*zip(looks.covered, looks.masks, strict=True), *((one, ~everywhere) for one in looks.bare)]
    for _ in range(USUALS):
        common = _usual(rng, looks)
        for picture, mask in frames:
            texture = filmed(rng, picture.astype(np.float32))
            usual = common
            kind = str(rng.choice(list(CLIPS), p=list(CLIPS.values())))
            if kind == "still":
                still = np.stack([filmed(rng, picture.astype(np.float32)) for _ in range(3)])
                usual = Usual.of(still, np.ones(still.shape[:3], np.bool_))
            elif kind == "unknown":
                hidden = everywhere if rng.random() < 0.5 else grown(rng, mask)
                usual = Usual(common.colour, common.spread, common.known & ~hidden)
            yield network_inputs(texture, everywhere, usual), mask


def _usual(rng: np.random.Generator, looks: Looks) -> Usual:
    """The usual look of a clip with some free frames, and in one of three clips some in which something covers it."""
    free = rng.choice(len(looks.bare), int(rng.integers(3, len(looks.bare) + 1)), replace=False)
    chosen = [looks.bare[number] for number in free]
    if rng.random() < CLIPS["mixed"]:
        more = rng.choice(len(looks.covered), int(rng.integers(1, 2 * len(free))), replace=False)
        chosen += [looks.covered[number] for number in more]
    textures = np.stack([filmed(rng, one.astype(np.float32), 0.5) for one in chosen])
    return Usual.of(textures, np.ones(textures.shape[:3], np.bool_))


def filmed(rng: np.random.Generator, texture: Texture, strength: float = 1.0) -> Texture:
    """A texture in another light, blurred, with the noise of a camera and the blocks of a codec."""
    y, x = np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
    light = (
        rng.normal(0, 0.06, 3)
        + strength * (rng.normal(0, 0.12) + rng.normal(0, 0.1) * x + rng.normal(0, 0.1) * y)[..., None]
    )
    if rng.random() < 0.3:  # a soft shadow
        away = np.hypot(x - rng.uniform(-1, 1), y - rng.uniform(-1, 1)) / rng.uniform(0.3, 1.2)
        light = light + (rng.uniform(-0.4, 0.2) * strength * np.exp(-(away**2)))[..., None]
    seen = texture * np.exp(light)
    if rng.random() < 0.5:
        seen = cv2.GaussianBlur(seen, (0, 0), rng.uniform(0.3, 1.4))
    seen = np.clip(seen + rng.normal(0, rng.uniform(0.5, 5), seen.shape), 0, 255)
    if rng.random() < 0.5:
        _, stored = cv2.imencode(".jpg", seen.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
        seen = cv2.imdecode(stored, cv2.IMREAD_COLOR)
    return np.asarray(seen, np.float32)


def grown(rng: np.random.Generator, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask with a margin of some texels."""
    side = int(rng.integers(1, 16))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0)


def loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross entropy, and how far each covered face is from an overlap of 1."""
    entropy = F.binary_cross_entropy_with_logits(logits, masks)
    chance = logits.sigmoid()
    both, either = (chance * masks).sum((1, 2)), (chance + masks - chance * masks).sum((1, 2))
    there = masks.sum((1, 2)) > 0
    return entropy + (OVERLAP * (1 - (both[there] + 1) / (either[there] + 1)).mean() if bool(there.any()) else 0.0)


def train(
    people: Sequence[Looks],
    epochs: int = EPOCHS,
    rate: float = RATE,
    start: OcclusionNetwork | None = None,
    on_epoch: Callable[[OcclusionNetwork], None] = lambda _: None,
) -> OcclusionNetwork:
    """The network trained on these people, from random numbers or from where another stopped, which it changes.

    `on_epoch` gets it after each epoch.
    """
    torch.manual_seed(0)
    count = sum(USUALS * (len(one.bare) + len(one.covered)) for one in people)
    planes = torch.empty(count, PLANES, ROWS, COLUMNS, dtype=torch.half)
    masks, at = torch.empty(count, ROWS, COLUMNS, dtype=torch.bool), 0
    places = torch.empty(0)
    for person, looks in enumerate(people):
        for inputs, mask in samples(person, looks):
            planes[at], masks[at], at = torch.from_numpy(inputs[:PLANES]), torch.from_numpy(mask), at + 1
            places = torch.from_numpy(inputs[PLANES:])
    network = start or OcclusionNetwork()
    network.train().requires_grad_(True).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=1e-3)
    steps = epochs * (count // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    total, step, bf16 = 0.0, 0, precision_on_cpu("bf16") == "bf16"
    for _ in range(epochs):
        order = torch.randperm(count)
        for first in range(0, count - BATCH + 1, BATCH):
            chosen = order[first : first + BATCH]
            seen, true = planes[chosen].float(), masks[chosen].float()
            if torch.rand(()) < 0.5:
                seen, true = seen.flip(-1), true.flip(-1)
            seen = torch.cat([seen, places.expand(BATCH, -1, -1, -1)], 1)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = network(seen.contiguous(memory_format=torch.channels_last))
            error = loss(logits.float(), true)
            optimizer.zero_grad()
            error.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total, step = total + float(error.detach()), step + 1
            if step % 50 == 0:
                log.info("step %d of %d: loss %.4f", step, steps, total / 50)
                total = 0.0
        on_epoch(network)
    return network.eval()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.small.occlusion", description="Trains the network that finds what covers a mouth."
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="the weights: .safetensors")
    parser.add_argument("--people", type=int, default=120, metavar="N", help="rendered people (default: %(default)s)")
    parser.add_argument("--photographs", type=Path, metavar="FOLDER", help="people who join the rendered ones")
    parser.add_argument("--epochs", type=int, default=EPOCHS, metavar="N", help="default: %(default)s")
    parser.add_argument("--rate", type=float, default=RATE, help="the highest learning rate (default: %(default)s)")
    parser.add_argument("--start", type=Path, metavar="FILE", help="weights to go on from")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    people = [looks_of(person) for person in range(options.people)]
    people += photographed(options.photographs) if options.photographs else []
    start = occlusion_network(options.start) if options.start else None
    train(people, options.epochs, options.rate, start, lambda network: save(network, options.output))
    return 0


def save(network: OcclusionNetwork, path: Path) -> None:
    """Writes the weights in 8 bits."""
    tensors = to_eight_bits(network.state_dict())
    small = {n: t.half() if t.dtype == torch.float32 else t for n, t in tensors.items()}
    with written(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in small.items()}, temporary)


if __name__ == "__main__":
    sys.exit(main())
