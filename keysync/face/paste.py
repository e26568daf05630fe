"""Puts a generated crop back into its frame: low frequencies matched, edge feathered, the rest untouched.

The feather lies inside the mask, so a pixel outside the mask keeps its bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .crop import Box, Picture, region, resize
from .turn import Turned, sample

FEATHER = 0.04  # of the crop's side
# Colours follow the frame around the mask up to this much (0..1): a larger difference is content, not a colour shift.
LARGEST_SHIFT = 0.1
# A cell of the pyramid is known in full where the ring covers one in so many of its pixels.
FILLED = 4.0
ALL = slice(None), slice(None)
# Red, green and blue in the luma of BT.709.
LUMA = (0.2126, 0.7152, 0.0722)


class Sides(NamedTuple):
    """Which sides of a crop lie on the frame's border: there is nothing beyond to blend into."""

    top: bool = False
    bottom: bool = False
    left: bool = False
    right: bool = False


@dataclass(frozen=True, eq=False)
class Place:
    """Where a crop goes in its frame.

    Of the crop at `side` pixels, the rows and columns `part` go to the rows and columns `region` of the frame; of a
    turned one, what lies at `grid` (h, w, 2), -1..1 inside the crop. The others are of the region's size: `mask`
    (h, w), 0 or 1, says where the crop replaces the frame, `matte` (h, w), 0..1, by how much. `feather` is the width of
    the matte's soft edge in pixels; `matched` whether the crop has the frame's colours already.
    """

    region: tuple[slice, slice]
    mask: Tensor
    matte: Tensor
    feather: float
    side: int
    part: tuple[slice, slice] = ALL
    matched: bool = False
    grid: Tensor | None = None

    @staticmethod
    def of(mask: Picture, box: Box, frame_size: tuple[int, int], feather: float = FEATHER) -> Place:
        """The place of a crop cut at `box`, upright or turned, in a frame of `frame_size` (h, w).

        mask (H, W), above 0.5 where the crop is generated, at any size; `feather` is a share of the crop's side.
        """
        bare = _Bare.of(mask, box, frame_size)
        width = feather * bare.side
        matte = feathered(bare.inside, width, bare.border)
        return Place(bare.region, bare.inside.float(), matte, width, bare.side, grid=bare.grid)

    @staticmethod
    def less(mask: Picture, box: Box, frame_size: tuple[int, int], shown: Tensor, feather: float = FEATHER) -> Place:
        """The place of a crop that shows only by so much as `shown` (H, W), 0..1, says, and has the frame's colours."""
        bare = _Bare.of(mask, box, frame_size)
        share = _seen(shown[None, None].float(), bare.side, bare.grid)[0, 0]
        width = feather * bare.side
        # Beyond this reach nothing changes the matte where the crop shows.
        reach = math.ceil(width) + 1
        part = rows, columns = _around(share > 0, 1, reach), _around(share > 0, 0, reach)
        h, w = share.shape
        ends = Sides(
            top=bare.border.top or rows.start > 0,
            bottom=bare.border.bottom or rows.stop < h,
            left=bare.border.left or columns.start > 0,
            right=bare.border.right or columns.stop < w,
        )
        top, left = (side.start for side in bare.region)
        near = bare.inside[part]
        return Place(
            (slice(top + rows.start, top + rows.stop), slice(left + columns.start, left + columns.stop)),
            near.float(),
            feathered(near, width, ends) * share[part],
            width,
            bare.side,
            part if bare.grid is None else ALL,
            matched=True,
            grid=None if bare.grid is None else bare.grid[part],
        )

    def see(self, planes: Tensor, scaling: str) -> Tensor:
        """Planes (1, c, H, W) of the crop as they lie in the region: (1, c, h, w)."""
        rows, columns = self.part
        return _seen(planes, self.side, self.grid, scaling)[..., rows, columns]

    @property
    def beyond(self) -> NDArray[np.bool_]:
        """(h, w): the pixels of the region that the crop does not reach."""
        if self.grid is None:
            return np.zeros(self.mask.shape, dtype=np.bool_)
        outside: NDArray[np.bool_] = (self.grid.abs() > 1).any(-1).numpy()
        return outside


@dataclass(frozen=True, eq=False)
class _Bare:
    """A place without its matte: whether each pixel of the region is `inside` the mask, and which of the region's sides
    are the frame's."""

    region: tuple[slice, slice]
    side: int
    inside: Tensor
    border: Sides
    grid: Tensor | None = None

    @classmethod
    def of(cls, mask: Picture, box: Box, frame_size: tuple[int, int]) -> _Bare:
        h, w = frame_size
        side, turned = int(box[2]), Turned.of(box)
        planes = torch.as_tensor(mask)[None, None].float().cpu()  # h w -> 1 1 h w
        rows, columns = where = turned.region(frame_size) if turned else region(box)
        grid = turned.places(where) if turned else None
        if grid is None:
            inside = F.interpolate(planes, (side, side), mode="nearest")[0, 0] > 0.5
        else:
            inside = (sample(planes, grid, "nearest")[0, 0] > 0.5) & (grid.abs() <= 1).all(-1)
        border = Sides(rows.start == 0, rows.stop == h, columns.start == 0, columns.stop == w)
        return cls(where, side, inside, border, grid)


def _seen(planes: Tensor, side: int, grid: Tensor | None, scaling: str = "bilinear") -> Tensor:
    """Planes (1, c, H, W) of a crop at `side` pixels, or as they lie at a grid."""
    scaled = resize(planes, (side, side), scaling)
    return scaled if grid is None else sample(scaled, grid, scaling)


