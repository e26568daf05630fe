"""The face is followed on the grid of 25 frames a second, within shots, and cut into clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from keysync.errors import KeySyncError
from keysync.face.crop import crop_boxes
from keysync.face.face import Detector, Face, Frame
from keysync.face.track import from_landmarks
from keysync.media.reader import VideoReader
from training.data.preparation.faces import Faces, Grid, follow, grid

from ....clips import HEIGHT, WIDTH, picture, write_video
from ....synthetic_face import face, face_points


class FakeDetector:
    """Sees `look(number)` in the number-th frame that it is shown; counts them."""

    def __init__(self, look: Callable[[int], list[Face]]) -> None:
        self.look, self.shown = look, 0

    def detect(self, frame: Frame, before: Sequence[Face] = ()) -> list[Face]:
        assert frame.shape == (HEIGHT, WIDTH, 3)
        self.shown += 1
        return self.look(self.shown - 1)

    def close(self) -> None:
        pass


def always(_: int) -> list[Face]:
    return [face((48, 40), 30)]


def video(folder: Path, frames: int, rate: float = 25, cut: int = 10**6) -> VideoReader:
    pictures = [picture(number, int(number >= cut)) for number in range(frames)]
    return VideoReader(write_video(folder / "video.mp4", pictures, rate=Fraction(rate).limit_denominator(1001)))


def followed(reader: VideoReader, shots: list[tuple[float, float]], detector: Detector) -> Faces:
    return follow(reader, Grid.of(reader.timestamps(), reader.info.time_base, shots), detector)


def faces(found: list[bool], shot: list[int] | None = None) -> Faces:
    n = len(found)
    points = np.stack([face_points((50 + number, 60)) if seen else np.full((68, 2), np.nan, np.float32)
                       for number, seen in enumerate(found)]).astype(np.float32)  # fmt: skip
    return Faces(np.arange(n), np.arange(n) * 40, points, np.array(shot or [0] * n), (200, 300))


@pytest.mark.parametrize(
    ("rate", "frames", "source"),
    [
        (25, 5, [0, 1, 2, 3, 4]),
        (50, 9, [0, 2, 4, 6, 8]),
        (12.5, 3, [0, 0, 1, 1, 2]),  # a tie goes to the earlier one
        (30, 7, [0, 1, 2, 4, 5, 6]),
        (24, 5, [0, 1, 2, 3, 4]),
    ],
)
def test_the_grid_takes_the_nearest_source_frames(rate: float, frames: int, source: list[int]) -> None:
    times = np.arange(frames) / rate
    assert grid(times).tolist() == source
    grid_times = np.arange(len(source)) / 25
    distance = np.abs(times[grid(times)] - grid_times)
    assert (distance <= np.abs(times[:, None] - grid_times).min(0) + 1e-9).all()


def test_a_face_is_followed_from_the_first_frame_to_the_last(tmp_path: Path) -> None:
    reader, detector = video(tmp_path, 10), FakeDetector(always)
    found = followed(reader, [(0.0, 0.4)], detector)
    assert detector.shown == 10
    assert found.source.tolist() == list(range(10))
    assert found.pts.tolist() == reader.timestamps().tolist()
    assert found.size == (HEIGHT, WIDTH)
    np.testing.assert_allclose(found.landmarks, np.tile(face_points((48, 40), 30), (10, 1, 1)), rtol=1e-5)
    assert found.runs(3) == [(0, 10)]


def test_only_frames_on_the_grid_are_looked_at(tmp_path: Path) -> None:
    detector = FakeDetector(always)
    found = followed(video(tmp_path, 21, 50), [(0.0, 0.42)], detector)
    assert detector.shown == len(found.source) == 11
    assert len(found.pts) == 21


def test_frames_that_the_grid_repeats_are_looked_at_once(tmp_path: Path) -> None:
    detector = FakeDetector(lambda number: [face((40 + number, 40), 30)])
    found = followed(video(tmp_path, 5, 12.5), [(0.0, 0.4)], detector)
    assert detector.shown == 5
    assert found.source.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert (found.landmarks[2] == found.landmarks[3]).all()
    assert found.runs(1) == [(0, 9)]


def test_nothing_crosses_a_cut(tmp_path: Path) -> None:
    def look(number: int) -> list[Face]:
        return [] if number in (5, 6) else [face((30 if number < 6 else 60, 40), 30)]

    found = followed(video(tmp_path, 12), [(0.0, 6 / 25), (6 / 25, 12 / 25)], FakeDetector(look))
    assert found.shot.tolist() == [0] * 6 + [1] * 6
    assert np.isnan(found.landmarks[5:7]).all()  # not bridged
    np.testing.assert_allclose(found.landmarks[4], face_points((30, 40), 30), rtol=1e-5)
    np.testing.assert_allclose(found.landmarks[7], face_points((60, 40), 30), rtol=1e-5)
    assert found.runs(1) == [(0, 5), (7, 12)]


def test_cuts_that_only_the_tracker_sees_count_too(tmp_path: Path) -> None:
    found = followed(video(tmp_path, 12, cut=7), [(0.0, 12 / 25)], FakeDetector(always))
    assert found.runs(1) == [(0, 7), (7, 12)]
    both = followed(video(tmp_path, 12, cut=7), [(0.0, 7 / 25), (7 / 25, 12 / 25)], FakeDetector(always))
    assert both.runs(1) == [(0, 7), (7, 12)]
    apart = followed(video(tmp_path, 12, cut=7), [(0.0, 3 / 25), (3 / 25, 12 / 25)], FakeDetector(always))
    assert apart.runs(1) == [(0, 3), (3, 7), (7, 12)]


def test_short_misses_are_bridged_and_no_face_is_no_run(tmp_path: Path) -> None:
    some = followed(video(tmp_path, 9), [(0.0, 0.36)], FakeDetector(lambda n: [] if n == 4 else always(n)))
    assert some.runs(1) == [(0, 9)]
    none = followed(video(tmp_path, 9), [(0.0, 0.36)], FakeDetector(lambda _: []))
    assert none.runs(1) == []


@pytest.mark.parametrize(
    ("length", "least", "most", "runs"),
    [
        (30, 14, 500, [(0, 30)]),
        (13, 14, 500, []),
        (30, 10, 20, [(0, 15), (15, 30)]),
        (61, 14, 20, [(0, 15), (15, 30), (30, 45), (45, 61)]),
        (22, 14, 20, [(0, 20)]),  # not enough for two
        (21, 14, 14, [(0, 14)]),
        (28, 14, 14, [(0, 14), (14, 28)]),
    ],
)
def test_runs_are_as_long_as_asked(length: int, least: int, most: int, runs: list[tuple[int, int]]) -> None:
    assert faces([True] * length).runs(least, most) == runs


def test_long_runs_keep_nearly_all_frames() -> None:
    runs = faces([True] * 1203).runs(14)
    assert runs == [(0, 401), (401, 802), (802, 1203)]


@pytest.mark.parametrize(("least", "most"), [(20, 10), (0, 10)])
def test_impossible_lengths_are_refused(least: int, most: int) -> None:
    with pytest.raises(KeySyncError, match="least <= most"):
        faces([True] * 30).runs(least, most)


def test_runs_end_where_the_face_or_the_shot_does() -> None:
    found = faces([True] * 5 + [False] * 2 + [True] * 8, [0] * 10 + [1] * 5)
    assert found.runs(1) == [(0, 5), (7, 10), (10, 15)]
    assert found.runs(4) == [(0, 5), (10, 15)]


def test_boxes_are_those_of_the_crop() -> None:
    found = faces([False] * 2 + [True] * 8)
    boxes = found.boxes(2, 10)
    assert boxes.shape == (8, 3)
    points = [face if seen else None for face, seen in zip(found.landmarks, found.found, strict=True)]
    assert (boxes == crop_boxes(from_landmarks(points, found.size), 2, 10)).all()
    assert (boxes[:, 0] + boxes[:, 2] <= 300).all()


def test_faces_survive_a_file_bit_for_bit(tmp_path: Path) -> None:
    first, again = tmp_path / "faces.npz", tmp_path / "again"
    found = faces([True, False, True])
    found.save(first)
    loaded = Faces.load(first)
    assert loaded.size == (200, 300)
    for name in ("source", "pts", "landmarks", "shot"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(found, name))
        assert getattr(loaded, name).dtype == getattr(found, name).dtype
    loaded.save(again)
    assert first.read_bytes() == again.read_bytes()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "faces.npz"
    with pytest.raises(KeySyncError, match=r"faces\.npz"):
        Faces.load(path)
    faces([True] * 9).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(KeySyncError, match=r"faces\.npz.*prepare again"):
        Faces.load(path)
    np.savez(path, source=np.arange(3))
    with pytest.raises(KeySyncError, match=r"faces\.npz.*prepare again"):
        Faces.load(path)
    path.write_bytes(b"text")
    with pytest.raises(KeySyncError, match=r"faces\.npz.*prepare again"):
        Faces.load(path)
