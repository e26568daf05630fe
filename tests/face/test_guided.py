"""A soft mask takes the edge of its picture."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from keysync.face.guided import guided


@pytest.mark.parametrize("scale", [1, 4])
def test_the_edge_moves_to_that_of_the_picture(scale: int) -> None:
    rng = np.random.default_rng(0)
    side = 60 * scale
    true = np.zeros((side, side), np.float32)
    true[:, side // 2 :] = 1
    picture = np.where(true[..., None] > 0, (180, 60, 40), (90, 140, 150)) + rng.normal(0, 4, (side, side, 3))
    shifted = gaussian_filter(np.roll(true, 3 * scale, 1), 2 * scale)
    shifted[:, : side // 4] = 0  # what was rolled in
    refined = guided(shifted, np.clip(picture, 0, 255).astype(np.uint8), 6.0 * scale)
    inner = slice(side // 4, -side // 4)
    before, after = ((one > 0.5)[:, inner] != (true > 0.5)[:, inner] for one in (shifted, refined))
    assert before.mean() > 0.09
    assert after.mean() < 0.03


def test_without_edges_the_mask_stays() -> None:
    rng = np.random.default_rng(0)
    mask = gaussian_filter(rng.random((50, 50)).astype(np.float32), 12)
    refined = guided(mask, np.full((50, 50, 3), 128, np.uint8), 3.0)
    assert np.abs(refined - mask).max() < 0.02
