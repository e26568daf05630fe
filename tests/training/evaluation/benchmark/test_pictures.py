from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from keysync.errors import KeySyncError
from tests.training.evaluation.benchmark.takes import take
from training.evaluation.benchmark.hook import Missing
from training.evaluation.benchmark.meters import Meter
from training.evaluation.benchmark.pictures import open_cmmd, open_fid, open_fvd, open_topiq, sharpness
from training.evaluation.benchmark.take import Take

CPU = torch.device("cpu")


def frames(count: int, level: int = 90, spread: int = 40) -> Take:
    """Frames of noise."""
    shown = take(np.zeros(count), np.zeros(count * 640))
    noise = np.random.default_rng(0).integers(-spread, spread + 1, shown.crops.shape)
    shown.crops[:] = level + noise
    return shown


def distance(meter: Meter, made: list[Take], real: list[Take]) -> float:
    found = meter.cell([meter.read(one) for one in made], [meter.read(one) for one in real], []).estimate
    assert found is not None
    return found.value


def install(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    """A package of this name that holds nothing but this."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(".".join(parts[:end])))
    vars(sys.modules[name]).update(content)


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    flat, dots = take([80, 80], [0.0]), take([80, 80], [0.0])
    dots.crops[:, 1:-1:4, 1:-1:4] = 110
    assert sharpness(flat) == 0
    laplacian = np.zeros((510, 510))
    grey = dots.crops[0, :, :, 0].astype(float)
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    assert sharpness(dots) == pytest.approx(laplacian.var())
    assert sharpness(take([], [0.0])) is None


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP in the layout of transformers."""
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        projection_dim=8,
    )
    folder = tmp_path_factory.mktemp("clip")
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


def test_cmmd_tells_other_pictures(clip: Path) -> None:
    meter = open_cmmd({"cmmd": clip}, CPU)
    one, other = frames(11), frames(11, 200, 5)
    rows = meter.read(one)
    assert isinstance(rows, np.ndarray)
    assert rows.shape == (3, 8)  # every fifth frame
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert distance(meter, [one, one], [one, one]) == pytest.approx(0, abs=1e-6)
    assert distance(meter, [other, other], [one, one]) > 0.1
    assert meter.read(take([], [0.0])) is None


def test_cmmd_needs_clip(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"needs CLIP ViT-L/14 at 336 pixels, .* name it with --cmmd \(from huggingface"):
        open_cmmd({}, CPU)
    with pytest.raises(KeySyncError, match="cannot be loaded"):
        open_cmmd({"cmmd": tmp_path}, CPU)


class Inception(nn.Module):
    """As torch-fidelity's: uint8 in, a tuple of features out."""

    def __init__(self, name: str, features: list[str], feature_extractor_weights_path: str) -> None:
        super().__init__()
        assert (name, features) == ("inception-v3-compat", ["2048"])
        self.scale = torch.load(feature_extractor_weights_path)["scale"]

    def forward(self, pictures: Tensor) -> tuple[Tensor]:
        assert pictures.dtype == torch.uint8
        assert pictures.shape[1:] == (3, 512, 512)
        return (pictures.float().mean((2, 3)) * self.scale,)


def test_fid_is_between_features_of_torch_fidelity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "inception.pth"
    torch.save({"scale": torch.tensor(0.5)}, weights)
    with pytest.raises(Missing, match="needs torch-fidelity's weights of Inception"):
        open_fid({}, CPU)
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(Missing, match=r"needs torch-fidelity \(Apache-2.0\): .* -m pip install torch-fidelity"):
        open_fid({"fid": weights}, CPU)
    install(monkeypatch, "torch_fidelity.feature_extractor_inceptionv3", FeatureExtractorInceptionV3=Inception)
    meter = open_fid({"fid": weights}, CPU)
    near, far = (distance(meter, [take([level] * 6, [0.0])] * 2, [take([80] * 6, [0.0])] * 2) for level in (82, 90))
    assert near == pytest.approx(3 * 1)  # half of each step, in three channels
    assert far == pytest.approx(3 * 25)


class I3D(nn.Module):
    """As cd-fvd's: windows (1, 3, 16, 224, 224) of -1..1 in, logits (1, classes) out."""

    def __init__(self, classes: int, in_channels: int) -> None:
        super().__init__()
        assert (classes, in_channels) == (400, 3)
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, windows: Tensor) -> Tensor:
        assert windows.shape == (1, 3, 16, 224, 224)
        assert float(windows.abs().max()) <= 1
        return windows.mean((3, 4)).flatten(1) * self.scale


def test_fvd_is_between_windows_of_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "i3d.pt"
    torch.save({"scale": torch.ones(1)}, weights)
    with pytest.raises(Missing, match="needs the weights of I3D"):
        open_fvd({}, CPU)
    monkeypatch.setitem(sys.modules, "cdfvd", None)
    with pytest.raises(Missing, match=r"needs cd-fvd \(MIT\): .* -m pip install cd-fvd"):
        open_fvd({"fvd": weights}, CPU)
    install(monkeypatch, "cdfvd.third_party.i3d.pytorch_i3d", InceptionI3d=I3D)
    meter = open_fvd({"fvd": weights}, CPU)
    rows = meter.read(take(np.arange(40) * 5, [0.0]))
    assert isinstance(rows, np.ndarray)
    assert rows.shape == (2, 48)  # 40 frames are two windows
    np.testing.assert_allclose(rows[1, :3], np.array([80, 85, 90]) / 127.5 - 1, atol=1e-5)
    assert meter.read(take([3] * 15, [0.0])) is None
    torch.save({"other": torch.ones(1)}, weights)
    with pytest.raises(KeySyncError, match="has no tensor scale: expected the weights of I3D"):
        open_fvd({"fvd": weights}, CPU)


def test_topiq_is_the_mean_over_frames_of_pyiqa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    class Metric(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(1, 1, bias=False)

        def forward(self, pictures: Tensor) -> Tensor:
            assert pictures.shape == (1, 3, 512, 512)
            return pictures.mean((1, 2, 3), keepdim=True).flatten(1) * self.net.weight

    def create_metric(name: str, **words: Any) -> Metric:
        asked.update(words, name=name)
        return Metric()

    weights = tmp_path / "topiq.pth"
    torch.save({"params": {"weight": torch.full((1, 1), 0.5)}}, weights)
    with pytest.raises(Missing, match="needs pyiqa's weights"):
        open_topiq({}, CPU)
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(Missing, match=r"needs pyiqa \(PolyForm Noncommercial 1.0.0: no commercial use\)"):
        open_topiq({"topiq": weights}, CPU)
    install(monkeypatch, "pyiqa", create_metric=create_metric)
    meter = open_topiq({"topiq": weights}, CPU)
    assert meter.read(take([51] * 5 + [102] * 5, [0.0])) == pytest.approx((0.1 + 0.2) / 2)
    assert (asked["name"], asked["pretrained"], asked["backbone_pretrain"]) == ("topiq_nr-face-v1", False, False)
    assert meter.read(take([], [0.0])) is None
