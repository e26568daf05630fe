from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import training.weights.teeth as teeth_module
from keysync.errors import KeySyncError
from keysync.face.mesh import Meshes
from keysync.face.mouth import CORNERS, EYES
from keysync.systems.rewrite.inside import ACROSS, DOWN
from training.weights.teeth import main, teeth

SIDE = 400


class Upright:
    """Eyes 200 pixels apart, the mouth in the middle."""

    def read(self, pictures: Sequence[object]) -> Meshes:
        points = np.zeros((1, 468, 3), np.float32)
        points[0, list(EYES), :2] = (100, 100), (300, 100)
        points[0, list(CORNERS), :2] = (150, 200), (250, 200)
        return Meshes(points, np.ones(1, np.float32))


@pytest.fixture(autouse=True)
def upright(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teeth_module, "MeshReader", Upright)


def smile(lowest: int) -> NDArray[np.uint8]:
    """White teeth between red lips, down to a row."""
    picture = np.full((SIDE, SIDE, 3), (150, 40, 40), np.uint8)
    picture[lowest - 12 : lowest, 160:240] = 230
    return picture


@pytest.mark.parametrize("lowest", [204, 210])
def test_the_middle_of_the_lower_edge_is_at_the_bottom(lowest: int) -> None:
    grey, alpha = (np.asarray(band) for band in teeth(smile(lowest)).split())
    assert grey.shape == (DOWN, ACROSS)
    middle = alpha[:, ACROSS // 2]
    assert middle[-4] > 200
    assert alpha[:, 4].max() < 20  # beside the teeth
    assert grey[-6, ACROSS // 2] > 240


def test_teeth_go_on_above_their_upper_edge() -> None:
    _, alpha = teeth(smile(204)).split()
    assert np.asarray(alpha)[8, ACROSS // 2] > 200


def test_a_picture_without_teeth_is_an_error() -> None:
    with pytest.raises(KeySyncError, match="the photograph shows no teeth"):
        teeth(np.full((SIDE, SIDE, 3), (150, 40, 40), np.uint8))


def test_the_command_writes_a_picture(tmp_path: Path) -> None:
    Image.fromarray(smile(204)).save(tmp_path / "smile.png")
    assert main([str(tmp_path / "smile.png"), str(tmp_path / "teeth.png")]) == 0
    with Image.open(tmp_path / "teeth.png") as made:
        assert (made.mode, made.size) == ("LA", (ACROSS, DOWN))
