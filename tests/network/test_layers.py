"""What the layers of the U-Net compute; the network as a whole is in test_unet, parity in tests/parity."""

from __future__ import annotations

import math

import torch

from keysync.network.layers import SideInputs, VideoTransformer, sinusoids


def test_sinusoids() -> None:
    ours = sinusoids(torch.tensor([0.0, 2.0]), 4)
    expected = [[1, 1, 0, 0], [math.cos(2), math.cos(0.02), math.sin(2), math.sin(0.02)]]
    torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float32))
    assert torch.equal(sinusoids(torch.tensor([3.0]), 5)[:, -1], torch.zeros(1))


def test_frames_hear_their_own_clip_alone() -> None:
    torch.manual_seed(0)
    transformer = VideoTransformer(32, context_dim=8, head_dim=16, depth=1)
    x, context = torch.randn(6, 32, 2, 2), torch.randn(2, 3, 8)
    side = SideInputs(torch.zeros(6, 1), context, torch.zeros(2, 3))
    other = context.clone()
    other[1] += 1
    with torch.no_grad():
        change = (transformer(x, side._replace(context=other)) - transformer(x, side)).abs().amax(dim=(1, 2, 3))
    assert not change[:3].any()
    assert (change[3:] > 1e-4).all()
