"""Load Example gives what comes with KeySync, without a path or a file of the user's."""

from __future__ import annotations

import importlib
import json
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import folder_paths
import pytest
import torch


@pytest.fixture(scope="module")
def node(extension: ModuleType) -> ModuleType:
    return importlib.import_module(f"{extension.__name__}.nodes.example")


def test_it_offers_names_and_no_paths(node: ModuleType) -> None:
    schema = node.LoadExample.GET_SCHEMA()
    example, seconds = schema.inputs
    assert example.options == ["person talking", "hand before the mouth", "two people talking"]
    assert seconds.default == 3.0
    assert [output.io_type for output in schema.outputs] == ["VIDEO", "AUDIO"]


@pytest.mark.parametrize(
    ("example", "size"),
    [("person talking", (320, 320)), ("hand before the mouth", (320, 320)), ("two people talking", (256, 416))],
)
def test_each_example_lasts_as_long_as_chosen(node: ModuleType, example: str, size: tuple[int, int]) -> None:
    video, audio = node.LoadExample.execute(example, 1.2).args
    components = video.get_components()
    assert components.images.shape == (30, *size, 3)
    assert components.images.dtype == torch.float32
    assert components.frame_rate == Fraction(25)
    assert audio["waveform"].shape == (1, 1, round(1.2 * audio["sample_rate"]))
    assert float(audio["waveform"].abs().max()) > 0.1


@pytest.mark.parametrize(("example", "hidden"), [("person talking", 0), ("hand before the mouth", 25)])
def test_a_hand_hides_the_lips_for_a_while(node: ModuleType, example: str, hidden: int) -> None:
    """By the red of the lips: as many frames without it, at least, or none."""
    frames = node.LoadExample.execute(example, 3.0).args[0].get_components().images
    assert len(frames) == 75
    mouth = frames[:, 160:260, 100:220]
    red = (mouth[..., 0] - mouth[..., 1] > 0.3).sum((1, 2))
    assert (red[:10] > 100).all()
    assert (red[60:] > 100).all()
    without = int((red == 0).sum())
    assert without >= hidden if hidden else without == 0


def test_a_dub_of_it_is_told_in_sentences_without_temporary_names(
    node: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second dub is of the first one's result, a file in ComfyUI's temporary folder."""
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    lip_sync = importlib.import_module("keysync_extension.nodes.rewrite").LipSync
    video, audio = node.LoadExample.execute("person talking", 1.0).args
    choices = {"system": "rewrite", "strength": 1.0, "sync_mode": "cut_off", "detector": "mediapipe", "face_index": 0}
    for _ in range(2):
        video, report, summary = lip_sync.execute(video, audio, **choices).args
        assert json.loads(report)["video"] == "the video"
        first, *others = summary.splitlines()
        assert first == "Dubbed the largest face in each shot in 25 of 25 frames of the video (1.00 s at 25 fps)."
        assert "The result says in its metadata that its lips are synthetic." in others
        assert str(tmp_path) not in report + summary
