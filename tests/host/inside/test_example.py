"""Load Example gives what comes with KeySync, without a path or a file of the user's."""

from __future__ import annotations

import importlib
from fractions import Fraction
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="module")
def node(extension: ModuleType) -> ModuleType:
    return importlib.import_module(f"{extension.__name__}.nodes.example")


def test_it_offers_names_and_no_paths(node: ModuleType) -> None:
    schema = node.LoadExample.GET_SCHEMA()
    example, seconds = schema.inputs
    assert example.options == ["person talking", "hand before the mouth"]
    assert seconds.default == 3.0
    assert [output.io_type for output in schema.outputs] == ["VIDEO", "AUDIO"]


@pytest.mark.parametrize("example", ["person talking", "hand before the mouth"])
def test_each_example_lasts_as_long_as_chosen(node: ModuleType, example: str) -> None:
    video, audio = node.LoadExample.execute(example, 1.2).args
    components = video.get_components()
    assert components.images.shape == (30, 320, 320, 3)
    assert components.images.dtype == torch.float32
    assert components.frame_rate == Fraction(25)
    assert audio["waveform"].shape == (1, 1, round(1.2 * audio["sample_rate"]))
    assert float(audio["waveform"].abs().max()) > 0.1


def test_a_hand_is_before_the_mouth_for_a_while(node: ModuleType) -> None:
    frames = node.LoadExample.execute("hand before the mouth", 3.0).args[0].get_components().images
    assert len(frames) == 75
    mouth = frames[:, 190:250, 120:200]
    change = (mouth - mouth[0]).abs().mean((1, 2, 3))
    assert float(change[20:40].min()) > 2 * float(change[[1, 60, 65, 70, 74]].max())
