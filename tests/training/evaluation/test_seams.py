"""The seams of a full-HD dub are measured where the masks end, in pixels of a crop of 512."""

from __future__ import annotations

import numpy as np
import pytest

import training.evaluation.seams as seams
from keysync.face.track import FaceTrack
from keysync.systems.renderer import Needs
from training.evaluation.dubbing import masks_of

FRAMES = 2


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seams, "SIDE", 192)

    def dubbed(frames: seams.Frames, track: FaceTrack) -> tuple[seams.Frames, Needs]:
        """A hard edge."""
        inside = masks_of(track, seams.PUBLISHED, "box")[..., None]
        return np.where(inside, np.clip(frames.astype(int) + 30, 0, 255), frames).astype(np.uint8), seams.PUBLISHED

    monkeypatch.setattr(seams, "dubbed", dubbed)


@pytest.mark.usefixtures("small")
def test_a_hard_edge_is_a_seam_and_a_paste_leaves_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert seams.main(["--frames", str(FRAMES)]) == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[2] for row in rows] == ["KeySync small", *(f"own crop, shade: {name}" for name in seams.shades())]
    figures = [float(row[3]) for row in rows]
    assert figures[0] > 1.4
    assert max(figures[1:]) < 1.2
    assert {row[7] for row in rows} == {"0"}
    assert rows[0][0] == "rendered, 192x192"


def test_a_clip_that_is_not_there_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert seams.main(["--real", "nowhere.mp4"]) == 1
    assert "error: " in capsys.readouterr().err
