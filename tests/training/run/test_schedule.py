"""The learning rate, step by step."""

from __future__ import annotations

import pytest

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
