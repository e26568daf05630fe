from __future__ import annotations

from dataclasses import replace

import pytest

from training.evaluation.row import ABOVE_ZERO, Row
from training.evaluation.table import as_json, as_text
from training.synthetic.measure.metrics import Estimate

GOOD = Row("good", "what is good", Estimate(0.9, 0.85, 0.95), 0.8)
BAD = Row("bad", "what is bad", Estimate(0.9, 0.75, 0.95), 0.8)
TOLD = Row("told", "what is told", Estimate(0.1, 0.0, 0.2))


def test_near_end_of_the_interval_decides() -> None:
    assert GOOD.holds
    assert not BAD.holds
    assert TOLD.holds
    assert not Row("no", "no gain at all", Estimate(0, 0, 0), ABOVE_ZERO).holds
    assert not Row("no", "too much", Estimate(1.0, 0.8, 1.6), 0.6, 1.5).holds


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        *((0.8, float("inf"), ">= 0.8"), (-float("inf"), 0.05, "<= 0.05"), (0.6, 1.5, "0.6 .. 1.5")),
        *((0, 0, "= 0"), (ABOVE_ZERO, float("inf"), "> 0"), (-float("inf"), float("inf"), "")),
    ],
)
def test_bounds_in_words(low: float, high: float, words: str) -> None:
    assert Row("key", "title", Estimate(0, 0, 0), low, high).bound == words


def test_text_says_of_each_bound_whether_it_holds() -> None:
    lines = as_text([GOOD, BAD, TOLD]).splitlines()
    assert lines[1].split("  ")[0] == "what is good"
    assert [line.split()[-1] for line in lines[1:]] == ["holds", "FAILS", "0.200"]


def test_a_figure_alone_can_be_held_to_its_bound() -> None:
    assert replace(BAD, whole_interval=False).holds
    assert not Row("no", "too low", Estimate(0.7, 0.6, 0.9), 0.8, whole_interval=False).holds


def test_what_does_not_apply_is_a_dash_and_fails_nothing() -> None:
    absent = Row("absent", "what is absent", None, 0.8)
    assert absent.holds
    assert as_text([GOOD, absent]).splitlines()[2].split()[-3:] == ["\N{EN DASH}", ">=", "0.8"]
    table = as_json([GOOD, absent])
    assert table["absent"] is table["rows"]["absent"]["holds"] is table["rows"]["absent"]["interval"] is None
    assert table["holds"] is True


def test_json_has_figures_by_key_and_one_verdict() -> None:
    table = as_json([GOOD, BAD, TOLD])
    assert table["good"] == 0.9
    assert table["rows"]["bad"] == {
        "title": "what is bad",
        "value": 0.9,
        "interval": [0.75, 0.95],
        "bound": ">= 0.8",
        "holds": False,
    }
    assert table["rows"]["told"]["holds"] is None
    assert table["holds"] is False
    assert as_json([GOOD, TOLD])["holds"] is True
