"""Checks before any work: models, speech and latents that do not match are errors."""

from __future__ import annotations

import math
from fractions import Fraction

from comfy.model_patcher import ModelPatcher
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from ...keysync.errors import KeySyncError
from ...keysync.method import LATENT_CHANNELS
from ...keysync.network.precision import is_finite
from ...keysync.network.stage import StageSpec
from ...keysync.weights.stage_format import TITLES, in_words, system_of
from .frames import as_masks
from .network import KeySyncModel, KeySyncSampling
from .sockets import Speech

LARGEST_DENOMINATOR = 100_000
# How much latents vary deep inside a mask, over how much they vary outside it. Real mouths have 0.3 to 2.1; where VAE
# Encode (for Inpainting) paints the mask grey it is below 0.1.
GREY = 0.15
# So many cells deep inside a mask at least are compared: one or two vary little by chance.
FEWEST = 8


def spec_of(patcher: ModelPatcher) -> StageSpec:
    """Which stage a MODEL is; raises `KeySyncError` for one that Load KeySync Model did not load."""
    if not isinstance(patcher.model, KeySyncModel):
        raise KeySyncError(
            f"the model is {type(patcher.model).__name__}, not a KeySync model: load one with Load KeySync Model"
        )
    return patcher.model.spec


def want_own_sampling(patcher: ModelPatcher) -> None:
    """Raises `KeySyncError` where a node has replaced the noise schedule that the network was trained with."""
    sampling = patcher.get_model_object("model_sampling")
    if not isinstance(sampling, KeySyncSampling):
        module = KeySyncSampling.__base__.__module__
        schedule = next(kind.__name__ for kind in type(sampling).__mro__ if kind.__module__ in (module, "builtins"))
        raise KeySyncError(
            f"the noise schedule of the {spec_of(patcher).name} model was replaced by {schedule}: expected the one "
            "that it was trained with; remove the ModelSampling node after Load KeySync Model"
        )


def want_stage(spec: StageSpec, name: str) -> None:
    """Raises `KeySyncError` for another stage than that of this name."""
    if spec.name == name:
        return
    came, wanted = (text.rpartition("_")[2] for text in (spec.name, name))
    same = system_of(spec.name) == system_of(name)
    raise KeySyncError(
        f"this is the {came if same else in_words(spec.name)} model but the {wanted if same else in_words(name)} model "
        f"is needed: choose the {wanted} checkpoint in Load {TITLES[system_of(name)]} Model"
    )


def want_speech(spec: StageSpec, speech: Speech) -> None:
    features = speech.features
    if features.encoder != spec.speech_encoder:
        raise KeySyncError(
            f"the speech was encoded with {features.encoder} but the {spec.name} model was trained with "
            f"{spec.speech_encoder}: load {spec.speech_encoder} in Load Speech Encoder"
        )
    channels = features.rows.shape[-1]
    if channels != spec.audio_channels:
        raise KeySyncError(
            f"the speech has {channels} channels but the {spec.name} model needs {spec.audio_channels}: "
            f"load the {spec.speech_encoder} that it was trained with in Load Speech Encoder"
        )


def want_size(spec: StageSpec, latents: Tensor, name: str) -> None:
    height, width = spec.image_size
    wanted = (LATENT_CHANNELS, *spec.latent_size)
    if tuple(latents.shape[1:]) != wanted:
        raise KeySyncError(
            f"the shape of {name} is {list(latents.shape)} but the {spec.name} model needs frames of {list(wanted)}: "
            f"encode crops of {width}x{height} pixels with the VAE that it was trained with"
        )


def want_latents(spec: StageSpec, **given: Tensor | None) -> None:
    """Raises `KeySyncError` where latents that are given, by name, have another size or are not finite."""
    for name, latents in given.items():
        if latents is not None:
            want_size(spec, latents, name)
            want_finite(latents, name)


def noise_masks(spec: StageSpec, mask: Tensor | None, frames: int) -> Tensor:
    """A noise mask of so many frames, (n, 1, H, W): one mask stands for all.

    Raises `KeySyncError` unless there is one, made for the crops of the model or for their latents.
    """
    if mask is None:
        raise KeySyncError(
            "the latents have no noise mask: expected one that marks the mouth; connect Mouth Mask to Set Latent Noise "
            "Mask, or a white mask to generate the whole crop"
        )
    want_finite(mask, "the noise mask")
    masks = as_masks(mask)
    height, width = masks.shape[1:]
    if (height, width) not in (spec.image_size, spec.latent_size):
        raise KeySyncError(
            f"the noise mask is {width}x{height} but the crops are {spec.image_size[1]}x{spec.image_size[0]}: connect "
            "the track of Crop Face to Mouth Mask, or cut and scale the mask to the crops"
        )
    if len(masks) not in (1, frames):
        raise KeySyncError(
            f"the noise mask has {len(masks)} frames but the latents have {frames}: "
            "make the mask from the same frames, or use one for all"
        )
    return masks.expand(frames, -1, -1)[:, None]


def want_mouths(latents: Tensor, mask: Tensor) -> None:
    """Raises `KeySyncError` for latents (n, c, h, w) of crops that were painted grey where the mask (n, 1, h, w) is."""
    deep, outside = mask > 0.5, mask < 0.5
    if not deep.any() or not outside.any():
        return
    least = max(FEWEST, int(deep.sum()) / 8)
    while (smaller := _eroded(deep)).sum() > least:
        deep = smaller
    inside, around = (_spread(latents.movedim(1, -1)[part[:, 0]]) for part in (deep, outside))
    if inside < GREY * around:
        raise KeySyncError(
            "the latents are grey inside the noise mask, as from VAE Encode (for Inpainting): the model needs to see "
            "the face; use VAE Encode, then Set Latent Noise Mask"
        )


def _eroded(masks: Tensor) -> Tensor:
    """Masks (n, 1, h, w) without their outermost cells."""
    return -max_pool2d(pad(-masks.float(), (1, 1, 1, 1)), 3, 1) > 0.5


def _spread(cells: Tensor) -> float:
    """The median distance of cells (n, c) from their median, averaged over the channels."""
    return float((cells - cells.median(0).values).abs().median(0).values.mean())


def want_number(name: str, value: float) -> None:
    """Raises `KeySyncError` for NaN, which no limit of an input refuses, and for infinities."""
    if not math.isfinite(value):
        raise KeySyncError(f"{name} is {value}: expected a finite number")


def frame_rate(fps: float | Fraction) -> Fraction:
    """A frame rate that a media format can hold: one typed as a decimal number (29.97) is a fraction that none can.

    Raises `KeySyncError` for NaN, which no limit of an input refuses, and for what is no rate.
    """
    if not math.isfinite(fps) or not (rate := Fraction(fps).limit_denominator(LARGEST_DENOMINATOR)) > 0:
        raise KeySyncError(f"the frame rate is {float(fps)} fps: expected a positive number, such as 25")
    return rate


def want_finite(frames: Tensor, name: str) -> None:
    """Raises `KeySyncError` where numbers of these frames (n, ...) are not finite."""
    bad = [number for number, frame in enumerate(frames) if not is_finite(frame)]
    if bad:
        raise KeySyncError(
            f"{name} holds numbers that are not finite in {len(bad)} of {len(frames)} frames, first in frame {bad[0]}: "
            "check the nodes before this one"
        )
