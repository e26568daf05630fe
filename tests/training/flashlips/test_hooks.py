"""Networks from outside: found by name, absent, and broken."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from keysync.errors import KeySyncError
from training.flashlips.hooks import Features, feature_error, load_hook

HERE = "tests.training.flashlips.test_hooks"


def layers(device: torch.device) -> Features:
    """Two layers of a network."""
    return lambda pictures: (pictures, pictures.mean((2, 3)))


def broken(device: torch.device) -> Features:
    raise OSError(f"no weights for {device}")


def test_a_function_is_loaded_by_its_name() -> None:
    features = load_hook(f"{HERE}:layers", "perceptual", torch.device("cpu"))
    assert features is not None
    assert float(feature_error(features, torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))) == pytest.approx(2)


def test_an_absent_one_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert load_hook("", "perceptual", torch.device("cpu")) is None
    assert caplog.messages == ["perceptual is empty: the loss is without this term"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (f"{HERE}:nothing", "has no function nothing: name one that takes a device"),
        ("no_such.module:load", "cannot load the face network no_such.module:load"),
        (f"{HERE}:broken", r"the face network .* cannot be loaded \(.*no weights for cpu\): correct its function"),
    ],
)
def test_one_that_fails_is_an_error(name: str, reason: str) -> None:
    with pytest.raises(KeySyncError, match=reason):
        load_hook(name, "face", torch.device("cpu"))


def test_the_target_has_no_gradient() -> None:
    target: Tensor = torch.zeros(1, 3, 2, 2, requires_grad=True)
    ours = torch.ones(1, 3, 2, 2, requires_grad=True)
    feature_error(lambda pictures: 2 * pictures, ours, target).backward()
    assert target.grad is None
    assert ours.grad is not None
