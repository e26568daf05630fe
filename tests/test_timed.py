"""Tables of values at seconds: CSV and JSON give the same, and anything else is refused."""

from __future__ import annotations

import numpy as np
import pytest

from keysync.timed import are_rising, between, looks_like_json, read_keys


def test_csv_and_json_give_the_same_keys() -> None:
    table = read_keys("Seconds, opening\n0, 0.5\n1.5, 1\n", ["opening"], is_json=False)
    text = '[{"seconds": 0, "opening": 0.5}, {"seconds": 1.5, "opening": 1, "more": "ignored"}]'
    assert looks_like_json(text)
    assert not looks_like_json("seconds,opening")
    np.testing.assert_array_equal(read_keys(text, ["opening"], is_json=True), table)
    assert table.tolist() == [[0, 0.5], [1.5, 1]]
    assert read_keys("[]", ["opening"], is_json=True).shape == (0, 2)


@pytest.mark.parametrize(
    ("text", "is_json"),
    [("[1, 2]", True), ("{", True), ('[{"seconds": 1}]', True), ("seconds\n1\n", False), ("a,b\nx,y\n", False)],
)
def test_other_texts_are_refused(text: str, is_json: bool) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        read_keys(text, ["opening"], is_json=is_json)


def test_values_lie_on_straight_lines_between_keys() -> None:
    seconds, values = np.array([1.0, 2.0]), np.array([[0.0, 1.0], [1.0, 3.0]])
    found = between(np.array([0.0, 1.5, 9.0]), seconds, values)
    assert found.tolist() == [[0, 1], [0.5, 2], [1, 3]]
    assert are_rising(seconds)
    assert not are_rising(seconds[::-1])
    assert not are_rising(np.array([0.0, np.nan]))
