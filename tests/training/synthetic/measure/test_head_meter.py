"""The meter of heads: what goes in and comes out, and how it is trained. How well it reads is for the evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from keysync.errors import KeySyncError
from tests.training.toy_head_meter import write_toy_head_meter
from training.synthetic.measure import head_meter_training
from training.synthetic.measure.fitting import fit
from training.synthetic.measure.head_meter import BATCH, SIDE, HeadMeter, HeadNet, HeadReadings, planes_of
from training.synthetic.measure.head_meter_training import Heads, augmented, error_of, figures, settle


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_head_meter(tmp_path_factory.mktemp("meter"))


def test_it_reads_crops_of_any_size_and_none(toy: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (BATCH + 2, 96, 96, 3), dtype=np.uint8)
    meter = HeadMeter(toy)
    assert planes_of(crops).shape == (BATCH + 2, 3, SIDE, SIDE)
    read = meter.read(crops)
    assert read.opening.shape == read.valence.shape == read.arousal.shape == (BATCH + 2,)
    np.testing.assert_allclose(meter.read(crops[BATCH:]).arousal, read.arousal[BATCH:], atol=1e-5)
    assert meter.read(crops[:0]).opening.shape == (0,)


def test_an_opening_is_not_negative(toy: Path) -> None:
    meter = HeadMeter(toy)
    meter.net.read.bias.data -= 100
    read = meter.read(np.zeros((1, SIDE, SIDE, 3), np.uint8))
    assert read.opening.tolist() == [0]
    assert read.valence[0] < -1


def test_light_and_colour_are_no_reading(toy: Path) -> None:
    crops = np.random.default_rng(1).integers(0, 100, (2, SIDE, SIDE, 3), dtype=np.uint8)
    meter = HeadMeter(toy)
    tinted = 2 * crops + np.array([5, 30, 55], np.uint8)
    np.testing.assert_allclose(meter.read(tinted).valence, meter.read(crops).valence, atol=0.02)


def test_a_network_learns() -> None:
    """Where points are that are in the same place in all crops."""
    torch.manual_seed(0)
    crops = torch.randint(0, 256, (8, 3, SIDE, SIDE), dtype=torch.uint8)
    points = torch.tensor([0.4, 0.65]).expand(8, 51, 2)
    heads = Heads(crops, points, torch.zeros(8, 3))
    (first, last) = (fit(HeadNet, heads.tensors, error_of, 4, epochs, 0, 4e-3) for epochs in (1, 25))
    with torch.no_grad():
        wrong = [float((net.points(crops / 255) - points).abs().mean()) * SIDE for net in (first, last)]
    assert wrong[1] < 0.5 * wrong[0]


def test_points_move_with_the_picture() -> None:
    crops = torch.zeros(16, 3, SIDE, SIDE)
    crops[..., 54:70, 34:50] = 1
    points = torch.tensor([42.0, 62.0]).expand(16, 51, 2) / SIDE
    seen, moved = augmented(crops, points, torch.Generator().manual_seed(0))
    assert seen.shape == crops.shape
    row, column = torch.meshgrid(*[torch.arange(SIDE) + 0.5] * 2, indexing="ij")
    light = seen.mean(1).sub(0.3).clamp_min(0)
    weight = light.sum((1, 2))
    place = torch.stack([(light * axis).sum((1, 2)) / weight for axis in (column, row)], 1)
    assert (place - SIDE * moved[:, 0]).abs().max() < 0.6
    assert moved.std(0).max() > 0


class Known(HeadNet):
    """Finds in a crop the points whose number is its first value."""

    def __init__(self, known: torch.Tensor) -> None:
        super().__init__()
        self.known = known

    def points(self, crops: torch.Tensor) -> torch.Tensor:
        return self.known[(crops[:, 0, 0, 0] * 255).round().long()]


def test_settled_readings_are_the_least_squares() -> None:
    torch.manual_seed(0)
    points = torch.rand(240, 51, 2)
    crops = torch.arange(240, dtype=torch.uint8)[:, None, None, None].repeat(1, 3, 1, 1)
    net = Known(points)
    seen = net.shape_of(points)
    true = torch.stack([seen[:, 0], seen[:, 1] - seen[:, 9], -seen[:, 3]], 1)
    settle(net, Heads(crops, points, true))
    assert min(figures(net, Heads(crops, points, true)).values()) > 0.99


def test_what_is_steady_lasts() -> None:
    ramp = np.linspace(-0.5, 0.5, 60, dtype=np.float32)
    wobble = 0.3 * np.sin(np.arange(60) * 2 * np.pi / 6.5).astype(np.float32)
    read = HeadReadings(ramp, ramp + wobble, np.full(60, 0.2, np.float32))
    steady = read.steady()
    assert steady.opening is read.opening
    np.testing.assert_allclose(steady.valence[6:-6], ramp[6:-6], atol=0.02)
    np.testing.assert_allclose(steady.arousal, 0.2, atol=1e-6)
    assert len(read.steady().valence) == 60


def test_readings_ignore_place_and_size_of_the_face() -> None:
    net, points = HeadNet(), torch.rand(3, 51, 2)
    torch.testing.assert_close(net.readings(points), net.readings(0.5 * points + 0.2), rtol=1e-3, atol=1e-4)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_meter_training, "FRAMES", 2)
    words = ["-o", str(tmp_path / "meter.safetensors"), "--people", "2", "--epochs", "1"]
    words += ["--heads", str(tmp_path / "heads.pt")]
    for _ in range(2):  # the second time from the cache
        head_meter_training.main(words)
    HeadMeter(tmp_path / "meter.safetensors")
    crops, points, readings = torch.load(tmp_path / "heads.pt", weights_only=True)[:3]
    assert points.shape == (4, 51, 2)
    assert ((points > 0) & (points < 1)).all()
    assert crops.shape == (4, 3, SIDE, SIDE)
    assert (readings[:, 1:].abs() <= 1).all()


def test_a_correction_by_the_person_s_own_picture() -> None:
    read = HeadReadings(*(np.array(part, np.float32) for part in ([0.1, 0.2], [0.3, 0.5], [0.0, -0.4])))
    picture = HeadReadings(*(np.array(part, np.float32) for part in ([0.0], [0.2], [-0.1])))
    corrected = read.corrected(picture, 0.4, 0.0)
    assert corrected.opening is read.opening
    np.testing.assert_allclose(corrected.valence, [0.5, 0.7], atol=1e-6)
    np.testing.assert_allclose(corrected.arousal, [0.1, -0.3], atol=1e-6)


def test_missing_and_other_weights(tmp_path: Path) -> None:
    command = r"python -m training\.synthetic\.measure\.head_meter_training -o FILE writes"
    with pytest.raises(KeySyncError, match=rf"none\.safetensors: no such file: expected .*that {command}"):
        HeadMeter(tmp_path / "none.safetensors")
    save_file({"layers.0.bias": torch.zeros(16)}, tmp_path / "other.safetensors")
    with pytest.raises(KeySyncError, match=rf"does not hold a meter of heads: expected the file that {command}"):
        HeadMeter(tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(KeySyncError, match=r"text\.safetensors"):
        HeadMeter(tmp_path / "text.safetensors")


def test_it_is_small(toy: Path) -> None:
    assert toy.stat().st_size < 100_000
    assert sum(parameter.numel() for parameter in HeadNet().parameters()) < 50_000
