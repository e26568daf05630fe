"""A seam is measured where one is, and a paste leaves none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from keysync.face.crop import crop
from keysync.face.paste import Place, paste
from keysync.measure.seam import seam, steepness

SIDE = 160


def picture() -> NDArray[np.uint8]:
    """Soft blotches with a little grain."""
    rng = np.random.default_rng(0)
    soft = gaussian_filter(rng.normal(size=(SIDE, SIDE, 3)), (9, 9, 0))
    made: NDArray[np.uint8] = np.clip(128 + 600 * soft + rng.normal(0, 1, soft.shape), 0, 255).astype(np.uint8)
    return made


def box_mask() -> NDArray[np.bool_]:
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[60:130, 40:120] = True
    return mask


def test_the_source_has_no_seam_and_a_hard_edge_has_one() -> None:
    source, mask = picture(), box_mask()
    hard = np.where(mask[..., None], np.clip(source.astype(int) + 20, 0, 255), source).astype(np.uint8)
    assert seam(source[None], source[None], mask[None]) == pytest.approx(1)
    assert seam(source[None], hard[None], mask[None]) > 1.5
    assert steepness(source, np.ones_like(mask)) == 0


@pytest.mark.parametrize("shade", ["even", "from left to right", "below"])
def test_a_paste_with_shades_of_its_own_leaves_no_seam(shade: str) -> None:
    """Of up to 8 %: lighter on the left and darker on the right, or in the collar alone."""
    source, mask = picture(), box_mask()
    ramp = np.linspace(-0.08, 0.08, SIDE, dtype=np.float32)
    shades = {
        "even": np.full((SIDE, SIDE), 0.08, np.float32),
        "from left to right": np.tile(ramp, (SIDE, 1)),
        "below": np.tile(np.maximum(ramp, 0)[:, None], (1, SIDE)),
    }
    box = (0, 0, SIDE)
    generated = crop(source, box, (SIDE, SIDE)) + torch.from_numpy(shades[shade])[..., None]
    result = paste(source, generated, Place.of(torch.from_numpy(mask), box, (SIDE, SIDE)))
    assert np.array_equal(result[~mask], source[~mask])
    assert seam(source[None], result[None], mask[None]) < 1.1
    assert np.abs(result.astype(int) - source)[mask].mean() < 3
