"""Measure Lip Sync and Plot Mouth give what the library measures, of files and of frames in memory."""

from __future__ import annotations

import importlib
import json
from fractions import Fraction
from types import ModuleType
from typing import Any

import pytest
import torch
from comfy_api.latest import InputImpl, Types

FRAMES = 40

pytestmark = pytest.mark.usefixtures("inference")


def part(name: str) -> Any:
    return importlib.import_module(f"keysync_extension.{name}")


@pytest.fixture(scope="module")
def node(extension: ModuleType) -> Any:
    return part("nodes.measure")


@pytest.fixture(scope="module")
def talk(images: torch.Tensor) -> Any:
    """A rendered person who speaks, without sound."""
    return InputImpl.VideoFromComponents(Types.VideoComponents(images=images, audio=None, frame_rate=Fraction(25)))


def test_a_dub_beside_its_source_and_the_picture_of_it(node: Any, talk: Any, speech: dict[str, Any]) -> None:
    measured, summary, report = node.MeasureLipSync.execute(talk, "box", "mediapipe", 0, speech, talk).args
    found = json.loads(report)
    assert found["frames"] == found["frames_seen"] == FRAMES
    assert found["outside_largest"] == 0
    assert found["lag_frames"] == measured.figures.lag_frames
    assert summary.startswith(found["verdict"])
    assert "seam, 1 is unseen" in summary
    (picture,) = node.PlotMouth.execute(measured, 800, 500).args
    assert picture.shape == (1, 500, 800, 3)
    assert picture.dtype == torch.float32
    assert 0 <= float(picture.min()) < float(picture.max()) <= 1


def test_a_video_is_measured_with_its_own_sound(node: Any, talk: Any, speech: dict[str, Any]) -> None:
    components = talk.get_components()
    said = Types.VideoComponents(images=components.images, audio=speech, frame_rate=Fraction(25))
    own, _, report = node.MeasureLipSync.execute(InputImpl.VideoFromComponents(said), "box", "mediapipe", 0).args
    given = node.MeasureLipSync.execute(talk, "box", "mediapipe", 0, speech).args[0]
    assert own.figures == given.figures
    assert json.loads(report)["seam"] is None


def test_a_file_is_measured_as_the_library_measures_it(node: Any, speech: dict[str, Any]) -> None:
    file = part("keysync.demo").TALK_OCCLUDED
    measured = node.MeasureLipSync.execute(InputImpl.VideoFromFile(str(file)), "box", "mediapipe", 0, speech).args[0]
    sound = part("keysync.media.source").SoundInMemory("speech", speech["waveform"][0], speech["sample_rate"])
    library = part("keysync.measuring").measure_video(file, sound, part("keysync.job").FaceSource())
    assert measured.figures == library.figures


def test_errors_name_the_input_to_connect(node: Any, talk: Any, speech: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"the video has no sound.*\(connect audio\)"):
        node.MeasureLipSync.execute(talk, "box", "mediapipe", 0)
    components = talk.get_components()
    small = Types.VideoComponents(images=components.images[:, ::2, ::2], audio=None, frame_rate=Fraction(25))
    with pytest.raises(error, match=r"its source, is .*\(connect another video to source, or none\)"):
        node.MeasureLipSync.execute(talk, "box", "mediapipe", 0, speech, InputImpl.VideoFromComponents(small))
