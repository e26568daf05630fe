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
    videos = tmp_path / "videos"
    videos.mkdir()
    speech = write_speech(tmp_path / "speech.wav", 0.8)
    frames = list(portrait_frames(40, size=192))
    for name, part in {"one": frames[:16], "two": frames[20:36]}.items():
        like = PictureFormat(192, 192, Fraction(1, 25), Fraction(25))
        with VideoWriter(videos / f"{name}.mp4", like, audio=speech) as writer:
            for number, frame in enumerate(part):
                writer.write(frame, number)
    (videos / "text.mp4").write_text("no video")
    packed = {}
    for engine, workers in (("local", 1), ("ray", 2)):
        data = tmp_path / engine
        report = job.prepare([videos], small_settings(data), engine=engine, workers=workers, validation=0.5)
        assert report.clips == 2
        assert set(report.discarded) == {"cannot be read"}
        packed[engine] = {path.name: path.read_bytes() for path in [*data.glob("*.tar"), data / "index.json"]}
    assert len(packed["local"]) == 3
    assert packed["ray"] == packed["local"]


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
