"""Talking heads: a crop that stands still around a head that stays in it, feelings, and data of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from keysync.systems.keysync.small import SMALL
from training.data.parts import EMOTION
from training.data.shards import Shards
from training.synthetic.data import Settings, write_data
from training.synthetic.heads import CROP_SCALE, LAUGHING, SIGHING, head, with_sounds
from training.synthetic.render.feeling import Feeling
from training.synthetic.voice.speech import silence, talk


def test_a_head_stays_in_its_crop() -> None:
    made = head((1, 2), talk(0, 4.0), 100, 64, range(0, 100, 9))
    x, y, side = made.box.tolist()
    low, high = made.pictures.landmarks.min((0, 1)), made.pictures.landmarks.max((0, 1))
    assert (low > (x, y)).all()
    assert (high < (x + side, y + side)).all()
    middles = made.pictures.landmarks.mean(1)
    assert np.ptp(middles, axis=0).max() > 0.5  # it moves
    assert made.emotion.shape == (12, 2)


def test_the_feelings_that_are_asked_for() -> None:
    felt = (Feeling(0.5, -0.5),) * 6
    made = head((1, 2), silence(0.24), 6, 64, [1, 3], felt)
    assert made.emotion.tolist() == [[0.5, -0.5]] * 2


def test_sounds_in_some_clips() -> None:
    said = silence(2.0)
    changed = [with_sounds(said, 5, number) is not said for number in range(60)]
    assert 0.5 * (LAUGHING + SIGHING) < np.mean(changed) < 1.5 * (LAUGHING + SIGHING)


def test_data_of_heads(tmp_path: Path) -> None:
    vae, encoders = SMALL["vae"], {"hubert": SMALL["hubert"]}
    settings = Settings(vae, encoders, seconds=1.0, resolution=64, excerpt=14, heads=True)
    assert settings.digest != replace(settings, heads=False).digest
    write_data(tmp_path, 2, settings, validation=0.5)
    shards = Shards(tmp_path)
    assert shards.info.crop_scale == CROP_SCALE
    (clip,) = shards.clips("train")
    emotion = shards.array(clip, EMOTION, (14, 2))
    assert emotion.dtype == np.float32
    assert (np.abs(emotion) <= 1).all()


def test_faces_to_dub_have_no_emotion(tmp_path: Path) -> None:
    settings = Settings(vae=SMALL["vae"], encoders={"hubert": SMALL["hubert"]}, seconds=0.6, resolution=64)
    write_data(tmp_path, 1, settings, validation=0.5)
    assert EMOTION not in Shards(tmp_path).clips("train")[0].members
