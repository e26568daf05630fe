from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from keysync.errors import KeySyncError
from tests.training.evaluation.benchmark.takes import take
from training.evaluation.benchmark.hook import Missing
from training.evaluation.benchmark.syncnet import REACH, SyncNet, faces, open_lse, sync, sync_of

# Some names and shapes of the published syncnet_v2.model, and how many tensors it has without counters.
PUBLISHED = {
    "netcnnaud.0.weight": (64, 1, 3, 3),
    "netcnnaud.4.weight": (192, 64, 3, 3),
    "netcnnaud.18.weight": (512, 256, 5, 4),
    "netcnnlip.0.weight": (96, 3, 5, 7, 7),
    "netcnnlip.4.weight": (256, 96, 1, 5, 5),
    "netcnnlip.18.weight": (512, 256, 1, 6, 6),
    "netfcaud.3.weight": (1024, 512),
    "netfclip.1.running_mean": (512,),
}


def test_layout_is_the_published_one() -> None:
    with torch.device("meta"):
        network = SyncNet()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert PUBLISHED.items() <= shapes.items()
    assert {name.split(".")[0] for name in shapes} == {"netcnnaud", "netcnnlip", "netfcaud", "netfclip"}
    layers = {".".join(name.split(".")[:2]) for name in shapes}
    assert {f"netcnnlip.{number}" for number in (0, 1, 4, 5, 8, 9, 11, 12, 14, 15, 18, 19)} <= layers
    assert len(layers) == 12 + 12 + 3 + 3


def test_windows_become_rows() -> None:
    torch.manual_seed(0)
    network = SyncNet(8).eval()
    with torch.inference_mode():
        assert network.face(torch.rand(1, 3, 5, 224, 224)).shape == (1, 8)
        assert network.sound(torch.rand(2, 1, 13, 20)).shape == (2, 8)


@pytest.mark.parametrize("lag", [-7, 0, 4])
def test_the_least_distance_is_at_the_lag(lag: int) -> None:
    """A face that shows what was heard `lag` frames before."""
    sound = torch.from_numpy(np.random.default_rng(0).normal(size=(80, 16)))
    found = sync(sound.roll(lag, 0), sound)
    assert found.lag == lag
    assert found.distance < 2
    assert found.confidence > 3


def test_strangers_have_no_confidence() -> None:
    rng = np.random.default_rng(0)
    found = sync(torch.from_numpy(rng.normal(size=(80, 16))), torch.from_numpy(rng.normal(size=(80, 16))))
    assert found.confidence < 1.5
    assert -REACH <= found.lag <= REACH


class Loud(SyncNet):
    """A toy: the rows tell how bright the middle frame of a window is, or how loud its sound."""

    def face(self, windows: Tensor) -> Tensor:
        return windows[:, :, 2].mean((1, 2, 3))[:, None] / 255

    def sound(self, rows: Tensor) -> Tensor:
        return (rows[:, 0, 0, 8:12].mean(1, keepdim=True) > 15).float()


@pytest.mark.parametrize("late", [0, 3])
def test_a_face_that_lights_up_when_it_is_loud(late: int) -> None:
    """Of frames 25 a second and their sound, through crops and coefficients."""
    loud = np.random.default_rng(3).random(60) > 0.5
    speech = 0.3 * np.sin(np.arange(60 * 640) * 0.3) * np.repeat(loud, 640)
    shown = take(255 * np.roll(loud, late), speech)
    found = sync_of(shown, Loud(1), torch.device("cpu"))
    assert found is not None
    assert found.lag == late
    assert sync_of(take(np.ones(5), speech), Loud(1), torch.device("cpu")) is None


def test_faces_are_cut_in_the_order_of_colours_that_the_network_was_trained_with() -> None:
    seen = take(np.full(3, 40), np.zeros(1920))
    seen.crops[..., 2] = 200
    cut = faces(seen)
    assert cut.shape == (3, 3, 224, 224)
    assert cut[0, :, 112, 112].tolist() == [200, 40, 40]  # blue first


def test_frames_are_resampled_to_25_a_second() -> None:
    assert len(faces(take(np.arange(20), np.zeros(640), rate=50))) == 10
    assert len(faces(take(np.zeros(0), np.zeros(640)))) == 0


def test_weights_are_read_from_the_published_kind_of_file(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    with pytest.raises(Missing, match=r"needs the published SyncNet, syncnet_v2.model: name it with --lse"):
        open_lse("distance", {}, cpu)
    with pytest.raises(KeySyncError, match="no such file"):
        open_lse("distance", {"lse": tmp_path / "absent.model"}, cpu)
    other = tmp_path / "other.model"
    torch.save({"netcnnaud.0.weight": torch.zeros(64, 1, 3, 3)}, other)
    with pytest.raises(KeySyncError, match=r"has no tensor netcnnaud.0.bias: expected the published SyncNet"):
        open_lse("distance", {"lse": other}, cpu)
