"""The networks have the published sizes, counted without weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from keysync.systems.flashlips.editor import Editor
from keysync.systems.flashlips.presets import PRESETS
from keysync.systems.flashlips.resnet import ResNet
from keysync.systems.flashlips.speech_to_lips import SpeechToLips

WITHIN = 0.1


def millions(module: nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@pytest.mark.parametrize(("preset", "published"), [("full-unet", 250), ("full-transformer", 300)])
def test_editors_are_as_large_as_published(preset: str, published: float) -> None:
    networks = PRESETS[preset].networks
    with torch.device("meta"):
        editor = Editor(networks.editor, networks.lips.width)
    assert millions(editor) == pytest.approx(published, rel=WITHIN)


@pytest.mark.parametrize("preset", ["full-unet", "full-transformer"])
def test_the_other_parts_are_as_large_as_published(preset: str) -> None:
    networks = PRESETS[preset].networks
    assert (networks.lips.points, networks.lips.picture, networks.lips.width) == (8, 4, 12)
    with torch.device("meta"):
        speech = SpeechToLips(networks.speech, networks.lips.width)
        reader = ResNet(networks.reader, networks.lips.width)
    assert millions(speech) == pytest.approx(150, rel=WITHIN)
    # A ResNet-34 without its 1000 classes.
    assert millions(reader) == pytest.approx(21.28, rel=0.01)


def test_the_small_networks_ship() -> None:
    """Together with a VAE they stay below 30 MB in 16 bits."""
    networks = PRESETS["small"].networks
    with torch.device("meta"):
        parts = (
            Editor(networks.editor, networks.lips.width),
            ResNet(networks.reader, networks.lips.width),
            SpeechToLips(networks.speech, networks.lips.width),
        )
    assert sum(map(millions, parts)) < 10
