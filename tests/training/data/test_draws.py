"""Draws: a function of seed, number and purpose, today as in the run that is resumed."""

from __future__ import annotations

import torch

from training.data.draws import generator, permutation


def drawn(seed: int, number: int, purpose: str) -> list[int]:
    return torch.randint(2**31, (4,), generator=generator(seed, number, purpose)).tolist()


def test_the_same_in_every_run() -> None:
    """A change here changes the runs that are resumed."""
    assert drawn(0, 0, "noise") == [1467957539, 1921130858, 1806919239, 1186743517]
    assert permutation(0, 0, 8).tolist() == [1, 7, 4, 0, 5, 6, 2, 3]


def test_seed_number_and_purpose_all_count() -> None:
    asked = [(seed, number, purpose) for seed in (0, 1, 10) for number in (0, 1, 11, 2**32) for purpose in ("a", "b")]
    assert len({tuple(drawn(*what)) for what in asked}) == len(asked)
    assert drawn(1, 0, "a") == drawn(1, 0, "a")


def test_neighbouring_numbers_are_unrelated() -> None:
    first = torch.stack([torch.randn(64, generator=generator(0, number, "noise")) for number in range(200)])
    correlation = torch.corrcoef(first) - torch.eye(200)
    assert correlation.abs().max() < 0.65  # five standard deviations and more of 1 / sqrt(64)
    assert first.mean().abs() < 0.05


def test_each_epoch_has_an_order_of_its_own() -> None:
    orders = [permutation(0, epoch, 50).tolist() for epoch in range(3)] + [permutation(1, 0, 50).tolist()]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
