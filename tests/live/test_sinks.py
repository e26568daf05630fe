"""What goes out can be watched: frames at their times, with their sound and the mark of its making."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from keysync.errors import KeySyncError
from keysync.face.face import Frame
from keysync.live.inputs import open_sound
from keysync.live.sinks import Passing, StreamSink, open_sink
from keysync.media.info import PictureFormat
from keysync.media.writer import VideoWriter
from keysync.provenance import Provenance

from ..clips import HEIGHT, WIDTH
from .conftest import FRAMES

LIKE = PictureFormat(WIDTH, HEIGHT, Fraction(1, 90_000), Fraction(25))
MARK = Provenance("flashlips")


def passing(clip: dict[str, Path]) -> Passing:
    sound = open_sound(str(clip["speech"]))
    made = Passing(sound, sound.blocks())
    for _ in made.heard:
        pass
    return made


@pytest.mark.parametrize(("name", "form"), [("out.nut", "nut"), ("out.ts", "mpegts"), ("out.mkv", None)])
def test_frames_and_sound_go_out_together(
    clip: dict[str, Path], pictures: list[Frame], tmp_path: Path, name: str, form: str | None
) -> None:
    sound = passing(clip)
    sink = open_sink(str(tmp_path / name), LIKE, sound, form, MARK)
    assert isinstance(sink, StreamSink if form else VideoWriter)
    with sink:
        for number, picture in enumerate(pictures[:30]):
            sink.write(picture, number * 3600)
        sound.end(30 / 25)
    with av.open(tmp_path / name) as container:
        frames = [*container.decode(video=0)]
        marks = container.metadata.values()
        if form != "mpegts":
            assert MARK.line() in marks
    times = [float(frame.time) for frame in frames]
    np.testing.assert_allclose(np.array(times) - times[0], np.arange(30) / 25, atol=2e-3)
    difference = frames[20].to_ndarray(format="rgb24").astype(int) - pictures[20]
    assert np.abs(difference).mean() < 6
    with av.open(tmp_path / name) as container:
        seconds = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert abs(seconds - 30 / 25) < 0.15  # AAC fills its first and last frames


def test_raw_frames_go_out_exactly(clip: dict[str, Path], pictures: list[Frame], tmp_path: Path) -> None:
    with open_sink(str(tmp_path / "frames"), LIKE, passing(clip), "rawvideo") as sink:
        for number, picture in enumerate(pictures):
            sink.write(picture, number * 3600)
    sent = (tmp_path / "frames").read_bytes()
    assert sent == b"".join(picture.tobytes() for picture in pictures)
    assert len(sent) == FRAMES * WIDTH * HEIGHT * 3


def test_a_sound_that_goes_on_ends_with_the_frames(clip: dict[str, Path]) -> None:
    sound = passing(clip)
    sound.end(0.5)
    assert sum(block.shape[1] for block in sound.blocks()) == 8000


def test_places_that_cannot_be_written_to_are_refused(clip: dict[str, Path], tmp_path: Path) -> None:
    sound = passing(clip)
    with pytest.raises(KeySyncError, match="no format is known for gopher") as error:
        open_sink("gopher://there", LIKE, sound)
    assert error.value.about == "output"
    with pytest.raises(KeySyncError, match="unsupported file extension"):
        open_sink(str(tmp_path / "out.avi"), LIKE, sound)
    with pytest.raises(KeySyncError, match="cannot be written to"):
        open_sink(str(tmp_path / "none" / "out"), LIKE, sound, "nut")
    with pytest.raises(KeySyncError, match="cannot be written to"):
        open_sink(str(tmp_path / "out"), LIKE, sound, "no-such-format")
