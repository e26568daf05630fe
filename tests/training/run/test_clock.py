"""The clock of a run."""

from __future__ import annotations

from training.run.clock import Clock


def test_steps_of_the_first_batch_are_steps() -> None:
    clock = Clock(0, 0, 8).after(8).after(8)
    assert (clock.done, clock.steps, clock.whole_steps) == (2, 2.0, 2)


def test_another_batch_takes_more_or_less_time() -> None:
    clock = Clock(2, 16, 8).after(16).after(4)
    assert clock == Clock(4, 36, 8)
    assert (clock.steps, clock.whole_steps) == (4.5, 4)
