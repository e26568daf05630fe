"""Windows joined to frames, as the renderer joins them."""

from __future__ import annotations

import pytest
import torch

from keysync.systems.keyface.join import join_windows
from keysync.systems.keysync.plan import Plan


@pytest.mark.parametrize("frames", [1, 2, 13, 14, 15, 27, 28, 40, 100])
def test_every_frame_once_and_shared_ones_the_mean(frames: int) -> None:
    plan = Plan(frames)
    shown = [list(range(first, min(last, frames - 1) + 1)) for first, last in plan.windows]
    # The picture of a frame in a window: its number, and a tenth for each window before.
    pictures = [frame + 0.1 * number for number, window in enumerate(shown) for frame in window]
    joined = join_windows(torch.tensor(pictures).reshape(-1, 1, 1, 1), plan.window).flatten()
    assert len(joined) == frames
    expected = [
        sum(values) / len(values)
        for frame in range(frames)
        for values in [[frame + 0.1 * number for number, window in enumerate(shown) if frame in window]]
    ]
    torch.testing.assert_close(joined, torch.tensor(expected))
    assert len(pictures) == frames + len(plan.windows) - 1
