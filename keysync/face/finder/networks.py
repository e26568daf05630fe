"""MediaPipe's face networks in torch: two detectors and the face mesh with its attention on lips and eyes.

Pictures are (n, 3, h, w); outputs are in the pixels of the network's input. The detectors are BlazeFace's short-range
and full-range networks (Bazarevsky et al., 2019, https://arxiv.org/abs/1907.05047), the mesh is Attention Mesh
(Grishchenko et al., 2020, https://arxiv.org/abs/2006.10962). Shapes and order of layers are those of the published
TFLite files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .points import CORNERS, PARTS

# Values per anchor: centre and size of the box, then six key points, x before y.
COORDINATES = 16


class ConvSame(nn.Conv2d):
    """A convolution with TensorFlow's "SAME" padding: the odd pixel is on the right and at the bottom."""

    def forward(self, x: Tensor) -> Tensor:
        missing = max(self.kernel_size[0] - self.stride[0], 0)
        before, after = missing // 2, missing - missing // 2
        if before != after:
            x, before = F.pad(x, (before, after, before, after)), 0
        return F.conv2d(x, self.weight, self.bias, self.stride, before, 1, self.groups)


class Pointwise(nn.Conv2d):
    """A 1x1 convolution, computed as a matrix product, which takes a CPU half the time."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__(inner, outer, 1)

    def forward(self, x: Tensor) -> Tensor:
        # n c h w -> n h w c -> n c h w
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class Residual(nn.Module):
    """Depthwise and pointwise convolution with a skip that is pooled and zero-padded to the same shape."""

    def __init__(self, inner: int, outer: int, stride: int, activation: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.depthwise = ConvSame(inner, inner, 3, stride, groups=inner)
        self.pointwise = Pointwise(inner, outer)
        self.activation = activation(outer)
        self.stride, self.new_channels = stride, outer - inner

    def forward(self, x: Tensor) -> Tensor:
        y = self.pointwise(self.depthwise(x))
        if self.stride == 2:
            x = F.max_pool2d(x, 2)
        if self.new_channels:
            x = F.pad(x, (0, 0, 0, 0, 0, self.new_channels))
        activated: Tensor = self.activation(x + y)
        return activated


def _relu(channels: int) -> nn.Module:
    return nn.ReLU()


def _residuals(inner: int, rows: Sequence[tuple[int, int]], activation: Callable[[int], nn.Module]) -> nn.Sequential:
    """A chain of residual blocks, (channels, stride) each."""
    blocks = []
    for outer, stride in rows:
        blocks.append(Residual(inner, outer, stride, activation))
        inner = outer
    return nn.Sequential(*blocks)


class ShortRange(nn.Module):
    """The short-range detector: pictures (n, 3, 128, 128), -1..1, to boxes (n, 896, 16) and score logits (n, 896).

    It finds faces that fill a tenth of the picture or more.
    """

    size = 128
    # Cells per side and anchors per cell of each grid.
    anchors = ((16, 2), (8, 6))

    def __init__(self) -> None:
        super().__init__()
        fine = [(24, 1), (28, 1), (32, 2), (36, 1), (42, 1), (48, 2), (56, 1), (64, 1), (72, 1), (80, 1), (88, 1)]
        self.stem = nn.Sequential(ConvSame(3, 24, 5, 2), nn.ReLU())
        self.fine = _residuals(24, fine, _relu)
        self.coarse = _residuals(88, [(96, 2), (96, 1), (96, 1), (96, 1), (96, 1)], _relu)
        self.fine_score, self.coarse_score = Pointwise(88, 2), Pointwise(96, 6)
        self.fine_box, self.coarse_box = Pointwise(88, 2 * COORDINATES), Pointwise(96, 6 * COORDINATES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(self.stem(x))
        coarse = self.coarse(fine)
        boxes = torch.cat(
            [_by_anchor(self.fine_box(fine), COORDINATES), _by_anchor(self.coarse_box(coarse), COORDINATES)], 1
        )
        scores = torch.cat([_by_anchor(self.fine_score(fine), 1), _by_anchor(self.coarse_score(coarse), 1)], 1)
        return boxes, scores[..., 0]


class Bottleneck(nn.Module):
    """Two depthwise-pointwise pairs, narrow between them, with a skip if the size is unchanged."""

    def __init__(self, inner: int, narrow: int, outer: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(inner, inner, 3, stride, 1, groups=inner)
        self.squeeze = Pointwise(inner, narrow)
        self.second = nn.Conv2d(narrow, narrow, 3, 1, 1, groups=narrow)
        self.expand = Pointwise(narrow, outer)
        self.has_skip = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(self.second(F.relu(self.squeeze(self.first(x)))))
        return F.relu(x + y if self.has_skip else y)


class FullRange(nn.Module):
    """The full-range detector: pictures (n, 3, 192, 192), -1..1, to boxes (n, 2304, 16) and score logits (n, 2304).

    A feature pyramid of 48, 24, 12 and 6 cells per side; the outputs are computed at the finest level.
    """

    size = 192
    anchors = ((48, 1),)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.down1 = nn.Sequential(
            Bottleneck(32, 8, 32),
            Bottleneck(32, 8, 32),
            Bottleneck(32, 16, 64, 2),
            Bottleneck(64, 16, 64),
            Bottleneck(64, 16, 64),
        )
        self.side1 = Pointwise(64, 48)
        self.down2 = nn.Sequential(Bottleneck(64, 32, 128, 2), Bottleneck(128, 32, 128), Bottleneck(128, 32, 128))
        self.side2 = Pointwise(128, 64)
        self.down3 = nn.Sequential(Bottleneck(128, 48, 192, 2), Bottleneck(192, 48, 192), Bottleneck(192, 48, 192))
        self.side3 = Pointwise(192, 96)
        self.down4 = nn.Sequential(Bottleneck(192, 96, 384, 2), *(Bottleneck(384, 96, 384) for _ in range(3)))
        self.narrow4 = Pointwise(384, 96)
        self.up3 = nn.Sequential(Bottleneck(96, 48, 96), Bottleneck(96, 48, 96))
        self.narrow3 = Pointwise(96, 64)
        self.up2 = nn.Sequential(Bottleneck(64, 32, 64), Bottleneck(64, 32, 64))
        self.narrow2 = Pointwise(64, 48)
        self.up1 = Bottleneck(48, 24, 48)
        self.score = nn.Sequential(Pointwise(48, 4), nn.Conv2d(4, 4, 3, 2, 1, groups=4), nn.PixelShuffle(2))
        self.box = nn.Sequential(Pointwise(48, 64), nn.Conv2d(64, 64, 3, 2, 1, groups=64), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x1 = self.down1(F.relu(self.stem(x)))
        x2 = self.down2(x1)
        x3 = self.down3(x2)
        x4 = self.down4(x3)
        y = self.up3(F.relu(self.side3(x3)) + _double(F.relu(self.narrow4(x4))))
        y = self.up2(F.relu(self.side2(x2)) + _double(F.relu(self.narrow3(y))))
        y = self.up1(F.relu(self.side1(x1)) + _double(F.relu(self.narrow2(y))))
        return _by_anchor(self.box(y), COORDINATES), _by_anchor(self.score(y), 1)[..., 0]


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _by_anchor(x: Tensor, values: int) -> Tensor:
    """(n, anchors * values, h, w) -> (n, h * w * anchors, values)."""
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, values)


class Attention(nn.Module):
    """Refines one part of the face: early features (n, 32, h, w) and coarse points (n, 468, 2) to finer points.

    The part's points are (n, part, 2), in pixels of the picture of `side` pixels that the features cover.
    """

    # Size of the crop relative to the bounding box of the coarse points, and its cells per side.
    scale, cells = 1.5, 16
    # The crop's side in the network's units: four pixels of the mesh's input per cell.
    unit = 64.0

    indices: Tensor
    places: Tensor

    def __init__(self, part: tuple[int, ...], corners: tuple[int, int]) -> None:
        super().__init__()
        rows = [(32, 1), (32, 1), (64, 2), (64, 1), (64, 1), (128, 2), (128, 1), (128, 1), (128, 2), (128, 1), (128, 1)]
        self.blocks = _residuals(32, rows, nn.PReLU)
        self.neck = _neck()
        self.points = nn.Conv2d(32, 2 * len(part), 2)
        self.corners = corners
        self.register_buffer("indices", torch.tensor(part), persistent=False)
        middles = (torch.arange(self.cells) + 0.5) * (2 / self.cells) - 1
        places = torch.stack(torch.meshgrid(middles, middles, indexing="xy"), -1).reshape(1, -1, 2)
        self.register_buffer("places", places, persistent=False)

    def forward(self, features: Tensor, coarse: Tensor, side: int) -> Tensor:
        axes, centre = self._frame(coarse)
        grid = (self.places @ axes.mT + centre[:, None]) * (2 / side) - 1
        grid = grid.reshape(-1, self.cells, self.cells, 2)
        crops = F.grid_sample(features, grid, align_corners=False, padding_mode="border")
        points = self.points(self.neck(self.blocks(crops))).reshape(len(crops), -1, 2)
        placed: Tensor = (points * (2 / self.unit) - 1) @ axes.mT + centre[:, None]
        return placed

    def _frame(self, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """The crop: half axes (n, 2, 2) in columns, the first along the part's corners, and centre (n, 2)."""
        along = coarse[:, self.corners[1]] - coarse[:, self.corners[0]]
        along = along / along.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        turn = torch.stack([along, torch.stack([-along[:, 1], along[:, 0]], -1)], -1)
        turned = coarse[:, self.indices] @ turn
        low, high = turned.amin(1), turned.amax(1)
        centre = (turn @ ((low + high) / 2)[..., None])[..., 0]
        return turn * (self.scale / 2 * (high - low))[:, None], centre


