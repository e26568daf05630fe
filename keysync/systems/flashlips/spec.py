"""What a FlashLips file is: its networks, and what they were trained on; and the same as metadata of the file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import KeySyncError
from ...face.masks import MASKS
from ...method import PIXELS_PER_LATENT
from ...strict_json import quoted
from ...weights.settings import FLAG, Table, allowed, number, one_of, read_settings, some, whole
from .networks import (
    MOST_REFERENCES,
    EditorConfig,
    LipsConfig,
    Networks,
    ReferencesConfig,
    ResNetConfig,
    SpeechToLipsConfig,
    TransformerConfig,
    UNetConfig,
)

if TYPE_CHECKING:
    from torch import Tensor

SYSTEM = "flashlips"
# Versions of the file format that can be read.
FORMAT_VERSION = 1
BACKBONES: Mapping[str, type[UNetConfig] | type[TransformerConfig]] = {
    "unet": UNetConfig,
    "transformer": TransformerConfig,
}
# Sizes several times those of the full networks: nothing larger is built.
CHANNELS, LEVELS, BLOCKS = whole(1, 8192), 8, whole(1, 64)
MOST_LIPS, MOST_SIDE, MOST_STEPS, MOST_WINDOW = 256, 4096, 1000, 4096
SETTINGS: Table = {
    "backbone": one_of(*BACKBONES),
    "unet": {
        "channels": some(CHANNELS, LEVELS),
        "blocks": BLOCKS,
        "attends": some(FLAG, LEVELS),
        "head_dim": CHANNELS,
    },
    "transformer": {"channels": CHANNELS, "depth": whole(1, 256), "patch": whole(1, 16), "head_dim": CHANNELS},
    "references": {"channels": CHANNELS, "blocks": BLOCKS, "features": CHANNELS},
    "lips": {
        "points": whole(0, MOST_LIPS),
        "picture": whole(0, MOST_LIPS),
        "hidden": CHANNELS,
        "channels": some(CHANNELS, LEVELS),
        "side": whole(8, MOST_SIDE),
    },
    "reader": {
        "channels": some(CHANNELS, LEVELS),
        "blocks": some(BLOCKS, LEVELS),
        "side": whole(8, MOST_SIDE),
    },
    "speech": {
        "channels": CHANNELS,
        "depth": whole(1, 256),
        "speech": CHANNELS,
        "emotion": whole(0, 8192),
        "window": whole(1, MOST_WINDOW),
        "overlap": whole(0, MOST_WINDOW),
        "head_dim": CHANNELS,
    },
    "image_size": some(whole(8, MOST_SIDE), 2),
    "crop_scale": number(1, 9),
    "mask": one_of(*MASKS),
    "mask_free": FLAG,
    "steps": whole(1, MOST_STEPS),
    "sources": whole(1, MOST_STEPS),
    "references_used": whole(1, MOST_REFERENCES),
}
# Names in metadata: of speech encoders and VAEs.
NAME = re.compile(r"[\w.+/-]{1,100}")


@dataclass(frozen=True)
class FlashLipsSpec:
    """`networks`, and what they were trained on: crops of `image_size` (H, W) pixels, `crop_scale` times the points'
    width; `mask`, a key of `MASKS`, hid the mouth, and is where results are pasted; `speech_encoder`, a key of
    `ENCODERS`, is heard. `mask_free`: the editor is refined, and draws over whole pictures. `vae` names the VAE whose
    latents they are. `steps`, `sources` and `references_used` are what they work best with: Euler steps, lips vectors
    of the source, and reference frames.
    """

    networks: Networks
    image_size: tuple[int, int]
    crop_scale: float
    speech_encoder: str
    mask: str = "mouth"
    mask_free: bool = False
    vae: str = "Stable Video Diffusion"
    steps: int = 8
    sources: int = 8
    references_used: int = MOST_REFERENCES

    def __post_init__(self) -> None:
        """Raises `KeySyncError` for crops that the networks cannot take, and for a lips vector without numbers."""
        step = PIXELS_PER_LATENT * self.networks.editor.backbone.step
        if any(side % step or side < step for side in self.image_size):
            height, width = self.image_size
            raise KeySyncError(f"the crops have {width}x{height} pixels: expected multiples of {step} for this editor")
        if not self.networks.lips.width:
            raise KeySyncError("the lips vector has no numbers: expected some of the points or of the picture")

    @property
    def latent_size(self) -> tuple[int, int]:
        """Height and width of a latent."""
        height, width = self.image_size
        return height // PIXELS_PER_LATENT, width // PIXELS_PER_LATENT


def want_crops(spec: FlashLipsSpec, crops: Tensor) -> None:
    """Raises `KeySyncError` unless crops (n, H, W, 3) have the size that the networks work at."""
    height, width = spec.image_size
    if not len(crops) or tuple(crops.shape[1:]) != (height, width, 3):
        raise KeySyncError(
            f"the crops have shape {list(crops.shape)}: expected one or more RGB crops of {width}x{height} pixels",
            about="crops",
        )


def metadata_of(spec: FlashLipsSpec) -> dict[str, str]:
    """The metadata that `spec_of` reads, and the fields required by ModelSpec 1.0.1."""
    height, width = spec.image_size
    networks = asdict(spec.networks)
    editor = networks.pop("editor")
    kind = next(name for name, config in BACKBONES.items() if isinstance(spec.networks.editor.backbone, config))
    settings = {
        "backbone": kind,
        kind: editor["backbone"],
        "references": editor["references"],
        **networks,
        **{
            name: getattr(spec, name)
            for name in ("image_size", "crop_scale", "mask", "mask_free", "steps", "sources", "references_used")
        },
    }
    return {
        "keysync.format": str(FORMAT_VERSION),
        "keysync.system": SYSTEM,
        "keysync.settings": json.dumps(settings),
        "keysync.lips": str(spec.networks.lips.width),
        "keysync.speech_encoder": spec.speech_encoder,
        "keysync.vae": spec.vae,
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": SYSTEM,
        "modelspec.implementation": "https://github.com/keysync-comfyui/keysync",
        "modelspec.title": "FlashLips",
        "modelspec.resolution": f"{width}x{height}",
    }


def spec_of(path: str | Path, metadata: Mapping[str, str]) -> FlashLipsSpec:
    """The spec that a file's metadata say. Raises `KeySyncError` naming `path` for missing and invalid metadata."""
    version = metadata.get("keysync.format", "")
    if not re.fullmatch(r"[1-9]\d{0,3}", version):
        raise KeySyncError(f"{path} has no metadata of a FlashLips file: expected one that KeySync has written")
    if int(version) > FORMAT_VERSION:
        raise KeySyncError(f"{path} has a newer format than this version of KeySync supports: update KeySync")
    names = {key: metadata.get(f"keysync.{key}", "") for key in ("speech_encoder", "vae")}
    for key, name in names.items():
        if not NAME.fullmatch(name.replace(" ", "-")):
            raise KeySyncError(f"{path}: its metadata keysync.{key} is {quoted(name)}: expected a name")
    place = f"{path}: its metadata keysync.settings"
    settings = read_settings(metadata.get("keysync.settings", ""), place)
    try:
        return _spec(allowed(settings, SETTINGS, place), **names)
    except (ValueError, TypeError, KeyError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise KeySyncError(f"{place}: {reason}; copy or download the file again") from error
    except KeySyncError as error:
        raise KeySyncError(f"{place}: {error}") from error


def _spec(settings: dict[str, Any], speech_encoder: str, vae: str) -> FlashLipsSpec:
    def of(name: str) -> dict[str, Any]:
        """The settings of one network; lists are tuples there."""
        return {key: tuple(value) if isinstance(value, list) else value for key, value in settings[name].items()}

    kind = settings["backbone"]
    networks = Networks(
        EditorConfig(BACKBONES[kind](**of(kind)), ReferencesConfig(**of("references"))),
        LipsConfig(**of("lips")),
        ResNetConfig(**of("reader")),
        SpeechToLipsConfig(**of("speech")),
    )
    height, width = settings["image_size"]
    rest = {key: settings[key] for key in ("crop_scale", "mask", "mask_free", "steps", "sources", "references_used")}
    return FlashLipsSpec(networks, (height, width), speech_encoder=speech_encoder, vae=vae, **rest)
