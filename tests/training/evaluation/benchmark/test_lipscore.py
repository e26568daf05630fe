from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import training.evaluation.benchmark.lipscore as lipscore_module
from keysync.errors import KeySyncError
from tests.training.evaluation.benchmark.takes import take
from training.evaluation.benchmark.hook import Missing
from training.evaluation.benchmark.lip_reader import LipReader, Shape
from training.evaluation.benchmark.lipscore import LIPS, MEAN_FACE, STABLE, mouths, open_lipscore, similarity

CPU = torch.device("cpu")
TINY = Shape(width=16, heads=2, hidden=24, layers=1, kernel=3)


def turned(points: np.ndarray, degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    angle = np.radians(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ turn.T + shift


def test_similarity_undoes_a_turn_a_scale_and_a_shift() -> None:
    moved = turned(MEAN_FACE, 20, 1.7, (40, -9))
    turn, shift = similarity(moved, MEAN_FACE)
    np.testing.assert_allclose(moved @ turn.T + shift, MEAN_FACE, atol=1e-9)


def test_a_mouth_lies_in_the_middle_however_the_head_is_held() -> None:
    """A bright square on the lips of a face that is the mean one, turned and scaled."""
    for degrees, scale in ((0.0, 1.0), (25.0, 1.6), (-10.0, 0.7)):
        face = np.zeros((68, 2))
        face[list(STABLE)] = MEAN_FACE
        face[LIPS] = (130.0, 158.0)
        face[[48, 54]] = MEAN_FACE[-2:]
        points = turned(face, degrees, scale, (60.0, 40.0))
        shown = take(np.zeros(3), np.zeros(1920))
        x, y = points[LIPS].mean(0)
        shown.crops[:, round(y) - 6 : round(y) + 6, round(x) - 6 : round(x) + 6] = 255
        found = mouths(replace(shown, points=np.broadcast_to(points, (3, 68, 2)).copy()))
        assert found.shape == (3, 1, 88, 88)
        bright = np.argwhere(found[1, 0].numpy() > 0).mean(0)
        np.testing.assert_allclose(bright, (43.5, 43.5), atol=1.5)


def test_grey_is_normalised_as_the_reader_was_trained_with() -> None:
    found = mouths(take(np.full(3, 255 * 0.421), np.zeros(1920)))
    np.testing.assert_allclose(found.numpy(), 0, atol=0.02)


def tiny_file(path: Path) -> Path:
    """A tiny reader in the layout of KeySync's evaluation."""
    torch.manual_seed(0)
    tensors = LipReader(TINY).state_dict()
    tensors["proj.weight"] *= 1000  # it looks closely
    named = {f"encoder.{name}".replace("encoder.proj", "encoder.embed.0"): rows for name, rows in tensors.items()}
    torch.save(named, path)
    return path


def test_equal_mouths_have_a_score_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lipscore_module, "LipReader", lambda: LipReader(TINY))
    meter = open_lipscore({"lipscore": tiny_file(tmp_path / "reader.pth")}, CPU)
    one, other = (take(np.full(6, level), np.zeros(640 * 6)) for level in (30, 230))
    same, apart = (meter.cell([meter.read(one)], [None], [meter.read(spoken)]).estimate for spoken in (one, other))
    assert same is not None
    assert apart is not None
    assert same.value == pytest.approx(1)
    assert apart.value < 0.999
    assert meter.read(take(np.zeros(0), np.zeros(1))) is None


def test_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"needs Auto-AVSR's lip reader, .*: name it with --lipscore"):
        open_lipscore({}, CPU)
    with pytest.raises(KeySyncError, match=r"reader.pth: .* has the shape .*: expected Auto-AVSR's lip reader"):
        open_lipscore({"lipscore": tiny_file(tmp_path / "reader.pth")}, CPU)
