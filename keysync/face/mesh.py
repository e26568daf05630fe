"""The face mesh of pictures that a face is centred in, such as crops: 468 points with depth, in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from .finder.finder import MESH_SCALE, WEIGHTS
from .finder.networks import FaceMesh
from .finder.points import EYE_CORNERS
from .finder.squares import Square, batch, cut

POINTS = FaceMesh.points
# Pictures in one evaluation of the network.
BATCH = 16


@dataclass(frozen=True, eq=False)
class Meshes:
    """Meshes of n pictures: points (n, 468, 3) float32, and the confidence (n,), 0..1, that each is on a face.

    x and y are continuous pixel coordinates as in `face.face`; depth is in the same unit, smaller towards the viewer.
    """

    points: NDArray[np.float32]
    confidence: NDArray[np.float32]

    def place(self, number: int) -> Square:
        """The square around one mesh, with the face upright, where the next picture of the face is read."""
        return place_of(self.points[number])


class MeshReader:
    """Reads the mesh of one face per picture; the weights are built in."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self._device = torch.device(device)
        self._network = FaceMesh()
        stored = {k.removeprefix("mesh."): v for k, v in load_file(WEIGHTS).items() if k.startswith("mesh.")}
        self._network.load_state_dict(stored)
        self._network.to(self._device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network.eval().requires_grad_(False)

    def read(self, pictures: Tensor, places: Sequence[Square] | None = None) -> Meshes:
        """The meshes of pictures (n, h, w, 3), uint8 or 0..1.

        `places` are squares around each face, half as large again as the face and turned like it. Without them the face
        is in the middle, of half the picture's size, as in a crop: the mesh is then read twice, since the first tells
        the place exactly.
        """
        pictures = as_bytes(pictures)
        return self._read(pictures, self.places(pictures) if places is None else places)

    def places(self, pictures: Tensor) -> list[Square]:
        """Where the faces in the middle of pictures (n, h, w, 3) are."""
        pictures = as_bytes(pictures)
        height, width = pictures.shape[1:3]
        middle = Square(width / 2, height / 2, MESH_SCALE * max(height, width) / 2)
        first = self._read(pictures, [middle] * len(pictures))
        return [first.place(number) for number in range(len(pictures))]

    @torch.inference_mode()
    def features(self, pictures: Tensor) -> Tensor:
        """What the network makes of the faces in the middle of pictures (n, h, w, 3): float32 (n, 320) on the CPU.

        Mean and spread over the picture of the channels of an early and of a late layer.
        """
        pictures = as_bytes(pictures)
        rows = []
        for inputs in self._inputs(pictures, self.places(pictures)):
            early = self._network.early(self._network.stem(inputs))
            late = self._network.late(early)
            rows.append(torch.cat([part for x in (early, late) for part in (x.mean((2, 3)), x.std((2, 3)))], 1))
        return torch.cat(rows).cpu()

    @torch.inference_mode()
    def _read(self, pictures: Tensor, places: Sequence[Square]) -> Meshes:
        outputs = [self._network(inputs) for inputs in self._inputs(pictures, places)]
        confidence = torch.cat([logits for _, logits in outputs]).double().sigmoid().float().cpu().numpy()
        meshes = torch.cat([points for points, _ in outputs]).cpu().numpy() / FaceMesh.size
        points = np.empty(meshes.shape, np.float32)
        for number, (mesh, square) in enumerate(zip(meshes, places, strict=True)):
            points[number, :, :2] = square.to_picture(mesh[:, :2])
            points[number, :, 2] = mesh[:, 2] * square.side
        return Meshes(points, confidence)

    def _inputs(self, pictures: Tensor, places: Sequence[Square]) -> Iterator[Tensor]:
        for start in range(0, len(pictures), BATCH):
            part = slice(start, start + BATCH)
            cuts = [
                cut(picture.to(self._device), square, FaceMesh.size, black_outside=False)
                for picture, square in zip(pictures[part], places[part], strict=True)
            ]
            yield batch(cuts) / 255


def place_of(points: NDArray[np.floating[Any]]) -> Square:
    """The square around a mesh (468, 2 or 3), see `Meshes.place`."""
    flat = points[:, :2].astype(np.float64)
    low, high = flat.min(0), flat.max(0)
    (x, y), (right, down) = (low + high) / 2, flat[EYE_CORNERS[1]] - flat[EYE_CORNERS[0]]
    return Square(float(x), float(y), MESH_SCALE * float((high - low).max()), math.atan2(down, right))


def as_bytes(pictures: Tensor) -> Tensor:
    """Pictures as uint8; those in floating point are 0..1."""
    if pictures.dtype == torch.uint8:
        return pictures
    return (pictures * 255).round_().clamp_(0, 255).to(torch.uint8)
