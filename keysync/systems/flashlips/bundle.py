"""The file of FlashLips: safetensors with all parts, each under a prefix of its own, and metadata.

`editor.` (with the reference backbone) is in every file; `lips.` is needed to train, `reader.` and `speech.` to dub:
each step of training adds its part. `first_stage_model.` is the VAE, by diffusers' names, where it is in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import KeySyncError
from ...vae.names import PREFIX as VAE_PREFIX
from ...weights.complete import check_complete
from ...weights.eight_bits import from_eight_bits, to_eight_bits
from ...weights.files import read_tensors, shapes_of, write_tensors
from ...weights.finite import check_weights
from ...weights.identify import KINDS, identify
from .editor import Editor
from .lips_vector import LipsVector
from .networks import Networks
from .resnet import ResNet
from .spec import SYSTEM, FlashLipsSpec, metadata_of, spec_of
from .speech_to_lips import SpeechToLips


@dataclass(frozen=True)
class Part:
    """A part of a file: what people call it, and what makes it, with random weights."""

    title: str
    build: Callable[[Networks], nn.Module]


PARTS: Mapping[str, Part] = {
    "editor": Part("editor", lambda networks: Editor(networks.editor, networks.lips.width)),
    "lips": Part("lips vector", lambda networks: LipsVector(networks.lips)),
    "reader": Part("reader of lips vectors", lambda networks: ResNet(networks.reader, networks.lips.width)),
    "speech": Part("speech transformer", lambda networks: SpeechToLips(networks.speech, networks.lips.width)),
}


@dataclass(frozen=True, eq=False)
class Bundle:
    """An opened file: `parts` holds the tensors of each part by their names in it, those of the VAE under "vae"."""

    path: Path
    spec: FlashLipsSpec
    parts: Mapping[str, Mapping[str, Tensor]]
    metadata: Mapping[str, str]

    @property
    def has_vae(self) -> bool:
        """Whether the VAE is in the file: `load_vae` loads it from there."""
        return "vae" in self.parts

    def load(self, name: str, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> Any:
        """A part (a key of `PARTS`), in evaluation mode, with its weights as stored or as `dtype`.

        Raises `KeySyncError` where the file does not have it.
        """
        if name not in self.parts:
            raise KeySyncError(
                f"{self.path} has no {PARTS[name].title}: expected a file whose training is complete", about=SYSTEM
            )
        module = on_meta(name, self.spec.networks)
        # Copied: a memory-mapped tensor would change with its file.
        weights = {
            key: tensor.to(device=device, dtype=dtype or tensor.dtype, copy=True)
            for key, tensor in self.parts[name].items()
        }
        module.load_state_dict(weights, assign=True)
        return module.eval()


def on_meta(name: str, networks: Networks) -> nn.Module:
    """A part without its numbers."""
    with torch.device("meta"):
        return PARTS[name].build(networks)


def open_bundle(path: str | Path) -> Bundle:
    """Opens and checks a file.

    Raises `KeySyncError` like `read_tensors`, and for another kind of file, invalid metadata, a part with missing,
    misshapen or unknown tensors, tensors of no part, and weights that are not finite floating-point numbers.
    """
    tensors, metadata = read_tensors(path)
    tensors = from_eight_bits(path, tensors)
    kind, sign = identify(shapes_of(tensors))
    if kind != SYSTEM:
        raise KeySyncError(f"{path} is {KINDS[kind]} ({sign}): expected {KINDS[SYSTEM]}", about=SYSTEM)
    spec = spec_of(path, metadata)
    prefixes = {**{name: f"{name}." for name in PARTS}, "vae": VAE_PREFIX}
    parts = {
        part: {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        for part, prefix in prefixes.items()
    }
    foreign = [name for name in tensors if not name.startswith(tuple(prefixes.values()))]
    if foreign:
        raise KeySyncError(f"{path} holds {len(foreign)} tensors of no part of FlashLips, first {foreign[0]}")
    parts = {part: held for part, held in parts.items() if held}
    for name in parts.keys() & PARTS.keys():
        needed = shapes_of(on_meta(name, spec.networks).state_dict())
        check_complete(path, PARTS[name].title, f"{name}.", needed, shapes_of(parts[name]))
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise KeySyncError(
                f"{path}: {name} has dtype {tensor.dtype}: expected floating-point weights; choose another file"
            )
    check_weights(path, tensors)
    return Bundle(Path(path), spec, parts, metadata)


def save_bundle(
    path: str | Path,
    spec: FlashLipsSpec,
    parts: Mapping[str, nn.Module | Mapping[str, Tensor]],
    *,
    vae: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype | None = None,
    eight_bits: bool = False,
    extra_metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a file of `parts` (keys of `PARTS`), and of a `vae` by diffusers' names (encoder., decoder., quant_conv.).

    `dtype`: that of the stored weights, else theirs; `eight_bits`: their matrices as integers
    (`keysync.weights.eight_bits`). The VAE keeps its own. `extra_metadata` are facts of the training,
    the licence (`modelspec.license`), and whether the weights are `keysync.untrained`. Raises `KeySyncError` where the
    path cannot be written.
    """
    held = {name: part.state_dict() if isinstance(part, nn.Module) else part for name, part in parts.items()}
    tensors = {
        f"{name}.{key}": tensor.detach().cpu().to(dtype or tensor.dtype)
        for name, part in held.items()
        for key, tensor in part.items()
    }
    if eight_bits:
        tensors = to_eight_bits(tensors)
    tensors |= {f"{VAE_PREFIX}{key}": tensor.detach().cpu() for key, tensor in (vae or {}).items()}
    write_tensors(tensors, path, {**(extra_metadata or {}), **metadata_of(spec)})


def convert_bundle(source: str | Path, target: str | Path, dtype: torch.dtype | None = None) -> None:
    """Writes a file anew, its weights without the VAE's as `dtype`. Raises `KeySyncError` like `open_bundle`."""
    if Path(source).resolve() == Path(target).resolve():
        raise KeySyncError(f"{target} is both source and target: choose another target")
    bundle = open_bundle(source)
    parts = {name: part for name, part in bundle.parts.items() if name != "vae"}
    vae = bundle.parts.get("vae")
    save_bundle(target, bundle.spec, parts, vae=vae, dtype=dtype, extra_metadata=bundle.metadata)


def sizes_of(bundle: Bundle) -> dict[str, Any]:
    """What people need to know of a file, by name."""
    spec = bundle.spec
    counted = {
        PARTS[name].title: f"{sum(tensor.numel() for tensor in bundle.parts[name].values()):,} parameters"
        for name in PARTS
        if name in bundle.parts
    }
    return {
        **counted,
        "backbone": type(spec.networks.editor.backbone).__name__.removesuffix("Config"),
        "lips": spec.networks.lips.width,
        "image_size": spec.image_size,
        "crop_scale": spec.crop_scale,
        "mask": spec.mask,
        "mask_free": spec.mask_free,
        "speech_encoder": spec.speech_encoder,
        "speech_channels": spec.networks.speech.speech,
        "VAE": "included" if bundle.has_vae else spec.vae,
        "steps": spec.steps,
        "references": spec.references_used,
    }
