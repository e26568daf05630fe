"""The learning rate, step by step."""

from __future__ import annotations

import pytest
import torch

from keysync.errors import KeySyncError
from training.config.config import load_config
from training.run.schedule import WARMUP_START, learning_rate


def rates(count: int, **changes: str) -> list[float]:
    config = load_config("keyframe", None, {"learning_rate": "0.5", **changes})
    return [learning_rate(config, step) for step in range(count)]


def test_it_rises_in_a_line_and_stays() -> None:
    found = rates(8, warmup_steps="4")
    assert found[0] == 0.5 * WARMUP_START
    assert found[2] == pytest.approx(0.25, rel=1e-5)
    assert found[4:] == [0.5] * 4


def test_without_warm_up_it_is_there_at_once() -> None:
    assert rates(3, warmup_steps="0") == [0.5] * 3


def test_it_falls_in_a_cosine_to_the_final_one() -> None:
    found = rates(11, warmup_steps="0", steps="10", final_learning_rate="0.1")
    assert found[0] == 0.5
    assert found[5] == pytest.approx(0.3)
    assert found[10] == pytest.approx(0.1)
    assert found == sorted(found, reverse=True)


def test_one_cycle_rises_to_the_peak_and_ends_at_the_final_rate() -> None:
    found = rates(11, rate_schedule="one_cycle", steps="11", final_learning_rate="0.1")
    assert found[0] == pytest.approx(0.5 / 25)
    assert found[3] == pytest.approx(0.5)  # 0.3 of the way
    assert found[:4] == sorted(found[:4])
    assert found[3:] == sorted(found[3:], reverse=True)
    assert found[10] == pytest.approx(0.1)


def test_one_cycle_has_the_rates_of_torch() -> None:
    found = rates(21, rate_schedule="one_cycle", steps="21", final_learning_rate="0.001")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.5, total_steps=21, pct_start=7 / 21, final_div_factor=0.5 / 25 / 0.001
    )
    for step, rate in enumerate(found):
        assert rate == pytest.approx(theirs.get_last_lr()[0]), step
        optimizer.step()
        theirs.step()


def test_one_cycle_needs_a_final_rate() -> None:
    with pytest.raises(KeySyncError, match=r"final_learning_rate is 0\.0: expected a number above 0"):
        rates(1, rate_schedule="one_cycle")
