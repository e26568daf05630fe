"""Raw outputs of a detector become faces: decoded against their anchors, the overlapping ones averaged."""

from __future__ import annotations

import math

import numpy as np
import pytest

from keysync.face.finder.detections import anchors, read_detections
from keysync.face.finder.networks import FullRange, ShortRange

SIZE = 100


def raw(x: float, y: float, side: float) -> list[float]:
    """A box and key points relative to an anchor at 0, in pixels: eyes on a line that falls by 45 degrees."""
    eyes = [x - 5, y - 5, x + 5, y + 5]
    return [x, y, side, side, *eyes, *[x, y] * 4]


def read(rows: list[list[float]], logits: list[float], least: float = 0.5) -> list[tuple[float, ...]]:
    centres = np.zeros((len(rows), 2))
    found = read_detections(np.array(rows), np.array(logits), centres, SIZE, least)
    return [(*(SIZE * detection.centre).tolist(), SIZE * detection.side, detection.score) for detection in found]


def test_anchors_are_the_middles_of_cells_row_by_row() -> None:
    assert (
        anchors(((2, 2),)).tolist() == [[0.25, 0.25]] * 2 + [[0.75, 0.25]] * 2 + [[0.25, 0.75]] * 2 + [[0.75, 0.75]] * 2
    )
    assert len(anchors(ShortRange.anchors)) == 896
    assert len(anchors(FullRange.anchors)) == 2304


def test_a_box_is_relative_to_its_anchor() -> None:
    (detection,) = read_detections(np.array([raw(10, 20, 30)]), np.array([0.0]), np.array([[0.5, 0.25]]), SIZE, 0.5)
    np.testing.assert_allclose(detection.box, [0.45, 0.3, 0.75, 0.6])
    np.testing.assert_allclose(detection.points[0], [0.55, 0.4])
    assert detection.score == 0.5
    assert detection.roll == pytest.approx(math.pi / 4)


def test_what_overlaps_is_averaged_by_its_scores() -> None:
    sure, less = 1 / (1 + math.exp(-3)), 1 / (1 + math.exp(-1))
    near, far = read([raw(50, 50, 20), raw(90, 50, 20), raw(54, 50, 20)], [3.0, 2.0, 1.0])
    assert near == pytest.approx(((50 * sure + 54 * less) / (sure + less), 50, 20, sure))
    assert far[0] == pytest.approx(90)


def test_what_touches_hardly_stays_two_faces() -> None:
    # 20 wide and 11 apart: 0.29 of their union is shared.
    assert len(read([raw(50, 50, 20), raw(61, 50, 20)], [3.0, 2.0])) == 2
    assert len(read([raw(50, 50, 20), raw(60, 50, 20)], [3.0, 2.0])) == 1


def test_what_is_unsure_is_no_face() -> None:
    assert read([raw(50, 50, 20)], [-0.01]) == []
    assert read([raw(50, 50, 20)], [-1000.0]) == []
    assert len(read([raw(50, 50, 20)], [1000.0])) == 1
