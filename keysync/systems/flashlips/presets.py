"""FlashLips' networks by name: full size as published, the small one, and tiny ones for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .editor import EditorConfig
from .lips_vector import LipsConfig
from .references import ReferencesConfig
from .resnet import ResNetConfig
from .speech_to_lips import SpeechToLipsConfig
from .transformer import TransformerConfig
from .unet import UNetConfig


@dataclass(frozen=True)
class Networks:
    """The configurations of all parts: the `editor`, the `lips` vector that it is trained with, the `reader` that reads
    it from a face, and `speech`, which says it."""

    editor: EditorConfig
    lips: LipsConfig
    reader: ResNetConfig
    speech: SpeechToLipsConfig


# Speech channels are those of wav2vec 2.0 base at full size, of the built-in Whisper in the small ones.
FULL_SPEECH = SpeechToLipsConfig(channels=1024, depth=12, speech=768)
FULL_REFERENCES = ReferencesConfig(channels=128, blocks=4, features=64)
FULL_UNET = UNetConfig((256, 512, 768, 768), blocks=2, attends=(False, True, True, True))
PRESETS: Mapping[str, Networks] = {
    "full-unet": Networks(EditorConfig(FULL_UNET, FULL_REFERENCES), LipsConfig(), ResNetConfig(), FULL_SPEECH),
    "full-transformer": Networks(
        EditorConfig(TransformerConfig(channels=1024, depth=24), FULL_REFERENCES),
        LipsConfig(),
        ResNetConfig(),
        FULL_SPEECH,
    ),
    "small": Networks(
        EditorConfig(
            UNetConfig((64, 128, 160), blocks=1, attends=(False, True, True), head_dim=32),
            ReferencesConfig(channels=32, blocks=2, features=16),
        ),
        LipsConfig(hidden=128, channels=(16, 32, 64), side=32),
        ResNetConfig((16, 32, 64, 96), (1, 1, 1, 1), side=96),
        SpeechToLipsConfig(channels=192, depth=6, speech=384, head_dim=48),
    ),
    "tiny": Networks(
        EditorConfig(
            UNetConfig((16, 32), blocks=1, attends=(False, True), head_dim=16), ReferencesConfig(16, 1, features=4)
        ),
        LipsConfig(hidden=16, channels=(8, 16), side=16),
        ResNetConfig((8, 16), (1, 1), side=32),
        SpeechToLipsConfig(channels=32, depth=1, speech=384, emotion=2, window=12, overlap=4, head_dim=16),
    ),
    "tiny-transformer": Networks(
        EditorConfig(TransformerConfig(channels=32, depth=1, head_dim=16), ReferencesConfig(16, 1, features=4)),
        LipsConfig(hidden=16, channels=(8, 16), side=16),
        ResNetConfig((8, 16), (1, 1), side=32),
        SpeechToLipsConfig(channels=32, depth=1, speech=384, window=12, overlap=4, head_dim=16),
    ),
}
