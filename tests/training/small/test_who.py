"""The scene of two speakers: what its two voices have in common, and what is left of a mouth beyond its own voice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from keysync.errors import KeySyncError
from keysync.face.speaking import agreement
from keysync.media.audio import AudioReader, hear
from keysync.method import NETWORK_RATE
from keysync.speakers import heard_parts
from keysync.who import said_in
from training.data.preparation.encode import write_sound
from training.small import who
from training.synthetic.render.identity import Identity
from training.synthetic.render.motion import Take
from training.synthetic.render.portrait import Portrait
from training.synthetic.render.scene import Actor, Scene, framed
from training.synthetic.render.world import write_video


def test_the_two_voices_overlap_but_have_little_in_common(tmp_path: Path) -> None:
    frames = who.FIRST + who.SECOND
    times = np.arange(frames) / NETWORK_RATE
    said, speaks = [], []
    for voice, name in zip(who.voices(), "ab", strict=True):
        write_sound(torch.from_numpy(voice.waveform), 0, frames, tmp_path, name)
        sound = tmp_path / f"{name}.flac"
        said.append(said_in(AudioReader(sound), times))
        parts = heard_parts(hear(sound).samples)
        speaks.append(np.any([(start <= times) & (times < stop) for start, stop in parts], axis=0))
    both = (speaks[0] & speaks[1]).sum()
    for own, other, heard in ((said[0], said[1], speaks[0]), (said[1], said[0], speaks[1])):
        assert 0.4 < both / heard.sum() < 0.7
        assert abs(agreement(np.where(heard, own, np.nan), other, NETWORK_RATE, 0)) < 0.1


def test_a_partial_correlation_leaves_out_the_own_voice() -> None:
    rng = np.random.default_rng(0)
    shared, own, other, rest = rng.normal(size=(4, 100_000))
    own, other = own + shared, other + shared
    follows_own, follows_both = own + rest, own + other + rest
    for mouth, expected in ((follows_own, 0.0), (follows_both, 0.77)):
        row = np.corrcoef([mouth, own, other])
        assert who.partial(row[0, 2], row[0, 1], row[1, 2]) == pytest.approx(expected, abs=0.01)


def test_people_who_are_seen_together_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match="no clip"):
        who.together_table(tmp_path)
    size, rng = (180, 360), np.random.default_rng(0)
    people = [Portrait(Identity.sample(np.random.default_rng((seed, 0)))) for seed in who.PEOPLE]
    actors = tuple(
        Actor(one, framed(size, across, 0.46, 0.9), Take.sample(rng, 6))
        for one, across in zip(people, (0.27, 0.73), strict=True)
    )
    shot = Scene(rng, size, actors)
    write_video(tmp_path / "two.mp4", [shot.render(number, ()).picture for number in range(6)], size)
    assert who.together_table(tmp_path) == {"people seen together (1 shots, 6 looks): the right one": 1.0}
