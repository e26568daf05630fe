"""Sharp pictures score higher than blurred and enlarged ones; HyperIQA is asked as pyiqa wants to be asked."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from keysync.errors import KeySyncError, install_line
from keysync.face.crop import crop, resize
from keysync.media.reader import VideoReader
from training.data.preparation import quality
from training.data.preparation.quality import LEAST, QUALITY


def texture(size: int = 512, seed: int = 0) -> Tensor:
    """Crops (3, size, size, 3) with detail of a few pixels."""
    noise = torch.rand(3, 3, size // 2, size // 2, generator=torch.Generator().manual_seed(seed))
    return resize(noise, (size, size)).permute(0, 2, 3, 1)


def through(crops: Tensor, size: int) -> Tensor:
    """The crops made small and large again."""
    planes = crops.permute(0, 3, 1, 2)
    return resize(resize(planes, (size, size)), (crops.shape[1], crops.shape[2])).permute(0, 2, 3, 1)


def test_enlarged_pictures_are_less_sharp() -> None:
    score = QUALITY["sharpness"]("cpu")
    scores = [score(texture()), *(score(through(texture(), size)) for size in (128, 64, 32))]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 4 * scores[1]
    assert score(torch.full((2, 64, 64, 3), 0.5)) == pytest.approx(0, abs=1e-6)


def test_it_is_the_variance_of_the_laplacian() -> None:
    stripes = torch.zeros(1, 256, 256, 3)
    stripes[:, ::2] = 1
    # Above and below every row lie rows of the other kind: +-2 * 255.
    assert quality.sharpness(stripes) == pytest.approx(510**2, rel=0.01)
    assert quality.sharpness(stripes * torch.tensor([0.0, 1.0, 0.0])) == pytest.approx((510 * 0.587) ** 2, rel=0.01)


def test_the_size_of_the_crops_does_not_matter_much() -> None:
    small = through(texture(256), 64)
    large = resize(small.permute(0, 3, 1, 2), (768, 768)).permute(0, 2, 3, 1)
    assert quality.sharpness(large) == pytest.approx(quality.sharpness(small), rel=0.4)


def test_only_the_face_counts() -> None:
    background = texture()
    background[:, 128:-128, 128:-128] = 0.5
    assert quality.sharpness(background) < 0.1 * quality.sharpness(texture())


def test_one_bad_picture_of_three_does_not_decide() -> None:
    crops = texture()
    whole = quality.sharpness(crops)
    crops[1] = 0.5
    assert quality.sharpness(crops) > 0.9 * whole


@pytest.mark.parametrize(
    ("clip", "box"),
    [
        ("aniportrait_pose_ref_512_25fps.mp4", (0, 0, 500)),
        ("latentsync_demo1_1080x1920_25fps_hevc.mp4", (310, 480, 420)),
        ("derived_hamilton_mic_hand_occlusion_512_2997.mp4", (130, 20, 240)),
    ],
)
def test_real_faces_pass_and_their_blurred_copies_do_not(media: Path, clip: str, box: tuple[int, int, int]) -> None:
    frames = [frame for _, frame in VideoReader(media / clip, 1.0, 0.2).frames()]
    crops = torch.stack([crop(frame, box, (512, 512)) for frame in frames])
    assert quality.sharpness(crops) > 1.5 * LEAST["sharpness"]
    assert quality.sharpness(through(crops, 96)) < LEAST["sharpness"]


class FakeMetric:
    """Answers like pyiqa 0.1.16: refuses all but (n, 3, h, w) in 0..1, and gives one number a picture."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.calls = device, 0

    def __call__(self, target: Tensor) -> Tensor:
        assert target.dim() == 4
        assert target.shape[1] == 3
        assert target.min() > -1e-6
        assert target.max() < 1 + 1e-6
        self.calls += 1
        return target[:, 0].mean((1, 2))[:, None, None]


@pytest.fixture
def pyiqa(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    made = SimpleNamespace(metric=None)

    def create_metric(metric_name: str, as_loss: bool = False, device: torch.device | None = None) -> FakeMetric:
        assert metric_name == "hyperiqa"
        assert not as_loss
        assert device is not None
        metric = made.metric = FakeMetric(device)
        return metric

    module = ModuleType("pyiqa")
    monkeypatch.setattr(module, "create_metric", create_metric, raising=False)
    monkeypatch.setitem(sys.modules, "pyiqa", module)
    return made


def test_hyperiqa_is_the_mean_over_the_pictures(pyiqa: SimpleNamespace) -> None:
    score = QUALITY["hyperiqa"]("cpu")
    crops = torch.zeros(4, 40, 30, 3)
    crops[..., 0] = torch.tensor([0.1, 0.3, 0.5, 1.0 + 1e-3])[:, None, None]  # resizing may overshoot
    assert score(crops) == pytest.approx(np.mean([0.1, 0.3, 0.5, 1.0]))
    assert pyiqa.metric.calls == 4
    assert pyiqa.metric.device == torch.device("cpu")


def test_without_pyiqa_the_error_names_the_install_line_and_the_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(KeySyncError, match=re.escape(install_line("pyiqa")) + ".*Noncommercial"):
        QUALITY["hyperiqa"]("cpu")


def test_without_its_weights_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_metric(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    module = ModuleType("pyiqa")
    monkeypatch.setattr(module, "create_metric", create_metric, raising=False)
    monkeypatch.setitem(sys.modules, "pyiqa", module)
    with pytest.raises(KeySyncError, match=r"HyperIQA.*no route to host.*--quality sharpness"):
        QUALITY["hyperiqa"]("cpu")


def test_every_scorer_has_a_default_limit() -> None:
    assert LEAST.keys() == QUALITY.keys()
