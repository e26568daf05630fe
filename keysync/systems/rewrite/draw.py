"""A span drawn with a person's own mouths: frames are watched, mouths chosen some frames later and drawn in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...face.mesh import MeshReader, as_bytes
from ...face.mouth import EYES
from ..renderer import Clock, OnStep, Span, Unchanged
from .bank import LOWER, Bank, Person, Watcher
from .choose import Chooser
from .head import Poses
from .points import POINTS
from .sightings import Seen
from .warp import Picks, draw, region

Drawn = Tensor | Unchanged

# Frames that are drawn at once.
BATCH = 8
# The picks of neighbouring frames count so much: changes of the source are short dissolves.
BLEND = 0.25
# How much of the missing gap between the lips is made up by parting or closing them further: at most this much of an
# eye distance each way, and this share of the gap.
MADE_UP, PART, CLOSE, CLOSE_SHARE = 0.8, 0.05, 0.02, 0.4
# Meshes are averaged with those of this many frames on both sides, by these weights.
KERNEL = np.array([1.0, 2.0, 3.0, 2.0, 1.0])
REACH = len(KERNEL) // 2
# A mouth turns into the frame's own one over so many frames before and after those that stay as they are.
FADE = 4
# Frames on both sides that a frame is drawn by.
NEAR = max(REACH, FADE)


@dataclass(eq=False)
class Chosen:
    """What a frame's mouth is chosen by and drawn with: what was seen there, its wanted mouth (2,), `POINTS` settled,
    the pick among the person's mouths."""

    seen: Seen
    hidden: bool
    wanted: NDArray[np.float64]
    poses: Poses
    settled: NDArray[np.float64]
    pick: int = -1

    def on(self, crop: Tensor) -> Held:
        """The same with its crop (h, w, 3) uint8."""
        return Held(self.seen, self.hidden, self.wanted, self.poses, self.settled, self.pick, crop=crop)


@dataclass(eq=False, kw_only=True)
class Held(Chosen):
    """A frame that waits, with its crop (h, w, 3) uint8."""

    crop: Tensor

    def without_crop(self) -> Chosen:
        return Chosen(self.seen, self.hidden, self.wanted, self.poses, self.settled, self.pick)


@dataclass(frozen=True)
class Tools:
    """What all spans of a run share."""

    reader: MeshReader
    device: torch.device
    clock: Clock
    on_step: OnStep | None


def draw_span(tools: Tools, bank: Bank, span: Span, wanted: NDArray[np.float64]) -> Iterator[Drawn]:
    """The frames of a span with the wanted openings and widths (n, 2) in eye distances."""
    return warp_span(tools, bank.people[span.shot], choose_span(tools, bank, span, wanted))


def choose_span(tools: Tools, bank: Bank, span: Span, wanted: NDArray[np.float64]) -> Iterator[Held]:
    """The frames of a span with their picks, which are made some frames later."""
    person = bank.people[span.shot]
    watcher, chooser = Watcher(tools.reader), Chooser(person.mouths)
    waiting: deque[Held] = deque()
    for number, (crop, mask) in enumerate(span.crops):
        with tools.clock("mesh"):
            pixels = as_bytes(crop)
            seen = bank.seen.get(span.numbers[number]) or watcher.look(pixels, mask)
        held = _hold(person, pixels, seen, wanted[number])
        waiting.append(held)
        if tools.on_step is not None:
            tools.on_step(1)
        with tools.clock("choose"):
            pick = chooser.add(held.wanted, held.poses.angles[0], float(np.log(held.poses.scale[0])), held.seen.light)
        if pick is not None:
            yield _picked(waiting.popleft(), pick)
    for pick in chooser.finish():
        yield _picked(waiting.popleft(), pick)


def warp_span(tools: Tools, person: Person, chosen: Iterable[Held]) -> Iterator[Drawn]:
    """The frames of a span as they are drawn, `BATCH` at once from its first on: what is drawn together has an effect
    on rounding."""
    frames: deque[Held] = deque()  # from NEAR before the next frame to draw
    first, drawn = 0, 0  # numbers in the span: of frames[0], next to be drawn

    def batch(stop: int) -> list[Drawn]:
        nonlocal first, drawn
        with tools.clock("warp"):
            made = _draw(tools.device, person, list(frames), range(drawn - first, stop - first))
        drawn = stop
        while first < drawn - NEAR:
            frames.popleft()
            first += 1
        return made

    for held in chosen:
        frames.append(held)
        if first + len(frames) - drawn == BATCH + NEAR:
            yield from batch(drawn + BATCH)
    while drawn < (end := first + len(frames)):
        yield from batch(min(drawn + BATCH, end))


def _picked(held: Held, pick: int) -> Held:
    held.pick = pick
    return held


def _hold(person: Person, pixels: Tensor, seen: Seen, wanted: NDArray[np.float64]) -> Held:
    poses = Poses.of(seen.mesh[None], person.reference)
    settled = poses.settle(seen.mesh[None])[0, list(POINTS)]
    return Held(seen, person.hides(seen), wanted, poses, settled, crop=pixels)


