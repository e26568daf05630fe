from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from keysync.errors import KeySyncError
from keysync.report import DUBBED, PASSED_THROUGH, FrameRange, Report


def make_report() -> Report:
    return Report("in.mp4", "speech.wav", 64, 48, 4, 4, "25", 0.16, "cut_off", 0)


def test_neighbours_of_one_fate_become_a_range() -> None:
    report = make_report()
    for frame, (state, reason) in enumerate([(DUBBED, "face found")] * 2 + [(PASSED_THROUGH, "no face found")] * 2):
        report.add(frame, 10 + frame, state, reason)
    assert report.ranges == [
        FrameRange(0, 1, 10, 11, DUBBED, "face found"),
        FrameRange(2, 3, 12, 13, PASSED_THROUGH, "no face found"),
    ]
    assert (report.count(DUBBED), report.count(PASSED_THROUGH)) == (2, 2)


def test_clock_adds_up_and_survives_an_error() -> None:
    report = make_report()
    with report.clock("paste"):
        pass
    with pytest.raises(RuntimeError), report.clock("paste"):
        raise RuntimeError
    assert report.seconds_per_stage["paste"] >= 0


def test_written_report_is_json(tmp_path: Path) -> None:
    report = make_report()
    report.add(0, 0, DUBBED, "face found")
    report.write(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["ranges"][0]["state"] == DUBBED
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_name_that_is_no_text_is_escaped(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    report = make_report()
    report.video = name
    report.notes.append(f"{name} ß 日本")
    path = tmp_path / os.fsdecode(b"caf\xe9.json")
    report.write(path)
    content = path.read_bytes().decode("utf-8")
    assert '"video": "caf\\udce9.mp4"' in content
    assert "ß 日本" in content
    assert json.loads(content)["video"] == name
    assert report.to_json() == content.rstrip("\n")


def test_unwritable_report_says_so(tmp_path: Path) -> None:
    with pytest.raises(
        KeySyncError, match=r"cannot write the report .*: the folder .* does not exist; create it first$"
    ):
        make_report().write(tmp_path / "nowhere" / "report.json")
