"""The report says in the table and in the file what was kept, what not, and why."""

from __future__ import annotations

import json
from pathlib import Path

from training.data.preparation.report import NAME, NAMED, Report


def made() -> Report:
    report = Report(videos=3, files_ignored={".md": 2}, seconds=30.0, seconds_worked_on=20.0, seconds_spent=40.0)
    report.keep([170, 125], 25)
    report.lose("no sound", "mute.mp4", 10.0, "it has no audio track")
    report.lose("no face", "talk.mp4", 8.2, "205 of 500 frames")
    report.spend("faces", 5.0, 20.0)
    report.spend("faces", 5.0, 10.0)
    return report


def test_table() -> None:
    table = "\n".join(made().lines())
    lines = [" ".join(line.split()) for line in table.splitlines()]
    assert lines[:7] == [
        "videos seconds share",
        "in 3 30.00 100.0%",
        "kept 1 11.80 39.3%",
        "discarded: no sound 1 10.00 33.3%",
        "mute.mp4: 10.00 s (it has no audio track)",
        "discarded: no face 1 8.20 27.3%",
        "talk.mp4: 8.20 s (205 of 500 frames)",
    ]
    assert "2 clips; 6.80 s in clips of at least 170 frames" in table
    assert "2 files are not videos: 2 .md" in table
    assert "faces 10.0 s of work 3.0 s of video per second" in " ".join(table.split())
    assert lines[-1] == "this run: 20.0 s of video in 40.0 s: 0.50 s of video per second"


def test_file(tmp_path: Path) -> None:
    made().write(tmp_path)
    stored = json.loads((tmp_path / NAME).read_text())
    assert stored["discarded"]["no sound"] == {
        "seconds": 10.0,
        "videos": {"mute.mp4": {"seconds": 10.0, "why": "it has no audio track"}},
    }
    assert (stored["seconds"], stored["seconds_kept"], stored["speed"]) == (30.0, 11.8, 0.5)


def test_many_of_one_reason_are_named_in_the_file(tmp_path: Path) -> None:
    report = Report(videos=NAMED + 3)
    for number in range(NAMED + 3):
        report.lose("no sound", f"{number}.mp4", float(number), "it has no audio track")
    table = "\n".join(report.lines())
    assert f"{NAMED + 2}.mp4" in table
    assert " 2.mp4" not in table
    assert f"and 3 more: see {NAME}" in table
    report.write(tmp_path)
    assert len(json.loads((tmp_path / NAME).read_text())["discarded"]["no sound"]["videos"]) == NAMED + 3


def test_nothing_new() -> None:
    assert list(Report(videos=1, seconds_spent=1.5).lines())[-1] == "this run: everything was up to date (1.5 s)"
