from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from keysync.correlation import correlation
from keysync.face.mesh import MeshReader
from keysync.measure.leak import OPEN
from training.evaluation.film import Film
from training.evaluation.real.dubs import Scene
from training.evaluation.real.looks import BATCH, look
from training.synthetic.measure.meter import truth
from training.synthetic.measure.metrics import mouth_aspect_ratio


def test_the_opening_is_the_true_one_and_the_ratio_that_of_the_paper(scene: Scene, film: Film) -> None:
    assert len(scene.source.opening) > 2 * BATCH
    assert correlation(scene.source.opening, truth(film.source.landmarks).opening) > 0.95
    true = mouth_aspect_ratio(film.source.landmarks)
    clear = np.abs(true - OPEN) > 0.1
    assert ((scene.source.ratio > OPEN) == (true > OPEN))[clear].mean() > 0.9


def test_blurred_mouths_are_less_sharp(scene: Scene, film: Film, reader: MeshReader) -> None:
    blurred = [gaussian_filter(frame, (1, 1, 0)) for frame in film.source.frames[:5]]
    assert (look(blurred, scene.anchors, reader).sharpness < 0.5 * scene.source.sharpness[:5]).all()


def test_frames_without_a_face_have_no_readings(scene: Scene, film: Film, reader: MeshReader) -> None:
    seen = scene.anchors.seen.copy()
    seen[1] = False
    found = look(film.source.frames[:3], replace(scene.anchors, seen=seen), reader)
    for values in (found.opening, found.ratio, found.sharpness, found.eyes):
        assert np.isnan(values).tolist() == [False, True, False]
