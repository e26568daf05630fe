"""FlashLips by name: full size as published, the small one, and tiny ones for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...method import PUBLISHED_CROP_SCALE
from .networks import (
    EditorConfig,
    LipsConfig,
    Networks,
    ReferencesConfig,
    ResNetConfig,
    SpeechToLipsConfig,
    TransformerConfig,
    UNetConfig,
)
from .spec import FlashLipsSpec

# The paper's speech features are those of wav2vec 2.0, here base; the small ones hear the built-in Whisper.
FULL = FlashLipsSpec(
    Networks(
        EditorConfig(
            UNetConfig((256, 512, 768, 768), blocks=2, attends=(False, True, True, True)),
            ReferencesConfig(channels=128, blocks=4, features=64),
        ),
        LipsConfig(),
        ResNetConfig(),
        SpeechToLipsConfig(channels=1024, depth=12, speech=768),
    ),
    image_size=(512, 512),
    crop_scale=PUBLISHED_CROP_SCALE,
    speech_encoder="wav2vec2",
)
SMALL = FlashLipsSpec(
    Networks(
        EditorConfig(
            UNetConfig((64, 128, 160), blocks=1, attends=(False, True, True), head_dim=32),
            ReferencesConfig(channels=32, blocks=2, features=16),
        ),
        LipsConfig(hidden=128, channels=(16, 32, 64), side=32),
        ResNetConfig((16, 32, 64, 96), (1, 1, 1, 1), side=96),
        SpeechToLipsConfig(channels=192, depth=6, speech=384, head_dim=48),
    ),
    image_size=(128, 128),
    crop_scale=1.4,
    speech_encoder="whisper",
)
TINY = FlashLipsSpec(
    Networks(
        EditorConfig(
            UNetConfig((16, 32), blocks=1, attends=(False, True), head_dim=16), ReferencesConfig(16, 1, features=4)
        ),
        LipsConfig(hidden=16, channels=(8, 16), side=16),
        ResNetConfig((8, 16), (1, 1), side=32),
        SpeechToLipsConfig(channels=32, depth=1, speech=384, emotion=2, window=12, overlap=4, head_dim=16),
    ),
    image_size=(64, 64),
    crop_scale=1.4,
    speech_encoder="whisper",
    steps=2,
    sources=3,
)


def _with_backbone(spec: FlashLipsSpec, backbone: TransformerConfig) -> FlashLipsSpec:
    networks = spec.networks
    return replace(spec, networks=replace(networks, editor=replace(networks.editor, backbone=backbone)))


PRESETS: Mapping[str, FlashLipsSpec] = {
    "full-unet": FULL,
    "full-transformer": _with_backbone(FULL, TransformerConfig(channels=1024, depth=24)),
    "small": SMALL,
    "tiny": TINY,
    "tiny-transformer": _with_backbone(TINY, TransformerConfig(channels=32, depth=1, head_dim=16)),
}
