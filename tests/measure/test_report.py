from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from keysync.measure.figures import Measured
from keysync.measure.report import ROWS, as_dict, as_json, table

from .curves import measured_talk
from .test_verdict import GOOD, NOTHING


@pytest.fixture(scope="module")
def measured() -> Measured:
    return measured_talk()


def test_a_table_has_a_row_for_each_figure_and_a_column_for_each_video() -> None:
    lines = table([("first", GOOD), ("b", replace(GOOD, lag_frames=-3, seam=1.234))])
    assert lines[0].split() == ["first", "b"]
    assert len({len(line) for line in lines}) == 1
    titles = [title for title, _ in ROWS.values()]
    rows = {title: line[len(title) :].split() for line in lines for title in titles if line.startswith(f"{title}  ")}
    assert rows[ROWS["lag_frames"][0]] == ["1", "-3"]
    assert rows[ROWS["seam"][0]] == ["-", "1.23"]
    assert ROWS["lipleak"][0] not in rows
    assert table([("", NOTHING)]) == []


def test_the_json_has_the_figures_and_what_is_behind_them(measured: Measured) -> None:
    found = json.loads(as_json(as_dict(measured)))
    assert {"lag_frames", "lipleak", "correlation", "verdict", "lag_confidence"} <= found.keys()
    assert found["lag_frames"] == measured.figures.lag_frames == 2
    assert len(found["frame_seconds"]) == len(found["frame_aspect_ratios"]) == found["frames"]
    assert found["frame_aspect_ratios"][5] is None
    assert list(found["lipleak_by_threshold"])[:2] == ["0", "0.02"]
    assert found["lipleak_by_threshold"]["0"] >= found["lipleak"]


def test_names_that_are_not_utf_8_are_escaped() -> None:
    assert as_json({"video": "a\udce9.mp4"}) == '{\n "video": "a\\udce9.mp4"\n}\n'
    assert np.isfinite(json.loads(as_json({"x": 1.5}))["x"])
