"""Noise: a seed means the same everywhere, and every stage of every seed has a stream of its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from keysync.network.noise import Noise, draw

SHAPE = (2, 3, 4, 5)
# The first numbers of seed 7.
KEYFRAMES, WINDOWS = [0.88198221, -0.50143486, -1.76268196], [-0.83612591, 0.72739625, 0.06483564]


def beginnings(seed: int) -> tuple[Tensor, Tensor]:
    """The first draw for keyframes and for windows."""
    noise = Noise.from_seed(seed)
    return draw(noise.keyframes, SHAPE), draw(noise.windows, SHAPE)


def test_a_seed_gives_the_same_noise() -> None:
    for first, again in zip(beginnings(7), beginnings(7), strict=True):
        assert (first.shape, first.dtype, first.device.type) == (SHAPE, torch.float32, "cpu")
        assert torch.equal(first, again)


def test_the_noise_of_a_seed_is_that_of_every_machine() -> None:
    keyframes, windows = (part.flatten()[:3].tolist() for part in beginnings(7))
    assert keyframes == pytest.approx(KEYFRAMES, rel=1e-6)
    assert windows == pytest.approx(WINDOWS, rel=1e-6)


def test_a_stream_goes_on() -> None:
    noise = Noise.from_seed(7)
    one, next_one = draw(noise.keyframes, SHAPE), draw(noise.keyframes, SHAPE)
    assert torch.equal(torch.stack((one, next_one)), draw(Noise.from_seed(7).keyframes, (2, *SHAPE)))
    assert not torch.equal(one, next_one)


def test_the_noise_is_gaussian() -> None:
    for stream in (Noise.from_seed(0).keyframes, Noise.from_seed(0).windows):
        noise = draw(stream, (100_000,))
        assert float(noise.mean()) == pytest.approx(0, abs=0.02)
        assert float(noise.std()) == pytest.approx(1, abs=0.02)
        assert float((noise.abs() < 1).float().mean()) == pytest.approx(0.6827, abs=0.01)


def test_seeds_and_stages_have_streams_of_their_own() -> None:
    """Neighbouring seeds, seeds of equal low bits, and those beyond 64 bits among them."""
    near = range(-20, 20)
    seeds = {base + offset for base in (0, 2**31, 2**32, 2**33, 2**63, 2**64, 10**30) for offset in near}
    drawn = {tuple(part.flatten().tolist()) for seed in seeds for part in beginnings(seed)}
    assert len(drawn) == 2 * len(seeds)


def test_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    beginnings(0)
    assert torch.equal(torch.get_rng_state(), state)
