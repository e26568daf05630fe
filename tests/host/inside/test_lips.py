"""Lips curves from speech and from video, edited and drawn."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import comfy.model_management
import numpy as np
import pytest
import torch
from torch import Tensor

FRAMES = 40

pytestmark = pytest.mark.usefixtures("inference")


def part(name: str) -> Any:
    return importlib.import_module(f"keysync_extension.{name}")


@pytest.fixture(scope="module")
def node(extension: ModuleType) -> Any:
    return part("nodes.lips")


def curve(values: Any, fps: float = 25.0) -> Any:
    return part("keysync.speech.lips_curve").LipsCurve(np.asarray(values, np.float32), fps)


def test_speech_is_read_as_the_library_reads_it(node: Any, speech: dict[str, Any], monkeypatch: Any) -> None:
    loaded: list[Any] = []
    load = comfy.model_management.load_models_gpu

    def record(models: Any, **how: Any) -> None:
        loaded.append(models)
        load(models, **how)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", record)
    (lips,) = node.LipsCurveFromSpeech.execute(speech, 25.0).args
    assert len(loaded) == 1  # the core knows of the encoder
    encoder = part("keysync.speech.encoders").load_encoder("whisper", part("keysync.speech.whisper").WEIGHTS)
    rows = encoder.encode(speech["waveform"][0, 0]).at(np.arange(FRAMES) / 25)
    assert np.array_equal(lips.values, part("keysync.speech.lips").load_lips().read(rows).numpy())
    assert lips.values[:, 0].max() > 0.3
    short = speech | {"waveform": speech["waveform"][..., : -640 // 2 - 100]}
    assert len(node.LipsCurveFromSpeech.execute(short, 25.0).args[0].values) == FRAMES  # the last one begins before
    images, audio, fps = (
        part("nodes.audio").FitAudio.execute(torch.zeros(50, 8, 8, 3), short, 30000 / 1001, "cut_off").args[:3]
    )
    assert len(node.LipsCurveFromSpeech.execute(audio, fps).args[0].values) == len(images)
    (faster,) = node.LipsCurveFromSpeech.execute(speech, 50.0).args
    assert len(faster.values) == 2 * FRAMES
    np.testing.assert_allclose(faster.values[::2], lips.values, atol=1e-6)


def test_lips_are_measured_on_frames_and_on_crops(node: Any, images: Tensor, error: type[Exception]) -> None:
    face = part("nodes.face")
    track = face.TrackFace.execute(images, "mediapipe", "largest", 0, 0, 0).args[0]
    crops, in_crops = face.CropFace.execute(images, track).args
    whole, report = node.LipsCurveFromVideo.execute(images, 25.0, track).args
    assert report.splitlines() == [f"the mouth was measured in {FRAMES} of {FRAMES} frames", node.NOT_MEASURED]
    for given in (in_crops, None):
        assert np.array_equal(node.LipsCurveFromVideo.execute(crops, 25.0, given).args[0].values, whole.values)
    measured = part("keysync.face.mouth").measure(part("keysync.face.mesh").MeshReader().read(images).points)
    assert np.corrcoef(measured[:, 0], whole.values[:, 0])[0, 1] > 0.95
    assert not whole.values[:, 4].any()
    with pytest.raises(error, match="there are 3 crops but the track covers 40 frames"):
        node.LipsCurveFromVideo.execute(crops[:3], 25.0, in_crops)
    with pytest.raises(error, match="there are 3 images but the face track covers 40 frames"):
        node.LipsCurveFromVideo.execute(images[:3], 25.0, track)


def test_frames_without_a_face_are_filled_and_reported(node: Any, images: Tensor, error: type[Exception]) -> None:
    crops = images.clone()
    crops[10:13] = 0
    lips, report = node.LipsCurveFromVideo.execute(crops, 25.0).args
    assert report.splitlines()[1] == "no face, filled from the frames around: frames 10-12"
    line = np.linspace(lips.values[9, 0], lips.values[13, 0], 5)
    np.testing.assert_allclose(lips.values[9:14, 0], line, atol=1e-5)
    with pytest.raises(error, match="no face was found in the 4 frames"):
        node.LipsCurveFromVideo.execute(torch.zeros(4, 64, 64, 3), 25.0)


def test_edits_are_made_in_the_order_of_the_inputs(node: Any, error: type[Exception]) -> None:
    values = np.random.default_rng(0).uniform(0, 1, (30, 5))
    lips = curve(values)
    (same,) = node.EditLipsCurve.execute(lips, 1.0, 1.0, 0.0, 0.0, 0, 0, 0.0).args
    assert np.array_equal(same.values, lips.values)
    (edited,) = node.EditLipsCurve.execute(lips, 2.0, 0.5, 0.2, 1.5, 4, 3, 2.5).args
    expected = lips.strengthened(2, 0.5).closed_below(0.2).smoothed(1.5).held(4, 3).shifted(2.5)
    assert np.array_equal(edited.values, expected.values)
    with pytest.raises(error, match="shift is nan: expected a finite number"):
        node.EditLipsCurve.execute(lips, 1.0, 1.0, 0.0, 0.0, 0, 0, float("nan"))
    with pytest.raises(error, match="the lips curve has 30 frames"):
        node.EditLipsCurve.execute(lips, 1.0, 1.0, 0.0, 0.0, 29, 5, 0.0)


def test_a_plot_is_an_image(node: Any, speech: dict[str, Any]) -> None:
    lips = curve(np.random.default_rng(0).uniform(0, 1, (FRAMES, 5)))
    (plain,) = node.PlotLipsCurve.execute(lips, 640, 240).args
    (picture,) = node.PlotLipsCurve.execute(lips, 640, 240, speech).args
    assert plain.shape == picture.shape == (1, 240, 640, 3)
    assert picture.dtype == torch.float32
    assert 0 <= float(picture.min()) < float(picture.max()) <= 1
    assert not torch.equal(plain, picture)
