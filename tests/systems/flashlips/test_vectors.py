"""Lips vectors over time: blended and moved, and of one FlashLips only."""

from __future__ import annotations

import numpy as np
import pytest

from keysync.errors import KeySyncError
from keysync.systems.flashlips.vectors import LipsVectors


def vectors(values: object, fps: float = 25.0, model: str = "a") -> LipsVectors:
    return LipsVectors(np.asarray(values, np.float32), fps, model)


RISING = vectors([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0]])


def test_vectors_are_moved_like_any_curve() -> None:
    assert RISING.shifted(1).values[:, 0].tolist() == [0, 0, 1, 2]
    assert RISING.held(1, 2).values[:, 0].tolist() == [0, 1, 1, 3]
    assert RISING.at(np.array([0.02, 9.0]))[:, 0].tolist() == [0.5, 3]
    assert RISING.shifted(1).model == "a"


def test_vectors_are_blended_by_a_share_or_by_one_for_each_frame() -> None:
    other = vectors([[10.0, 0.0]] * 4)
    assert RISING.blended(other, 0.5).values.tolist() == [[5, 0.5], [5.5, 0.5], [6, 0.5], [6.5, 0.5]]
    assert RISING.blended(other, np.array([0.0, 0.0, 1.0, 1.0])).values[:, 0].tolist() == [0, 1, 10, 10]
    with pytest.raises(KeySyncError, match="there are 3 shares but the lips vectors have 4 frames"):
        RISING.blended(other, np.zeros(3))


def test_vectors_of_other_rates_are_blended_by_time() -> None:
    twice = vectors([[0.0, 1.0], [0.5, 1.0], [1.0, 1.0], [1.5, 1.0], [2.0, 1.0]], fps=50)
    assert RISING.blended(twice, 1.0).values[:, 0].tolist() == [0, 1, 2, 2]  # its last one is held


def test_vectors_of_another_file_are_refused() -> None:
    with pytest.raises(KeySyncError, match="of another FlashLips file") as error:
        RISING.blended(vectors([[1.0, 2.0]], model="b"), 0.5)
    assert error.value.about == "lips"


@pytest.mark.parametrize("values", [np.zeros((0, 12)), np.zeros(3), np.zeros((3, 0))])
def test_vectors_have_frames_and_numbers(values: np.ndarray) -> None:
    with pytest.raises(KeySyncError, match="expected \\(frames, numbers\\)"):
        vectors(values)
    with pytest.raises(KeySyncError, match="the curve of lips vectors is not finite, first in frame 1"):
        vectors([[1.0], [np.nan]])
