"""Lips vectors from speech: straight paths, windows that join without a seam, any length."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from keysync.systems.flashlips.presets import PRESETS
from keysync.systems.flashlips.speech_to_lips import (
    Conditions,
    SpeechToLips,
    sample,
    straight_path,
    windows,
)

CONFIG = replace(PRESETS["tiny"].networks.speech, speech=6)
LIPS = 12


def made() -> SpeechToLips:
    torch.manual_seed(0)
    return SpeechToLips(CONFIG, LIPS).eval()


class Known(SpeechToLips):
    """Knows the way to a goal from everywhere, as a perfectly trained network would."""

    goal: Tensor

    def forward(self, z_t: Tensor, t: Tensor, speech: Tensor, source: Tensor, emotion: Tensor | None = None) -> Tensor:
        return (speech[..., :1, 0].expand(z_t.shape) - z_t) / (1 - t[:, None, None])


def conditions(frames: int) -> Conditions:
    generator = torch.Generator().manual_seed(1)
    return Conditions(torch.randn(frames, 2, 6, generator=generator), torch.randn(3, LIPS, generator=generator))


def noise(frames: int) -> Tensor:
    return torch.randn(frames, LIPS, generator=torch.Generator().manual_seed(2))


def test_the_path_is_straight() -> None:
    z, eps = torch.randn(2, 2, 5, LIPS)
    for t in (0.0, 0.3, 1.0):
        z_t, velocity = straight_path(z, eps, torch.full((2,), t))
        torch.testing.assert_close(z_t + (1 - t) * velocity, z)
        torch.testing.assert_close(z_t - t * velocity, eps)


@pytest.mark.parametrize(("frames", "last"), [(1, 0), (12, 0), (13, 1), (20, 8), (21, 9), (1000, 988)])
def test_windows_cover_all_frames(frames: int, last: int) -> None:
    parts = windows(frames, 12, 4)
    assert {len(part) for part in parts} == {min(frames, 12)}
    assert parts[-1].start == last
    covered = [frame for part in parts for frame in part]
    assert set(covered) == set(range(frames))
    for before, after in pairwise(parts):
        assert 4 <= before.stop - after.start < 12


@pytest.mark.parametrize("frames", [1, 12, 13, 47])
@pytest.mark.parametrize("steps", [1, 4])
def test_sampling_follows_the_velocity_to_its_end(frames: int, steps: int) -> None:
    torch.manual_seed(0)
    network = Known(CONFIG, LIPS)
    network.mean += 2
    network.std *= 3
    told = conditions(frames)
    goal = told.speech[:, :1, 0].expand(-1, LIPS)
    torch.testing.assert_close(sample(network, told, noise(frames), steps), 3 * goal + 2, atol=1e-4, rtol=1e-4)


def test_how_many_windows_are_asked_at_once_changes_nothing() -> None:
    network = made()
    told = conditions(40)
    counted: list[int] = []
    together = sample(network, told, noise(40), 2, on_step=counted.append)
    apart = sample(network, told, noise(40), 2, at_once=1)
    assert sum(counted) == 2 * len(windows(40, 12, 4))
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)


def test_windows_join_without_a_seam() -> None:
    """Windows that disagree on the velocity by 1: from one frame to the next it changes by a small part of that."""

    class Disagreeing(SpeechToLips):
        def forward(
            self, z_t: Tensor, t: Tensor, speech: Tensor, source: Tensor, emotion: Tensor | None = None
        ) -> Tensor:
            return torch.arange(len(z_t))[:, None, None].expand(z_t.shape).float() % 2

    network = Disagreeing(CONFIG, LIPS)
    lips = sample(network, conditions(40), torch.zeros(40, LIPS), 1)
    assert float((lips[1:] - lips[:-1]).abs().max()) < 0.3
    assert float(lips.max() - lips.min()) == 1


@torch.no_grad()
def test_every_condition_has_an_effect() -> None:
    network = made()
    generator = torch.Generator().manual_seed(3)
    z_t, speech, source, emotion = (
        torch.randn(*shape, generator=generator) for shape in ((2, 5, LIPS), (2, 5, 2, 6), (2, 3, LIPS), (2, 2))
    )
    t = torch.tensor([0.2, 0.7])
    before = network(z_t, t, speech, source, emotion)
    for changed in (
        network(z_t + 0.1, t, speech, source, emotion),
        network(z_t, t + 0.1, speech, source, emotion),
        network(z_t, t, speech + 0.1, source, emotion),
        network(z_t, t, speech, source + 0.1, emotion),
        network(z_t, t, speech, source, emotion + 0.1),
        network(z_t, t, speech, source),
    ):
        assert not torch.allclose(before, changed, atol=1e-5)


@torch.no_grad()
def test_the_order_of_source_vectors_does_not_matter() -> None:
    network = made()
    z_t, speech, source = torch.randn(1, 5, LIPS), torch.randn(1, 5, 2, 6), torch.randn(1, 3, LIPS)
    t = torch.tensor([0.2])
    torch.testing.assert_close(network(z_t, t, speech, source.flip(1)), network(z_t, t, speech, source))


def test_normalised_lips_come_back() -> None:
    network = made()
    network.mean.uniform_()
    network.std.uniform_(0.5, 2)
    lips = torch.randn(7, LIPS)
    torch.testing.assert_close(network.restored(network.normalised(lips)), lips)


def test_it_learns_by_flow_matching() -> None:
    network = made().train()
    generator = torch.Generator().manual_seed(4)
    z, speech, source = (
        torch.randn(*shape, generator=generator) for shape in ((4, 8, LIPS), (4, 8, 2, 6), (4, 2, LIPS))
    )
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(80):
        t = torch.rand(4, generator=generator)
        z_t, velocity = straight_path(z, torch.randn(z.shape, generator=generator), t)
        loss = (network(z_t, t, speech, source) - velocity).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
