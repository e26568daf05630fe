from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter, shift

from training.evaluation.real.dubs import Scene
from training.evaluation.real.flicker import BLOCK, bends, skin
from training.evaluation.real.looks import PATCH

INNER = slice(1, -1)  # blocks that no shift brings the other side into


def textured(scene: Scene, moves: list[float], levels: list[float]) -> float:
    """The bend of a texture that moves to the right and changes its brightness."""
    rng = np.random.default_rng(0)
    texture = 128 + 200 * gaussian_filter(rng.normal(size=(PATCH, PATCH)), 3)
    frames = [shift(texture, (0, move), mode="nearest") + level for move, level in zip(moves, levels, strict=True)]
    source = replace(scene.source, patches=np.stack(frames).clip(0, 255).round().astype(np.uint8))
    return float(bends(source)[:, INNER, INNER].mean())


def test_rest_and_steady_motion_do_not_flicker(scene: Scene) -> None:
    assert textured(scene, [0] * 5, [0] * 5) == 0
    assert textured(scene, [0, 2, 4, 6, 8], [0] * 5) < 0.1


def test_trembling_and_pumping_do(scene: Scene) -> None:
    assert textured(scene, [0, 2, 0, 2, 0], [0] * 5) > 1
    assert textured(scene, [0] * 5, [0, 6, 0, 6, 0]) > 4


def test_skin_is_below_the_nose_beside_the_lips_and_of_one_shot(scene: Scene) -> None:
    found = skin(scene.source, scene.source, scene.anchors)
    rows = PATCH // BLOCK
    assert found.shape == (scene.clip.frames - 2, rows, rows)
    assert 0.03 < found.mean() < 0.5
    assert not found[:, rows // 2 - 1 : rows // 2 + 1, rows // 2 - 1 : rows // 2 + 1].any()
    run = scene.anchors.run.copy()
    run[20:] = 1
    cut = skin(scene.source, scene.source, replace(scene.anchors, run=run))
    assert np.flatnonzero(~cut.any((1, 2))).tolist() == [18, 19]
