"""The detector face-alignment runs on the device it is given, and leaves torch's settings and errors alone."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from keysync.errors import KeySyncError
from keysync.face.face_alignment import FaceAlignmentDetector

from ..synthetic_face import face_points

FRAME = np.ones((100, 100, 3), dtype=np.uint8)


class Package:
    """What is used of the package `face_alignment`, and what it does to torch."""

    raised: Exception | None = None

    def __init__(self, landmarks_type: int, device: str, **_: Any) -> None:
        if Package.raised is not None:
            raise Package.raised
        torch.backends.cudnn.benchmark = True
        self.network = self._load_native("2DFAN-4", 4, device, torch.float32)

    def _load_native(self, *_: Any) -> Any:
        raise AssertionError("the package would download its weights here")

    def get_landmarks_from_image(self, frame: Any, return_bboxes: bool) -> Any:
        torch.backends.cudnn.benchmark = True
        return [face_points()], None, [np.array([30, 40, 70, 90, 0.75])]


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("face_alignment")
    module.FaceAlignment = Package  # type: ignore[attr-defined]
    module.LandmarksType = SimpleNamespace(TWO_D=1)  # type: ignore[attr-defined]
    module.api = SimpleNamespace(FAN=lambda size: torch.nn.Linear(size, 1))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "face_alignment", module)


@pytest.fixture(autouse=True)
def benchmark() -> Iterator[None]:
    kept = torch.backends.cudnn.benchmark
    yield
    torch.backends.cudnn.benchmark = kept


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save(torch.nn.Linear(4, 1).state_dict(), tmp_path / FaceAlignmentDetector.FAN)
    (tmp_path / FaceAlignmentDetector.S3FD).touch()
    return tmp_path


def test_the_network_lies_on_the_device(weights: Path) -> None:
    assert FaceAlignmentDetector(weights=weights)._alignment.network.weight.device.type == "cpu"
    assert FaceAlignmentDetector(weights=weights, device="meta")._alignment.network.weight.device.type == "meta"


@pytest.mark.parametrize("setting", [False, True])
def test_cudnn_is_left_as_it_was(setting: bool, weights: Path) -> None:
    torch.backends.cudnn.benchmark = setting
    detector = FaceAlignmentDetector(weights=weights)
    assert torch.backends.cudnn.benchmark is setting
    assert len(detector.detect(FRAME)) == 1
    assert torch.backends.cudnn.benchmark is setting


@pytest.mark.parametrize(
    "error", [RuntimeError("size mismatch"), pickle.UnpicklingError("invalid load key"), EOFError()]
)
def test_a_wrong_file_is_said_to_be_one(error: Exception, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Package, "raised", error)
    with pytest.raises(KeySyncError, match="is not a weight file of face-alignment"):
        FaceAlignmentDetector(weights=weights)


def test_a_full_gpu_is_not_said_to_be_a_wrong_file(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Package, "raised", torch.cuda.OutOfMemoryError("out of memory"))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        FaceAlignmentDetector(weights=weights)
