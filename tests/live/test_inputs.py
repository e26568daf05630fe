"""Files, pipes and devices give frames and sound alike."""

from __future__ import annotations

import os
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from keysync.errors import KeySyncError
from keysync.face.face import Frame
from keysync.live.choices import Raw
from keysync.live.inputs import is_stream, open_sound, open_video

from ..clips import HEIGHT, WIDTH
from ..media.test_audio import tones
from .conftest import FRAMES

RAW = Raw(WIDTH, HEIGHT, Fraction(25))
PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


def fed(path: Path, content: bytes) -> Path:
    """A named pipe that gets so many bytes, once."""
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(content,), daemon=True).start()
    return path


def test_a_file_is_read_as_a_dub_reads_it(clip: dict[str, Path], pictures: list[Frame]) -> None:
    video = open_video(str(clip["video"]))
    assert not video.is_live
    frames = [*video.frames()]
    assert [float(pts * video.form.time_base) for pts, _ in frames] == [number / 25 for number in range(FRAMES)]
    assert all((frame == picture).all() for (_, frame), picture in zip(frames, pictures, strict=True))


def test_a_paced_file_takes_its_time(clip: dict[str, Path]) -> None:
    video = open_video(str(clip["video"]), paced=True)
    assert video.is_live
    began = time.monotonic()
    frames = video.frames()
    for _ in range(6):
        next(frames)
    assert time.monotonic() - began >= 5 / 25


@PIPES
def test_raw_frames_come_from_a_pipe(tmp_path: Path, pictures: list[Frame]) -> None:
    pipe = fed(tmp_path / "frames", b"".join(picture.tobytes() for picture in pictures))
    assert is_stream(str(pipe))
    video = open_video(str(pipe), RAW)
    assert video.is_live
    assert (video.form.width, video.form.height, video.form.rate) == (WIDTH, HEIGHT, Fraction(25))
    frames = [*video.frames()]
    assert [float(pts * video.form.time_base) for pts, _ in frames] == [number / 25 for number in range(FRAMES)]
    assert all((frame == picture).all() for (_, frame), picture in zip(frames, pictures, strict=True))


@PIPES
def test_a_video_and_a_sound_come_from_pipes(tmp_path: Path, clip: dict[str, Path], pictures: list[Frame]) -> None:
    video = open_video(str(fed(tmp_path / "frames", clip["video"].read_bytes())))
    assert all((frame == picture).all() for (_, frame), picture in zip(video.frames(), pictures, strict=True))
    sound = open_sound(str(fed(tmp_path / "sound", clip["speech"].read_bytes())))
    assert (sound.rate, sound.places) == (16_000, ("FC",))
    heard = np.concatenate([*sound.blocks()], 1)
    assert np.abs(heard - tones(FRAMES / 25, 16_000)).max() < 1e-3


def test_devices_are_named_by_their_format() -> None:
    """libav's own made-up one."""
    video = open_video("lavfi:testsrc=size=64x48:rate=25:duration=0.4")
    assert (video.form.width, video.form.height, video.form.rate) == (64, 48, Fraction(25))
    assert len([*video.frames()]) == 10
    sound = open_sound("lavfi:sine=duration=0.5:sample_rate=16000")
    assert sum(block.shape[1] for block in sound.blocks()) == 8000


def test_what_cannot_be_read_is_refused(tmp_path: Path, clip: dict[str, Path]) -> None:
    with pytest.raises(KeySyncError, match="raw frames come from pipes") as error:
        open_video(str(clip["video"]), RAW)
    assert error.value.about == "raw"
    with pytest.raises(KeySyncError, match="cannot open lavfi:nothing"):
        open_video("lavfi:nothing")
    with pytest.raises(KeySyncError, match="has no video"):
        open_video("lavfi:sine=duration=0.5[out0]")
    with pytest.raises(KeySyncError, match="has no sound"):
        open_sound("lavfi:testsrc=duration=1")
    with pytest.raises(KeySyncError, match="check the path"):
        open_sound(str(tmp_path / "none.wav"))
