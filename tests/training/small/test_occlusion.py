"""The network that finds what covers a mouth: its examples, and that it learns from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from keysync.face.occlusion_network import INPUTS, OcclusionNetwork, occlusion_network
from keysync.face.unfolded import COLUMNS, ROWS
from keysync.weights.eight_bits import from_eight_bits
from training.small.occlusion import COVERED, POSES, USUALS, Looks, looks_of, loss, samples, save, train


@pytest.fixture(scope="module")
def looks() -> Looks:
    return looks_of(0)


def test_each_pose_is_shown_as_is_and_behind_things(looks: Looks) -> None:
    assert looks.bare.shape == (POSES, ROWS, COLUMNS, 3)
    assert looks.covered.shape == (COVERED * POSES, ROWS, COLUMNS, 3)
    assert looks.masks.shape == looks.covered.shape[:3]
    assert 0.05 < looks.masks.mean() < 0.6
    again = np.concatenate([looks.bare] * COVERED).astype(int)
    change = np.abs(again - looks.covered).mean(-1)
    assert change[looks.masks].mean() > 2 * change[~looks.masks].mean()


def test_examples_are_inputs_of_the_network(looks: Looks) -> None:
    count = 0
    for inputs, mask in samples(0, looks):
        assert inputs.shape == (INPUTS, ROWS, COLUMNS)
        assert inputs.dtype == np.float32
        assert np.isfinite(inputs).all()
        assert mask.shape == (ROWS, COLUMNS)
        count += 1
    assert count == USUALS * (len(looks.bare) + len(looks.covered))


def test_a_full_overlap_costs_least() -> None:
    masks = torch.zeros(2, 8, 8)
    masks[0, 2:6, 2:6] = 1
    right, wrong = loss(20 * masks - 10, masks), loss(10 - 20 * masks, masks)
    assert 0 <= right < 0.01 < 1 < wrong


def test_training_changes_all_and_is_stored_small(looks: Looks, tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = OcclusionNetwork().state_dict()
    path = tmp_path / "small.safetensors"
    network = train([looks], epochs=3, on_epoch=lambda network: save(network, path))
    assert all(not torch.equal(value, before[name]) for name, value in network.state_dict().items())
    stored = from_eight_bits("small", load_file(path))
    assert stored.keys() == before.keys()
    off = max(float((stored[name].float() - value).abs().max()) for name, value in network.state_dict().items())
    assert off < 0.02
    # A second training goes on from the first.
    going_on = train([looks], epochs=1, rate=1e-9, start=occlusion_network(path)).state_dict()
    assert all(torch.allclose(going_on[name], value.float(), atol=1e-4) for name, value in stored.items())