class FaceMesh(nn.Module):
    """The face mesh: pictures (n, 3, 192, 192), 0..1, of upright faces to points (n, 468, 3) and logits (n,).

    Points are x, y and depth in pixels of the picture; the logit is that of a face being present. The coarse points of
    lips, eyes and brows are replaced by refined ones.
    """

    size = 192
    points = 468

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvSame(3, 16, 3, 2), nn.PReLU(16))
        self.early = _residuals(16, [(16, 1), (16, 1), (32, 2)], nn.PReLU)
        rows = [(32, 1), (32, 1), *[(64, 2), (64, 1), (64, 1)], *[(128, 2), (128, 1), (128, 1)] * 3]
        self.late = _residuals(32, rows, nn.PReLU)
        self.neck = _neck()
        self.mesh = nn.Conv2d(32, 3 * self.points, 3)
        self.presence = nn.Conv2d(32, 1, 3)
        self.attention = nn.ModuleDict({part: Attention(PARTS[part], CORNERS[part]) for part in PARTS})

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        early = self.early(self.stem(x))
        late = self.neck(self.late(early))
        mesh = self.mesh(late).reshape(len(x), self.points, 3)
        fine = mesh.clone()
        for attention in self.attention.values():
            fine[:, attention.indices, :2] = attention(early, mesh[..., :2], x.shape[-1])
        return fine, self.presence(late).reshape(len(x))


def _neck() -> nn.Sequential:
    return nn.Sequential(Pointwise(128, 32), nn.PReLU(32), Residual(32, 32, 1, nn.PReLU))
