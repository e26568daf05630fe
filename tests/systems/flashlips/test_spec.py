"""What a FlashLips file says of itself is read as it was written, and refused where it is not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from keysync.errors import KeySyncError
from keysync.systems.flashlips.networks import TransformerConfig, UNetConfig
from keysync.systems.flashlips.presets import PRESETS
from keysync.systems.flashlips.spec import metadata_of, spec_of


@pytest.mark.parametrize("preset", list(PRESETS))
def test_metadata_come_back(preset: str) -> None:
    spec = replace(PRESETS[preset], mask_free=True, steps=3, image_size=(512, 256))
    assert spec_of("a.safetensors", metadata_of(spec)) == spec


def changed(name: str, value: Any, inside: str = "") -> dict[str, str]:
    """Metadata with one other setting; None removes it."""
    metadata = metadata_of(PRESETS["tiny"])
    settings = json.loads(metadata["keysync.settings"])
    place = settings[inside] if inside else settings
    if value is None:
        del place[name]
    else:
        place[name] = value
    return metadata | {"keysync.settings": json.dumps(settings)}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "has no metadata of a FlashLips file"),
        ({"keysync.format": "2"}, "has a newer format"),
        (metadata_of(PRESETS["tiny"]) | {"keysync.speech_encoder": "../"[:0]}, "keysync.speech_encoder is ''"),
        (metadata_of(PRESETS["tiny"]) | {"keysync.settings": "["}, "keysync.settings is not JSON"),
        (changed("backbone", "gan"), "backbone is 'gan', expected one of unet, transformer"),
        (changed("backbone", "transformer"), "transformer is missing"),
        (changed("crop_scale", None), "crop_scale is missing"),
        (changed("channels", None, "unet"), "missing 1 required positional argument: 'channels'"),
        (changed("channels", [10**6], "unet"), "channels is .*, expected 1 to 8 times an integer from 1 to 8192"),
        (changed("attends", [True], "unet"), "the U-Net has 2 levels but 1 of attention"),
        (changed("head_dim", 24, "unet"), "the U-Net has 32 channels and heads of 24"),
        (changed("overlap", 12, "speech"), "windows of 12 frames share 12"),
        (changed("image_size", [64, 72]), "the crops have 72x64 pixels: expected multiples of 16"),
        (changed("image_size", [64]), "expected 2|not enough values"),
        (changed("mask", "hat"), "mask is 'hat', expected one of box"),
        (changed("references_used", 5), "references_used is 5, expected an integer from 1 to 4"),
    ],
)
def test_other_metadata_are_refused(metadata: dict[str, str], message: str) -> None:
    with pytest.raises(KeySyncError, match=message) as error:
        spec_of("a.safetensors", metadata)
    assert str(error.value).startswith("a.safetensors")
    assert "\n" not in str(error.value)


def test_a_lips_vector_has_numbers() -> None:
    tiny = PRESETS["tiny"]
    none = replace(tiny.networks.lips, points=0, picture=0)
    with pytest.raises(KeySyncError, match="the lips vector has no numbers"):
        replace(tiny, networks=replace(tiny.networks, lips=none))


def test_backbones_refuse_heads_that_do_not_fit() -> None:
    with pytest.raises(KeySyncError, match="the transformer has 100 channels and heads of 64"):
        TransformerConfig(channels=100, depth=1)
    with pytest.raises(KeySyncError, match="an even number"):
        TransformerConfig(channels=5, depth=1, head_dim=5)
    UNetConfig((48, 64), 1, (False, True))  # a level without attention has no heads
