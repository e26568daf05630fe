"""The core's MODEL and VAE as the library's dub asks for its models: whole windows, latents times 0.18215."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import comfy.samplers
import comfy.sd
import comfyui_version
from comfy.cli_args import args
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...keysync.errors import KeySyncError
from ...keysync.network.stage import StageSpec, Windows
from ...keysync.systems.keysync.models import Models
from ...keysync.systems.keysync.sampling import Sampling
from ...keysync.systems.renderer import OnStep
from .checks import spec_of, want_own_sampling, want_stage
from .encoder import CoreSpeechEncoder
from .guider import WindowGuider
from .precision import in_float32, is_half
from .vae import CoreVAE


class CoreStage:
    """A MODEL as the library's dub asks for it: windows are sampled by the core, in groups that fit memory."""

    def __init__(self, patcher: ModelPatcher, show: Callable[[Tensor], None], weak: ModelPatcher | None = None) -> None:
        """`weak` is the weaker copy that guides the model, where its rule has one."""
        self._patcher = patcher
        self._weak = weak
        self._show = show
        self._sampler = comfy.samplers.sampler_object("euler")
        # What a person should know about the nodes that patch the MODEL, a line each.
        self.notes: set[str] = set()

    @property
    def spec(self) -> StageSpec:
        return spec_of(self._patcher)

    @property
    def is_half(self) -> bool:
        return is_half(self._patcher.model)

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        """Inside, the network computes in float32, and so does the weaker copy."""
        with in_float32(self._patcher.model), nullcontext() if self._weak is None else in_float32(self._weak.model):
            yield

    def sample(self, windows: Windows, noise: Tensor, sampling: Sampling, on_step: OnStep | None) -> Tensor:
        """Latents (b, t, 4, h, w) of b windows, as `keysync.systems.keysync.generate.sample` gives them."""
        guider = WindowGuider(self._patcher, weak=self._weak, **sampling.scales(self.spec))

        def follow(group: int, denoised: Tensor) -> None:
            self._show(denoised)
            if on_step is not None:
                on_step(group * guider.branches)

        guider.on_group = follow
        sigmas = sampling.sigmas_of(self.spec).float()
        sampled = guider.sample_windows(windows, noise, self._sampler, sigmas).float().cpu()
        self.notes |= guider.notes
        return sampled


def core_models(
    keyframe_model: ModelPatcher,
    interpolation_model: ModelPatcher,
    vae: comfy.sd.VAE,
    keyframe_encoder: CoreSpeechEncoder,
    interpolation_encoder: CoreSpeechEncoder,
    show: Callable[[Tensor], None],
) -> Models:
    """What a dub runs on. Raises `KeySyncError` where two of them do not fit each other."""
    encoders = {}
    for patcher, encoder, name in (
        (keyframe_model, keyframe_encoder, "keyframe"),
        (interpolation_model, interpolation_encoder, "interpolation"),
    ):
        spec = spec_of(patcher)
        want_stage(spec, name)
        want_own_sampling(patcher)
        want_encoder(spec, encoder)
        encoders[encoder.name] = encoder
    stages = CoreStage(keyframe_model, show), CoreStage(interpolation_model, show)
    known = known_of({"keyframe": keyframe_model, "interpolation": interpolation_model})
    return Models(*stages, CoreVAE(vae), encoders, **known)


def known_of(patchers: Mapping[str, ModelPatcher]) -> dict[str, Any]:
    """What is known of these MODELs: the fields origins, files and host of `Models`."""
    return {
        "origins": {name: _origin(patcher) for name, patcher in patchers.items()},
        # What is patched is no longer what the file holds.
        "files": {
            name: patcher.model.file for name, patcher in patchers.items() if patcher.model.file and not patcher.patches
        },
        "host": host_of(*patchers.values()) if all(map(_is_plain, patchers.values())) else None,
    }


def notes_of(models: Models) -> list[str]:
    """What a person should know about the nodes that patch the models, a line each; complete after sampling."""
    stages = (models.keyframe, models.interpolation)
    return sorted({note for stage in stages if isinstance(stage, CoreStage) for note in stage.notes})


def _is_plain(patcher: ModelPatcher) -> bool:
    """Whether a MODEL is what its file holds: what other nodes add to one has no name that outlives ComfyUI."""
    added = [patcher.patches, patcher.object_patches, patcher.model_options]
    added += [getattr(patcher, name, {}) for name in ("weight_wrapper_patches", "wrappers", "callbacks", "injections")]
    return not any(map(_holds, added))


def _holds(thing: Any) -> bool:
    """Whether there is anything in nested dictionaries and lists."""
    if isinstance(thing, dict):
        return any(map(_holds, thing.values()))
    return bool(thing) if isinstance(thing, list | tuple) else thing is not None


def host_of(*patchers: ModelPatcher) -> str:
    """What computes: the version of ComfyUI, its switches, the devices and the precision."""
    switches = sorted(name for name, value in vars(args).items() if value is True)
    kinds = [(str(patcher.load_device), str(patcher.model_dtype())) for patcher in patchers]
    return f"{comfyui_version.__version__} {switches} {kinds}"


def _origin(patcher: ModelPatcher) -> str:
    """Where a MODEL is from, for the report and the mark in the result."""
    return f"{patcher.model.origin}{', with patches' if patcher.patches else ''}"


def want_encoder(spec: StageSpec, encoder: CoreSpeechEncoder) -> None:
    """Raises `KeySyncError` unless the model was trained with this encoder."""
    came, wanted = (encoder.name, encoder.channels), (spec.speech_encoder, spec.audio_channels)
    if came != wanted:
        raise KeySyncError(
            f"{spec.name}_encoder is {came[0]} of {came[1]} channels but the {spec.name} model was trained with "
            f"{wanted[0]} of {wanted[1]}: load that one in Load Speech Encoder"
        )
