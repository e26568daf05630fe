"""LPIPS by its package, where it is installed, and what is said where it is not."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from keysync.errors import KeySyncError
from training.loss.perceptual import load_lpips


class Distance(nn.Module):
    """In the place of `lpips.LPIPS`."""

    def __init__(self, net: str, verbose: bool) -> None:
        super().__init__()
        assert (net, verbose) == ("vgg", False)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, ours: Tensor, target: Tensor) -> Tensor:
        return self.scale * (ours - target).abs().mean((1, 2, 3), keepdim=True)


def installed(monkeypatch: pytest.MonkeyPatch, network: object) -> None:
    package = ModuleType("lpips")
    package.LPIPS = network  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lpips", package)


def test_a_frozen_network(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, Distance)
    distance = load_lpips(torch.device("cpu"))
    ours = torch.zeros(2, 3, 8, 8, requires_grad=True)
    found = distance(ours, torch.ones(2, 3, 8, 8))
    assert found.flatten().tolist() == [1, 1]
    found.sum().backward()
    assert ours.grad is not None
    assert isinstance(distance, nn.Module)
    assert not distance.training
    assert not any(parameter.requires_grad for parameter in distance.parameters())


def test_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(KeySyncError, match=r"lpips_weight needs lpips: .* -m pip install lpips, or set lpips_weight"):
        load_lpips(torch.device("cpu"))


def test_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(**_: object) -> nn.Module:
        raise OSError("no network")

    installed(monkeypatch, offline)
    with pytest.raises(KeySyncError, match=r"VGG's weights, which LPIPS needs, cannot be loaded .no network.: connect"):
        load_lpips(torch.device("cpu"))
