from __future__ import annotations

import pytest

from keysync.errors import KeySyncError
from keysync.systems.keysync.plan import Plan

LENGTHS = [*range(1, 60), 169, 170, 171, 182, 183, 326, 339, 352, 1000]


@pytest.mark.parametrize("window", [2, 5, 14])
@pytest.mark.parametrize("frames", LENGTHS)
def test_every_frame_is_generated_once(frames: int, window: int) -> None:
    plan = Plan(frames, window)
    assert plan.windows[0][0] == 0
    assert all(last - first == window - 1 for first, last in plan.windows)
    assert all(before[1] == after[0] for before, after in zip(plan.windows, plan.windows[1:], strict=False))
    assert plan.windows[-1][1] + 1 == plan.padded
    assert max(frames, window) <= plan.padded < max(frames, 2) + window - 1 + (window if frames < window else 0)


@pytest.mark.parametrize("frames", LENGTHS)
def test_batches(frames: int) -> None:
    plan = Plan(frames)
    assert [keyframe for batch in range(len(plan.batches)) for keyframe in plan.fresh_keyframes(batch)] == [
        *plan.keyframes
    ]
    for number, batch in enumerate(plan.batches):
        fresh = plan.fresh_keyframes(number)
        assert len(batch) == plan.window
        assert batch[0] == 0
        assert batch[1 : 1 + len(fresh)] == fresh
        assert set(batch[1 + len(fresh) :]) <= {fresh[-1]}


def test_windows_come_with_the_batch_that_completes_them() -> None:
    plan = Plan(352)
    known: set[int] = set()
    for number in range(len(plan.batches)):
        known |= set(plan.fresh_keyframes(number))
        assert all({first, last} <= known for first, last in plan.batch_windows(number))
    assert [len(plan.batch_windows(number)) for number in range(len(plan.batches))] == [12, 13, 2]


def test_short_clip() -> None:
    plan = Plan(3)
    assert plan.padded == 14
    assert plan.keyframes == (0, 13)
    assert plan.batches == ((0, 0, *[13] * 12),)
    assert plan.windows == ((0, 13),)
    assert [plan.index(frame) for frame in (0, 2, 3, 13)] == [0, 2, 2, 2]


def test_evaluations() -> None:
    assert Plan(14).evaluations(22, 11) == 22 + 11
    assert Plan(170).evaluations(10, 20) == 10 * 2 + 20 * 13


def test_clip_without_frames() -> None:
    with pytest.raises(KeySyncError, match="a clip of 0 frames: at least 1 is needed"):
        Plan(0)


def test_window_without_step() -> None:
    with pytest.raises(KeySyncError, match="a window of 1 frames: at least 2 are needed"):
        Plan(10, window=1)