def _around(shown: Tensor, axis: int, reach: int) -> slice:
    """The rows (axis 1) or columns (axis 0) in which something shows, and so many more at both ends."""
    numbers = shown.any(axis).nonzero()
    if not len(numbers):
        return slice(0, 1)
    return slice(max(int(numbers[0]) - reach, 0), min(int(numbers[-1]) + 1 + reach, shown.shape[1 - axis]))


@overload
def paste(frame: NDArray[Any], generated: Picture, place: Place, scaling: str = ...) -> NDArray[Any]: ...


@overload
def paste(frame: Tensor, generated: Picture, place: Place, scaling: str = ...) -> Tensor: ...


def paste(frame: Picture, generated: Picture, place: Place, scaling: str = "bilinear") -> Picture:
    """A new frame with the generated crop in its place.

    frame (h, w, 3), uint8 or float 0..1, array or tensor: the result is of its kind. generated (H, W, 3), 0..1, at any
    size, is scaled by `scaling`. Every pixel outside the place's mask is bit-identical to the frame's.
    """
    if isinstance(frame, Tensor):
        return torch.from_numpy(_paste(frame.cpu().numpy(), generated, place, scaling)).to(frame.device)
    return _paste(frame, generated, place, scaling)


def grey(picture: Tensor) -> Tensor:
    """A picture (H, W, 3) without its colour: three times its luma (BT.709)."""
    luma = (picture * picture.new_tensor(LUMA)).sum(-1, keepdim=True)
    return luma.expand(-1, -1, 3)


def feathered(mask: Picture, width: float, frame_border: Sides | None = None) -> Tensor:
    """The matte (h, w), 0..1, of a mask (h, w): 0 outside, rising inwards over `width` pixels to 1.

    It falls to 0 at the picture's own border too, except on the sides that are the frame's border.
    """
    from scipy.ndimage import distance_transform_edt  # here: a third of what the nodes' import may take

    inside = torch.as_tensor(mask).cpu().numpy() > 0.5
    border = frame_border or Sides()
    # Beyond the frame's border the mask goes on; beyond the crop's own it ends.
    reach = math.ceil(width) + 1
    top, bottom, left, right = (reach if side else 0 for side in border)
    extended = np.pad(np.pad(inside, ((top, bottom), (left, right)), mode="edge"), 1, mode="constant")
    depth = distance_transform_edt(extended)[1 + top :, 1 + left :][: inside.shape[0], : inside.shape[1]]
    rise = np.minimum(depth / (width + 1), 1)
    return torch.from_numpy(rise * rise * (3 - 2 * rise)).float()


def _paste(frame: NDArray[Any], generated: Picture, place: Place, scaling: str) -> NDArray[Any]:
    result = frame.copy()
    pixels = result[place.region]
    alpha = place.matte.numpy()[..., None]
    levels = 255.0 if frame.dtype == np.uint8 else 1.0
    source = pixels.astype(np.float32) / levels
    planes = torch.as_tensor(generated).detach().cpu().float().permute(2, 0, 1)[None]  # h w c -> 1 c h w
    new = place.see(planes, scaling)[0].permute(1, 2, 0).numpy()
    if not place.matched:
        shift = _colour_shift(source, new, place.mask.numpy() > 0.5, place.feather, place.beyond)
        new = np.clip(new + shift, 0, 1)
    blended = (source + alpha * (new - source)) * levels
    if frame.dtype == np.uint8:
        blended = np.round(blended)
    pixels[...] = np.where(alpha > 0, blended.astype(frame.dtype), pixels)
    return result


def _colour_shift(
    source: NDArray[np.float32],
    new: NDArray[np.float32],
    inside: NDArray[np.bool_],
    width: float,
    beyond: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """What to add to the new picture (h, w, 3) so that its low frequencies agree with the source's around the mask.
    There is no new picture `beyond` (h, w).

    In the ring around the mask the network only redraws its input, so a difference there is the model's own. Inside, it
    goes on smoothly from one side of the ring to the other, as a membrane does: each level of a pyramid fills the next
    finer one where that has no part of the ring.
    """
    from scipy.ndimage import maximum_filter

    reach = max(2, round(width))
    ring = maximum_filter(inside, size=2 * reach + 1) & ~inside & ~beyond
    if not ring.any():
        return np.zeros(3, dtype=np.float32)
    known = torch.from_numpy(np.dstack([np.where(ring[..., None], source - new, 0), ring]).astype(np.float32))
    # Finer than the ring is wide would be its content. h w c -> 1 c h w
    levels = [_halved(known.permute(2, 0, 1)[None], reach)]
    while max(levels[-1].shape[2:]) > 1:
        levels.append(_halved(levels[-1], 2))
    filled = _mean(levels[-1])
    for level in reversed(levels[:-1]):
        share = (level[:, 3:] * FILLED).clamp_max(1)
        coarser = F.interpolate(filled, level.shape[2:], mode="bilinear", align_corners=False)
        filled = torch.lerp(coarser, _mean(level), share)
    field = F.interpolate(filled, source.shape[:2], mode="bilinear", align_corners=False)
    shift: NDArray[np.float32] = field[0].permute(1, 2, 0).clamp(-LARGEST_SHIFT, LARGEST_SHIFT).numpy()
    return shift


def _halved(planes: Tensor, factor: int) -> Tensor:
    """Planes (1, c, h, w) averaged over squares of `factor` pixels; parts of squares count as little as they cover."""
    h, w = planes.shape[2:]
    return F.avg_pool2d(F.pad(planes, (0, -w % factor, 0, -h % factor)), factor)


def _mean(level: Tensor) -> Tensor:
    """The differences (1, 3, h, w) of a level (1, 4, h, w), whose fourth plane says how much of each is known."""
    return level[:, :3] / level[:, 3:].clamp_min(1e-6)
