from __future__ import annotations

import numpy as np
import pytest

from keysync.correlation import correlation
from keysync.face.mesh import MeshReader
from keysync.face.track import FaceTrack, from_landmarks
from keysync.measure.mouths import MouthMeter, Mouths
from training.evaluation.film import Film, talk_film
from training.synthetic.measure.meter import truth

FRAMES = 30


@pytest.fixture(scope="module")
def film() -> Film:
    return talk_film(0, 0, FRAMES, 192)


@pytest.fixture(scope="module")
def reader() -> MeshReader:
    return MeshReader()


def read(frames: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], track: FaceTrack, reader: MeshReader) -> Mouths:
    meter = MouthMeter(track, reader)
    for frame in frames:
        meter.add(frame)
    return meter.finish()


def track_of(film: Film) -> FaceTrack:
    return from_landmarks(list(film.source.landmarks), film.source.frames.shape[1:3])


def test_the_opening_is_the_true_one(film: Film, reader: MeshReader) -> None:
    mouths = read(film.source.frames, track_of(film), reader)
    assert mouths.seen.all()
    assert correlation(mouths.opening, truth(film.source.landmarks).opening) > 0.95
    assert correlation(mouths.ratio, truth(film.source.landmarks).mar) > 0.95
    assert (mouths.sharpness > 0).all()


def test_frames_without_a_face_have_no_mouth_and_a_cut_is_a_new_beginning(film: Film, reader: MeshReader) -> None:
    whole = read(film.source.frames, track_of(film), reader)
    frames = film.source.frames[:12].copy()
    frames[6:] = np.roll(frames[6:], 40, axis=2)
    points = film.source.landmarks[:12].copy()
    points[6:, :, 0] += 40
    rows = [None if number == 3 else row for number, row in enumerate(points)]
    parted = read(frames, from_landmarks(rows, frames.shape[1:3], [int(number >= 6) for number in range(12)]), reader)
    assert np.flatnonzero(~parted.seen).tolist() == [3]
    assert np.nanmax(np.abs(parted.opening - whole.opening[:12])) < 0.03


def test_a_video_may_end_before_its_track(film: Film, reader: MeshReader) -> None:
    assert len(read(film.source.frames[:5], track_of(film), reader).ratio) == 5
