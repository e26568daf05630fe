"""What the finder sees of rendered heads is counted rightly, and small heads and heads from the side are seen."""

from __future__ import annotations

import numpy as np
import pytest

from keysync.face.face import Face
from keysync.face.finder.finder import FaceFinder
from training.synthetic.measure.finding import FIRST_PERSON, Condition, Figures, conditions, measure, table

PERSON = FIRST_PERSON + 3


def test_faces_are_counted_as_found_elsewhere_and_missed() -> None:
    truth = np.random.default_rng(0).uniform(100, 200, (68, 2)).astype(np.float32)
    moved = truth + np.array([3, 4], np.float32)
    figures = Figures()
    figures.add([Face.of(moved, 0.9), Face.of(truth + 300, 0.9)], truth, 100.0)
    figures.add([], truth, 100.0)
    assert (figures.shown, figures.found, figures.false, figures.recall) == (2, 1, 1, 0.5)
    assert figures.errors == pytest.approx([0.05], abs=1e-4)
    assert list(table([(Condition("yaw", "0°"), figures)]))[2] == "| yaw | 0° | 50 % | 5.0 % | 5.0 % | 1 |"


def test_the_first_condition_is_plain_and_the_others_change_one_thing() -> None:
    cases = conditions()
    assert (cases[0].yaw, cases[0].pitch, cases[0].blur, cases[0].exposure, cases[0].occluder) == (0, 0, 0, 1, "none")
    assert len({(case.kind, case.value) for case in cases}) == len(cases)


def test_small_heads_and_heads_from_the_side_are_seen() -> None:
    cases = [
        Condition("yaw", "0°"),
        Condition("yaw", "60°", yaw=60),
        Condition("width", "24 px", width=24),
        Condition("width", "16 px", width=16),
    ]
    rows = measure([PERSON], FaceFinder(), cases)
    assert [figure.found for _, figure in rows] == [1, 1, 1, 1]
    assert [figure.false for _, figure in rows] == [0, 0, 0, 0]
    errors = [figure.errors[0] for _, figure in rows]
    assert errors[0] < 0.03
    assert max(errors) < 0.12
