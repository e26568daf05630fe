"""The measure of found occluders: its clips, its figures and its table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.synthetic.measure import occlusion
from training.synthetic.measure.occlusion import FREE, SIZE, Figures, clip, main, table
from training.synthetic.render.covers import COVERS
from training.synthetic.render.world import write_video


@pytest.mark.parametrize("kind", ["fork", "light changing"])
def test_clips_show_what_their_kind_says(kind: str) -> None:
    truths = clip(0, kind, 12)
    assert len(truths) == 12
    assert all(truth.picture.shape == (*SIZE, 3) for truth in truths)
    assert any(truth.occluder.any() for truth in truths) == (kind in COVERS)
    bright = [truth.picture.mean() for truth in truths]
    assert (np.ptp(bright) > 15) == (kind == "light changing")


def test_figures_count_what_is_missed_and_what_is_not_there() -> None:
    true = np.zeros((4, 10, 10), np.bool_)
    true[:2, :5] = True
    found = np.zeros_like(true)
    found[0, :5], found[3, 0, 0] = True, True
    figures = Figures()
    figures.add(found, true)
    assert (figures.covered, figures.missed, figures.free, figures.false) == (2, 1, 2, 1)
    assert figures.overlaps == [50 / 101]
    assert figures.row == "0.495 | 0.495 | 50.0% | 50.00% of 2"
    figures = Figures()
    figures.add(found[3:], true[3:])
    assert list(table(iter([("talking", figures)])))[-1] == "| talking | - | - | - | 100.00% of 1 |"


def test_the_command_prints_a_row_for_each_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--people", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == [*COVERS, *FREE]
    assert main(["--people", "0", "--kinds", "turning", "fork"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == ["turning", "fork"]


def test_the_people_are_those_that_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    people: list[int] = []

    def shown(person: int, kind: str, frames: int) -> None:
        people.append(person)

    nothing = np.zeros((2, 4, 4), np.bool_)
    monkeypatch.setattr(occlusion, "clip", shown)
    monkeypatch.setattr(occlusion, "found_in", lambda truths: (nothing, nothing))
    assert occlusion.main(["--first", "20", "--people", "2", "--kinds", "turning"]) == 0
    assert people == [20, 21]
    assert capsys.readouterr().out.splitlines()[-1] == "| turning | - | - | - | 0.00% of 4 |"


def test_real_clips_are_searched_as_in_a_dub(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [truth.picture for truth in clip(0, "talking", 6)]
    write_video(tmp_path / "clip.mp4", frames, SIZE)
    assert main(["--real", str(tmp_path / "clip.mp4")]) == 0
    assert (
        capsys.readouterr().out == "clip.mp4: occluders: nothing covers the mouth in the 6 frames that show the face\n"
    )
