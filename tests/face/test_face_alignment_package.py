"""The detector face-alignment on the real package, whose names and shapes other tests stand in for; random weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from keysync.face.detectors import Detector, make_detector
from keysync.face.face_alignment import FaceAlignmentDetector

SIZE = 128  # one cell of S3FD's coarsest grid


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Detector]:
    """Of weights that see one face, in every picture."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package's own
        from face_alignment.api import FAN
        from face_alignment.detection.sfd.net_s3fd import s3fd

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    torch.save(FAN(4).state_dict(), folder / FaceAlignmentDetector.FAN)
    finder = s3fd()
    for name, layer in finder.named_children():
        if name.endswith("mbox_conf"):
            torch.nn.init.zeros_(layer.weight)
            layer.bias.data[:] = torch.tensor([10.0, -10.0]).repeat(len(layer.bias) // 2)
    finder.conv7_2_mbox_conf.bias.data[:] = torch.tensor([-10.0, 10.0])
    torch.nn.init.zeros_(finder.conv7_2_mbox_loc.weight)
    torch.nn.init.zeros_(finder.conv7_2_mbox_loc.bias)
    torch.save(finder.state_dict(), folder / FaceAlignmentDetector.S3FD)
    loaded = make_detector("face-alignment", folder)
    yield loaded
    loaded.close()


def test_the_package_takes_our_weights_and_gives_68_points_of_each_face(detector: Detector) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    (face,) = detector.detect(frame)
    assert face.landmarks.shape == (68, 2)
    assert face.landmarks.dtype == np.float32
    assert np.isfinite(face.landmarks).all()
    assert 0.99 < face.confidence <= 1.0
