"""The reader of lips vectors: a ResNet for pictures of any size."""

from __future__ import annotations

import torch

from keysync.systems.flashlips.networks import ResNetConfig
from keysync.systems.flashlips.presets import PRESETS
from keysync.systems.flashlips.resnet import ResNet, scaled


@torch.no_grad()
def test_pictures_of_any_size_and_number() -> None:
    torch.manual_seed(0)
    reader = ResNet(PRESETS["tiny"].networks.reader, 12).eval()
    pictures = torch.rand(3, 3, 50, 70)
    read = reader(pictures)
    assert read.shape == (3, 12)
    torch.testing.assert_close(reader(pictures[1:2]), read[1:2], atol=1e-5, rtol=1e-5)


def test_levels_halve_the_picture() -> None:
    reader = ResNet(ResNetConfig((8, 8, 16, 16), (1, 1, 1, 1), side=64), 12)
    assert reader.levels(reader.enter(torch.zeros(1, 3, 64, 64))).shape == (1, 16, 2, 2)


def test_a_resnet_34_has_34_layers() -> None:
    """Its convolutions of 3x3 and 7x7, and the last layer."""
    with torch.device("meta"):
        reader = ResNet(ResNetConfig(), 12)
    weights = [parameter for parameter in reader.parameters() if parameter.ndim == 4 and parameter.shape[-1] > 1]
    assert len(weights) + 1 == 34


def test_pictures_are_scaled_to_the_network() -> None:
    grey = scaled(torch.full((1, 3, 10, 20), 0.5), 8)
    torch.testing.assert_close(grey, torch.zeros(1, 3, 8, 8))
