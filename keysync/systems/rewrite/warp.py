"""Draws chosen mouths into crops: thin-plate warps by mesh points, colour and focus matched, blended within a matte.

Pictures are (b, 3, h, w) float32, 0..1; points are (b, n, 2), x and y in pixels (0 is the left or upper edge of the
first pixel).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Of thin plates: how far they may miss their points, relative to the bending; in regions of side 2.
SMOOTHING = 1e-4
# The side of the region around mouth and chin that is drawn anew, of the crop's.
REGION = 0.625
# Nodes along a region's side at which warps are computed exactly.
NODES = 40
# The band inside a region's rim, as a share of its side, in which it fades into the crop.
RIM = 0.12
# Colours follow those around the mouth up to this much (0..1).
LARGEST_SHIFT = 0.12
# The reach of low frequencies in nodes.
LOW = 2.0
# The mouth's fine detail is made so many times stronger or weaker at most, and besides it by what it loses where mouths
# are warped and dissolve and where the crop is scaled back.
DETAIL, LOST = (0.6, 1.5), 1.1


@dataclass(frozen=True, eq=False)
class Picks:
    """m mouths to blend: each is for the frame `frame` (m,) of a batch, of `weight` (m,); the weights of a frame add up
    to 1. `patches` (m, 3, p, p) hold them, `points` (m, n, 2) are theirs in the patch."""

    frame: Tensor
    weight: Tensor
    patches: Tensor
    points: Tensor


def region(side: int) -> int:
    """The side of the region that is drawn of a crop with this side: a multiple of its nodes."""
    step = max(round(REGION * side / NODES), 1)
    return max(round(REGION * side / step), 1) * step


def _step(r: int) -> int:
    """Pixels between the nodes of a region: about a `NODES`th of it, without a rest."""
    return next(step for step in range(max(round(r / NODES), 1), 0, -1) if r % step == 0)


def thin_plates(points: Tensor, values: Tensor, positions: Tensor) -> Tensor:
    """Values (b, m, c) at positions (m, 2) of the smoothest maps that have `values` (b, n, c) at `points` (b, n, 2)."""
    b, n, _ = points.shape
    ones = points.new_ones(b, n, 1)
    affine = torch.cat((ones, points), 2)
    upper = torch.cat((_kernel(points, points) + SMOOTHING * torch.eye(n, device=points.device), affine), 2)
    lower = torch.cat((affine.transpose(1, 2), points.new_zeros(b, 3, 3)), 2)
    right = torch.cat((values, values.new_zeros(b, 3, values.shape[2])), 1)
    # One by one: torch's batched solver on a CPU raised errors inside MKL, and NumPy's keeps a second core spinning.
    systems = zip(torch.cat((upper, lower), 1).double(), right.double(), strict=True)
    solved = torch.stack([torch.linalg.solve(left, wanted) for left, wanted in systems]).to(points)
    places = positions.expand(b, -1, -1)
    basis = torch.cat((_kernel(places, points), places.new_ones(b, places.shape[1], 1), places), 2)
    found: Tensor = basis @ solved
    return found


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """r² log r between points (b, m, 2) and (b, n, 2)."""
    squares = (a[:, :, None] - b[:, None]).square().sum(-1)
    return squares * squares.clamp_min(1e-12).log() / 2


def draw(
    crops: Tensor, goals: Tensor, own: Tensor, picks: Picks, chart: Tensor, matte: Tensor, shares: Tensor
) -> tuple[Tensor, Tensor]:
    """Regions (b, 3, r, r) of crops with the picked mouths in place, and how much of each to show (r, r).

    `goals` (b, n, 2) are where the points shall be, `own` where they are; `chart` (n, 2) are their places, -1..1, in
    `matte` (1, 2, h, w): where the picked mouth replaces the crop, and where of that it is skin and not lips. `shares`
    (b,), 0..1: how much of the picked mouth each crop takes.
    """
    b, _, r, _ = crops.shape
    device = crops.device
    slot = _slots(picks.frame, b)
    slots = int(slot.max()) + 1
    values = goals.new_zeros(b, goals.shape[1], 4 + 2 * slots)
    places = goals * 2 / r - 1
    values[..., :2] = own * 2 / r - 1 - places
    values[..., 2:4] = chart
    size = picks.patches.shape[-1]
    for number in range(slots):
        chosen = slot == number
        values[picks.frame[chosen], :, 4 + 2 * number : 6 + 2 * number] = picks.points[chosen] * 2 / size - 1
    step = _step(r)
    nodes = r // step
    grid = _middles(nodes, device)
    maps = thin_plates(places, values, grid.reshape(2, -1).T).transpose(1, 2).reshape(b, -1, nodes, nodes)
    moves = _finer(maps[:, :2], step) * _rim(r, RIM, 2 * RIM, device)
    drawn = _sample(crops, _middles(r, device) + moves, "bicubic")
    # Mouths are drawn within the nodes that the matte reaches.
    reached = (_sample(matte.expand(b, -1, -1, -1), maps[:, 2:4], "bilinear") > 0).any(1).any(0)
    rows, columns = (_around(reached.any(axis)) for axis in (1, 0))
    near = _finer(maps[:, 2:, rows, columns], step)
    mattes = _sample(matte.expand(b, -1, -1, -1), near[:, :2], "bilinear")
    grids = near[:, 2:].unflatten(1, (slots, 2))[picks.frame, slot]
    mouths = _sample(picks.patches, grids, "bicubic") * picks.weight[:, None, None, None]
    part = drawn[:, :, _scaled(rows, step), _scaled(columns, step)]
    mouth = torch.zeros_like(part).index_add_(0, picks.frame, mouths)
    mouth = _matched(mouth, part, mattes[:, 1:], step)
    part += mattes[:, :1] * shares[:, None, None, None] * (mouth - part)
    return drawn.clamp_(0, 1), _rim(r, 0, RIM, device)


def moved(pictures: Tensor, goals: Tensor, own: Tensor) -> Tensor:
    """Pictures (b, 3, p, p) whose points `own` (b, n, 2) are at `goals` (b, n, 2)."""
    side = pictures.shape[-1]
    device = pictures.device
    places = goals * 2 / side - 1
    maps = thin_plates(places, own * 2 / side - 1 - places, _middles(NODES, device).reshape(2, -1).T)
    moves = maps.transpose(1, 2).reshape(len(pictures), 2, NODES, NODES)
    finer = F.interpolate(moves, side, mode="bilinear", align_corners=False)
    return _sample(pictures, _middles(side, device) + finer, "bicubic")


def _slots(frame: Tensor, frames: int) -> Tensor:
    """The place of each pick among those of its frame; picks are in the order of frames."""
    first = torch.searchsorted(frame, torch.arange(frames, device=frame.device))
    return torch.arange(len(frame), device=frame.device) - first[frame]


def _middles(count: int, device: torch.device) -> Tensor:
    """(2, count, count): x and y of the middles of so many cells a side, -1..1 from edge to edge."""
    line = (torch.arange(count, device=device) * 2 + 1) / count - 1
    return torch.stack(torch.meshgrid(line, line, indexing="ij")[::-1])


def _finer(maps: Tensor, step: int) -> Tensor:
    """Maps at the nodes as maps at the pixels."""
    return F.interpolate(maps, scale_factor=step, mode="bilinear", align_corners=False)


def _around(reached: Tensor) -> slice:
    """The nodes that are reached and one more at both ends."""
    numbers = reached.nonzero()
    first, last = (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, 0)
    return slice(max(first - 1, 0), last + 2)


def _scaled(nodes: slice, step: int) -> slice:
    return slice(nodes.start * step, nodes.stop * step)


def _matched(mouth: Tensor, crop: Tensor, skin: Tensor, step: int) -> Tensor:
    """Mouths (b, 3, h, w) with the colours and the detail that the skin (b, 1, h, w) around them has in the crop."""
    small = F.avg_pool2d(torch.cat(((crop - mouth) * skin, skin), 1), step)
    spread = _blurred(small, LOW) + 1e-3 * _blurred(small, 4 * LOW)
    shift = (spread[:, :3] / (spread[:, 3:] + 1e-6)).clamp_(-LARGEST_SHIFT, LARGEST_SHIFT)
    mouth = mouth + F.interpolate(shift, scale_factor=step, mode="bilinear", align_corners=False)
    fine = mouth - _soft(mouth)
    theirs, ours = (((x.square() * skin).sum((1, 2, 3)) + 1e-6) for x in (crop - _soft(crop), fine))
    gain = (theirs / ours).sqrt().clamp_(*DETAIL)[:, None, None, None]
    return mouth + (LOST * gain - 1) * fine


def _soft(x: Tensor) -> Tensor:
    """Pictures without their finest detail: weights 1 2 3 2 1 along rows and columns."""
    for axis in (2, 3):
        for _ in range(2):
            padded = torch.cat((x.narrow(axis, 0, 1), x, x.narrow(axis, x.shape[axis] - 1, 1)), axis)
            before, at, after = (padded.narrow(axis, start, x.shape[axis]) for start in range(3))
            x = (before + at + after) / 3
    return x


def _blurred(x: Tensor, sigma: float) -> Tensor:
    """Pictures (b, c, h, w) blurred by a Gaussian."""
    reach = int(3 * sigma) + 1
    kernel = torch.exp(-torch.arange(-reach, reach + 1, device=x.device).square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, 1, -1)
    x = F.conv2d(x, kernel, padding=(0, reach), groups=x.shape[1])
    return F.conv2d(x, kernel.transpose(2, 3), padding=(reach, 0), groups=x.shape[1])


def _rim(r: int, start: float, stop: float, device: torch.device) -> Tensor:
    """(r, r): 0 up to `start` from the rim, as a share of the side, rising to 1 at `stop`."""
    line = torch.arange(r, device=device)
    depth = torch.minimum(line, r - 1 - line) / r
    rise = ((depth - start) / (stop - start)).clamp_(0, 1)
    rise = rise * rise * (3 - 2 * rise)
    return rise[:, None] * rise


def _sample(pictures: Tensor, maps: Tensor, mode: str) -> Tensor:
    """Pictures (b, c, h, w) at the places of maps (b, 2, r, r): -1..1 from edge to edge, x first."""
    return F.grid_sample(pictures, maps.movedim(1, -1), mode=mode, padding_mode="border", align_corners=False)
