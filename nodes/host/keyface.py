"""The core's MODELs of KeyFace and the VAE as the library animates a portrait with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import comfy.sd
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...keysync.errors import KeySyncError
from ...keysync.network.stage import StageSpec
from ...keysync.systems.keyface.models import KeyFaceModels
from ...keysync.weights.checkpoint import WEAK
from .checks import spec_of, want_own_sampling, want_stage
from .encoder import CoreSpeechEncoder
from .models import CoreStage, known_of
from .sound import GivenSound
from .vae import CoreVAE


def core_keyface(
    keyframe_model: ModelPatcher,
    interpolation_model: ModelPatcher,
    weak_model: ModelPatcher | None,
    vae: comfy.sd.VAE,
    encoders: Iterable[CoreSpeechEncoder | GivenSound],
    show: Callable[[Tensor], None],
) -> KeyFaceModels:
    """What a portrait is animated with. Raises `KeySyncError` where two of them do not fit each other."""
    patchers = {"keyframe": keyframe_model, "interpolation": interpolation_model}
    for name, patcher in patchers.items():
        want_stage(spec_of(patcher), f"keyface_{name}")
        want_own_sampling(patcher)
        want_good(spec_of(patcher))
    weak = None
    if weak_model is not None:
        want_weak(weak_model, interpolation_model)
        patchers[WEAK] = weak_model
        weak = CoreStage(weak_model, show)
    return KeyFaceModels(
        CoreStage(keyframe_model, show),
        CoreStage(interpolation_model, show, weak_model),
        CoreVAE(vae),
        {encoder.name: encoder for encoder in encoders},
        weak=weak,
        **known_of(patchers),
    )


def want_good(spec: StageSpec) -> None:
    """Raises `KeySyncError` for the weaker copy of a network, which only guides a better one."""
    if spec.weak:
        name = spec.name.removeprefix("keyface_")
        raise KeySyncError(f"weak_model is connected to {name}_model: connect {name}_model of Load KeyFace Model")


def want_weak(weak_model: ModelPatcher, interpolation_model: ModelPatcher) -> None:
    """Raises `KeySyncError` unless the one can guide the other."""
    weak, spec = spec_of(weak_model), spec_of(interpolation_model)
    want_stage(weak, spec.name)
    want_own_sampling(weak_model)
    if (weak.unet, weak.latent_size, weak.window) != (spec.unet, spec.latent_size, spec.window):
        raise KeySyncError(
            "weak_model has other sizes than the interpolation model that it guides: use the file that belongs to it"
        )
