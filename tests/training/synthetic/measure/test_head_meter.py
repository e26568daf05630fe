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
from training.synthetic.measure.head_meter import BATCH, SIDE, HeadMeter, HeadNet, HeadReadings, planes_of
from training.synthetic.measure.head_meter_training import Heads, augmented, figures, train


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
    last = meter.net.layers[-1]
    assert isinstance(last, torch.nn.Linear)
    last.bias.data -= 100
    read = meter.read(np.zeros((1, SIDE, SIDE, 3), np.uint8))
    assert read.opening.tolist() == [0]
    assert read.valence[0] < -1


def test_light_and_colour_are_no_reading(toy: Path) -> None:
    crops = np.random.default_rng(1).integers(0, 100, (2, SIDE, SIDE, 3), dtype=np.uint8)
    meter = HeadMeter(toy)
    tinted = 2 * crops + np.array([5, 30, 55], np.uint8)
    np.testing.assert_allclose(meter.read(tinted).valence, meter.read(crops).valence, atol=0.02)


def test_a_network_learns() -> None:
    """The brightness of the lower half, as the opening."""
    torch.manual_seed(0)
    values = torch.rand(128, 1, 1, 1)
    crops = torch.full((128, 3, SIDE, SIDE), 128.0)
    crops[..., SIDE // 2 :, :] += 100 * (values - 0.5)
    truth = torch.cat((0.3 * values.flatten(1), torch.zeros(128, 2)), 1)
    heads = Heads(crops.byte(), truth)
    net = train(heads, 12)
    assert figures(net, heads)["opening"] > 0.7
    assert augmented(crops[:16] / 255, torch.Generator().manual_seed(0)).shape == (16, 3, SIDE, SIDE)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_meter_training, "FRAMES", 2)
    words = ["-o", str(tmp_path / "meter.safetensors"), "--people", "2", "--epochs", "1"]
    words += ["--heads", str(tmp_path / "heads.pt")]
    for _ in range(2):  # the second time from the cache
        head_meter_training.main(words)
    HeadMeter(tmp_path / "meter.safetensors")
    crops, readings = torch.load(tmp_path / "heads.pt", weights_only=True)[:2]
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
    assert toy.stat().st_size < 300_000
    assert sum(parameter.numel() for parameter in HeadNet().parameters()) < 200_000
