"""Samples of a stage in training: generated as a dub does it, shown below the clip itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from keysync.systems.keysync import generate
from keysync.systems.keysync.sampling import Sampling
from training.data.dataset import Batch
from training.data.draws import generator
from training.run.samples import grid, sample

from ...clips import CheapVAE
from ...small_stages import inputs, small_stage

SAMPLING = Sampling(evaluations=10)


@pytest.mark.parametrize("name", ["keyframe", "interpolation"])
def test_they_are_what_the_library_generates(name: str) -> None:
    stage, given = small_stage(name).train(), inputs(name)
    windows = given.windows
    batch = Batch(
        torch.tensor([4, 9]), windows.known, windows.mask, windows.features, torch.zeros(2).long(), None, None
    )
    made = sample(stage, batch, 3, SAMPLING)
    assert stage.training
    for place, number in enumerate([4, 9]):
        noise = torch.randn(windows.known.shape[1:], generator=generator(3, number, "sample"))[None]
        window = windows[place : place + 1]
        known = window.known
        window = replace(window, reference=known[:, 0] if name == "keyframe" else known[:, [0, -1]])
        theirs = generate.sample(stage, window, noise, SAMPLING)
        torch.testing.assert_close(made[[place]], theirs, rtol=1e-4, atol=1e-5)
        kept = window.mask.expand_as(theirs) == 0
        torch.testing.assert_close(made[[place]][kept], known[kept])


def test_the_grid_shows_each_clip_above_what_was_made_of_it() -> None:
    truth, made = torch.zeros(2, 3, 4, 2, 2), torch.ones(2, 3, 4, 2, 2)
    picture = grid(CheapVAE(), truth, made)  # type: ignore[arg-type]
    assert picture.shape == (4 * 16, 3 * 16, 3)
    assert [picture[row * 16 : row * 16 + 16].mean() for row in range(4)] == [0, 255, 0, 255]
