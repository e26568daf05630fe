"""The engine ray, on a Ray of this machine: the bytes of the local engine, and errors that come through."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import ray

from keysync.errors import KeySyncError, install_line
from keysync.media.info import PictureFormat
from keysync.media.writer import VideoWriter
from tests.clips import write_speech
from tests.portrait import portrait_frames
from tests.training.data.preparation.small_chain import make_chain, small_videos
from tests.training.data.preparation.small_videos import small_settings
from training.data.preparation import job
from training.data.preparation.ray_engine import run_on_ray

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own, of which there are many and ever others


@pytest.fixture
def _ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield
    assert not ray.is_initialized()


@pytest.mark.usefixtures("_ray")
def test_the_same_bytes_as_the_local_engine(tmp_path: Path) -> None:
    """Of short videos, and of a film in segments of a second, one of which begins inside a shot."""
    videos = tmp_path / "videos"
    videos.mkdir()
    speech = write_speech(tmp_path / "speech.wav", 2.2)
    frames = list(portrait_frames(50, size=192))
    dark = [np.zeros_like(frames[0])] * 6
    for name, part in {"one": frames[:16], "two": frames[20:36], "film": [*frames[:16], *dark, *frames[16:48]]}.items():
        like = PictureFormat(192, 192, Fraction(1, 25), Fraction(25))
        with VideoWriter(videos / f"{name}.mp4", like, audio=speech) as writer:
            for number, frame in enumerate(part):
                writer.write(frame, number)
    (videos / "text.mp4").write_text("no video")
    packed, told = {}, {}
    for engine, workers in (("local", 1), ("local", 2), ("ray", 2)):
        data = tmp_path / f"{engine}-{workers}"
        settings = small_settings(data, segment=1)
        report = job.prepare([videos], settings, engine=engine, workers=workers, validation=0.5)
        assert report.clips == 4
        assert set(report.discarded) == {"cannot be read", "no face"}
        key = f"{engine}-{workers}"
        packed[key] = {path.name: path.read_bytes() for path in [*data.glob("*.tar"), data / "index.json"]}
        told[key] = {stage: held["videos"] for stage, held in report.stages.items()}
    assert len(packed["local-1"]) == 3
    assert packed["local-2"] == packed["ray-2"] == packed["local-1"]
    assert told["local-2"] == told["ray-2"] == told["local-1"]


@pytest.mark.usefixtures("_ray")
def test_an_error_comes_through(tmp_path: Path) -> None:
    good, bad = small_videos(2)
    make = partial(make_chain, tmp_path)
    with pytest.raises(KeySyncError, match="the VAE is no VAE: give another"):
        list(run_on_ray(make, [good, replace(bad, name="bad.mp4")], 1))
    worker = (tmp_path / bad.id / "first" / "worker").read_text()
    assert worker != str(os.getpid())


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(KeySyncError, match=re.escape(install_line("ray[data]"))):
        list(run_on_ray(partial(make_chain, tmp_path), small_videos(1), 1))