def _draw(device: torch.device, person: Person, frames: list[Held], which: range) -> list[Drawn]:
    shown = [index for index in which if not frames[index].hidden]
    made = dict(zip(shown, _draw_shown(device, person, frames, shown), strict=True)) if shown else {}
    return [made.get(index, HIDDEN) for index in which]


HIDDEN = Unchanged("something hides the mouth")


def _draw_shown(device: torch.device, person: Person, frames: list[Held], shown: list[int]) -> Iterator[Tensor]:
    goals, own, corners, picks, shares = [], [], [], [], []
    side = frames[shown[0]].crop.shape[0]
    size = region(side)
    for batch, index in enumerate(shown):
        frame, settled = frames[index], _calm(frames, index)
        blend = _blend(person, frames, index)
        mouth = sum(weight * person.settled[pick] for pick, weight in blend.items())
        gap = sum(weight * person.mouths.measures[pick, 0] for pick, weight in blend.items())
        missing = MADE_UP * (frame.wanted[0] - gap)
        missing = float(np.clip(missing, -min(CLOSE_SHARE * gap, CLOSE), PART))
        goal = settled + person.following[:, None] * (mouth - settled)
        goal[:, 1] += missing * person.parting
        share = _share(frames, index)
        goal = settled + share * (goal - settled)
        placed = frame.poses.place(np.stack([goal, settled]))[..., :2]
        middle, eyes = frame.seen.mesh[[13, 14], :2].mean(0), _eyes(frame.seen)
        middle[1] += (LOWER + 0.2) * eyes
        corner = (middle - size / 2).round().clip(0, side - size).astype(int)
        goals.append(placed[0] - corner)
        own.append(placed[1] - corner)
        corners.append(corner.tolist())
        shares.append(share)
        picks += [(batch, pick, weight) for pick, weight in blend.items()]
    crops = [frames[index].crop[y : y + size, x : x + size] for index, (x, y) in zip(shown, corners, strict=True)]
    number = [pick for _, pick, _ in picks]
    regions, show = draw(
        _planes(torch.stack(crops), device),
        torch.from_numpy(np.stack(goals)).float().to(device),
        torch.from_numpy(np.stack(own)).float().to(device),
        Picks(
            torch.tensor([batch for batch, _, _ in picks], device=device),
            torch.tensor([weight for _, _, weight in picks], device=device),
            _planes(person.patches[number], device),
            torch.from_numpy(person.points[number]).to(device),
        ),
        person.chart.to(device),
        person.matte.to(device),
        torch.tensor(shares, device=device),
    )
    for index, (x, y), part in zip(shown, corners, regions.cpu(), strict=True):
        picture = torch.zeros(side, side, 4)
        picture[..., :3] = frames[index].crop.float() / 255
        picture[y : y + size, x : x + size, :3] = part.permute(1, 2, 0)
        picture[y : y + size, x : x + size, 3] = show.cpu()
        yield picture


def _planes(pictures: Tensor, device: torch.device) -> Tensor:
    """(b, h, w, 3) uint8 -> (b, 3, h, w), 0..1."""
    return pictures.to(device).permute(0, 3, 1, 2).float() / 255


def _eyes(seen: Seen) -> float:
    return float(np.linalg.norm(seen.mesh[EYES[0]] - seen.mesh[EYES[1]]))


def _calm(frames: list[Held], index: int) -> NDArray[np.float64]:
    """The settled points (n, 3) of a frame without jitter: averaged with its visible neighbours'."""
    near = [
        (weight, frames[other].settled)
        for other, weight in enumerate(KERNEL, start=index - REACH)
        if 0 <= other < len(frames) and (other == index or not frames[other].hidden)
    ]
    mean: NDArray[np.float64] = sum(weight * points for weight, points in near) / sum(weight for weight, _ in near)
    return mean


def _share(frames: list[Held], index: int) -> float:
    """How much of the chosen mouth a frame shows, 0..1: less next to frames that stay as they are."""
    away = min((abs(other - index) for other, held in enumerate(frames) if held.hidden), default=FADE)
    return min(away, FADE) / FADE


def _blend(person: Person, frames: list[Held], index: int) -> dict[int, float]:
    """The mouths that a frame shows, with weights that add up to 1: its own pick, and those that its neighbours' picks
    go on or begin with."""
    number, count = person.mouths.number, len(person.mouths.number)
    pick = frames[index].pick
    blend = {pick: 1 - 2 * BLEND}
    for step in (-1, 1):
        other = index + step
        near = frames[other].pick if 0 <= other < len(frames) and frames[other].pick >= 0 else pick
        beside = near - step
        if not (0 <= beside < count and number[beside] - number[near] == -step):
            beside = near
        blend[beside] = blend.get(beside, 0.0) + BLEND
    return blend
