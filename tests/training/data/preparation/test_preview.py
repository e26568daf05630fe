"""The contact sheet of a preparation, on videos with a face that only a test's detector sees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keysync.errors import KeySyncError
from keysync.face import detectors
from training.data.preparation import job
from training.data.preparation.manifest import Manifest
from training.data.preparation.preview import COLUMNS, LINE, SIDE, check_preview, entries
from training.data.preparation.stages import open_chain
from training.data.preparation.videos import Source, Video, find_videos

from .small_videos import FACE, NO_FACE, BrightnessDetector, small_settings, write_talk


@pytest.fixture(scope="module", autouse=True)
def _detector() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(detectors.DETECTORS, "mediapipe", BrightnessDetector)
        yield


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_talk(folder / "kept.mp4", [(FACE, 15), (NO_FACE, 3), (FACE, 14)])
    write_talk(folder / "bright.mp4", [(NO_FACE, 20)])
    (folder / "text.mp4").write_text("no video")
    return folder


def identified(data: Path, source: Source) -> Video:
    """The video in a file that was prepared."""
    video = Manifest(data).known(source)
    assert video is not None
    return video


def test_kept_and_dropped_clips(videos: Path, tmp_path: Path) -> None:
    sheet, settings = tmp_path / "sheet.png", small_settings(tmp_path / "data")
    report = job.prepare([videos], settings, preview=sheet)
    assert report.clips == 2
    chain = open_chain(settings)
    found = [identified(settings.data, source) for source in find_videos([videos]).sources]
    rows = list(entries(chain, found, settings, {}))
    assert [(row.kept, row.title.split(" (")[0]) for row in rows] == [
        (True, "kept.mp4, 0.00 to 0.60 s"),
        (True, "kept.mp4, 0.72 to 1.28 s"),
        (False, "bright.mp4: no face"),
        (False, "text.mp4: cannot be read"),
    ]
    assert [len(row.pictures) for row in rows] == [COLUMNS, COLUMNS, COLUMNS, 0]
    with Image.open(sheet) as written:
        assert written.size == (COLUMNS * SIDE, 3 * (LINE + SIDE) + LINE)
        shown = np.array(written)
    assert np.array_equal(shown[LINE : LINE + SIDE, :SIDE], rows[0].pictures[0])
    # Crops for what has a face, the whole frame with margins for what has none.
    assert rows[0].pictures[0][0].mean() != 255
    assert (rows[2].pictures[0][0] == 255).all()


def test_clips_that_are_too_poor(videos: Path, tmp_path: Path) -> None:
    settings = small_settings(tmp_path / "data", least_quality=1e9)
    sheet = tmp_path / "sheet.jpg"
    assert job.prepare([videos / "kept.mp4"], settings, preview=sheet).clips == 0
    (source,) = find_videos([videos / "kept.mp4"]).sources
    video = identified(settings.data, source)
    rows = list(entries(open_chain(settings), [video], settings, {}))
    assert [(row.kept, len(row.pictures)) for row in rows] == [(False, COLUMNS)] * 2
    assert "poor picture (2 of 2 clips: quality" in rows[0].title
    (failed,) = entries(open_chain(settings), [video], settings, {video.id: "it fell over"})
    assert (failed.title, failed.kept) == ("it fell over", False)
    with Image.open(sheet) as written:
        assert written.format == "JPEG"


def test_a_sheet_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match=r"cannot write a contact sheet as sheet.txt: expected .png, .jpg, .jpeg"):
        check_preview(tmp_path / "sheet.txt")
    with pytest.raises(KeySyncError, match="does not exist: name a contact sheet in an existing folder"):
        check_preview(tmp_path / "gone" / "sheet.png")
