"""Openings that are drawn become lips vectors on the line that crops of the person show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.face.mesh import Meshes
from keysync.face.mouth import MEASURED
from keysync.systems.flashlips import opening as module
from keysync.systems.flashlips.models import FlashLips
from keysync.systems.flashlips.opening import OpeningLine, Openings, drawn_over
from keysync.systems.flashlips.vectors import LipsVectors


@pytest.mark.parametrize(
    "text",
    [
        "0:0, 0.5:1,1 : 0.25",
        "seconds,opening\n0,0\n0.5,1\n1,0.25\n",
        '[{"seconds": 0, "opening": 0}, {"seconds": 0.5, "opening": 1}, {"seconds": 1, "opening": 0.25}]',
    ],
)
def test_keys_are_read(text: str) -> None:
    keys = Openings.of(text)
    times = np.array([-1.0, 0.25, 0.5, 2.0])
    assert keys.at(times).tolist() == [0, 0.5, 1, 0.25]
    assert keys.cover(times).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the keys are ''"),
        ("0:0,half:1", "the keys are '0:0,half:1'"),
        ("0:2", "out of their range"),
        ("1:0,1:1", "do not rise"),
        ("[]", r"the keys are '\[\]'"),
        ('[{"seconds": 0, "opening": -1}]', "out of their range"),
    ],
)
def test_what_is_no_curve_is_refused(text: str, message: str) -> None:
    with pytest.raises(KeySyncError, match=message) as error:
        Openings.of(text)
    assert error.value.about == "keys"


@pytest.fixture
def line(models: FlashLips, monkeypatch: pytest.MonkeyPatch) -> OpeningLine:
    """Of a reader that reads `way` times the opening, which a mesh reader measures; one frame shows no face."""
    openings = np.array([0.1, 0.3, 0.2, 9.0], np.float32)

    class Reader:
        def __init__(self, *_: Any) -> None: ...

        def read(self, pictures: Tensor) -> Meshes:
            return Meshes(np.zeros((len(pictures), 468, 3), np.float32), np.array([1.0, 0.9, 0.8, 0.1], np.float32))

    def measured(points: Any) -> Any:
        measures = np.zeros((len(points), len(MEASURED)), np.float32)
        measures[:, MEASURED.index("opening")] = openings
        return measures

    def read(self: FlashLips, crops: Any) -> Tensor:
        return torch.from_numpy(openings[: len(crops), None] * np.arange(12, dtype=np.float32))

    monkeypatch.setattr(module, "MeshReader", Reader)
    monkeypatch.setattr(module, "measure", measured)
    monkeypatch.setattr(FlashLips, "read", read)
    return OpeningLine.of(models, torch.zeros(4, 64, 64, 3))


def test_the_line_leads_from_closed_to_wide_open(line: OpeningLine, models: FlashLips) -> None:
    np.testing.assert_allclose(line.closed, 0.1 * np.arange(12), atol=1e-5)
    np.testing.assert_allclose(line.opened, 0.3 * np.arange(12), atol=1e-5)
    drawn = line.draw(np.array([0.0, 0.5, 1.5]), 25.0)
    assert drawn.model == models.key
    np.testing.assert_allclose(drawn.values[1], 0.2 * np.arange(12), atol=1e-5)
    np.testing.assert_allclose(line.read(drawn), [0, 0.5, 1.5], atol=1e-5)


def test_drawn_openings_replace_or_blend_from_key_to_key(line: OpeningLine, models: FlashLips) -> None:
    before = LipsVectors(np.ones((5, 12), np.float32), 5.0, models.key)
    keys = Openings.of("0.2:0,0.6:1")
    over = drawn_over(before, keys, line, 1.0)
    assert (over.values[[0, 4]] == 1).all()
    np.testing.assert_allclose(line.read(over)[1:4], [0, 0.5, 1], atol=1e-5)
    half = drawn_over(before, keys, line, 0.5)
    np.testing.assert_allclose(half.values, (over.values + before.values) / 2, atol=1e-5)
    with pytest.raises(KeySyncError, match="of another FlashLips file"):
        drawn_over(LipsVectors(before.values, 5.0, "other"), keys, line, 1.0)


def test_crops_of_a_closed_mouth_tell_nothing(models: FlashLips) -> None:
    with pytest.raises(KeySyncError, match="the mouth does not open in the crops") as error:
        OpeningLine.of(models, torch.zeros(3, 64, 64, 3))
    assert error.value.about == "opening"
