"""The file format of a stage: published tensor names, widths derived from shapes, and metadata for everything else.

Head dim, latent size (keyframe), window and speech encoder cannot be derived from shapes: they are read from
safetensors metadata, and default to the published values (KeySync reference implementation).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import KeySyncError
from ..network.schedule import fall
from ..network.stage import ALL_STAGES, MOST_GUIDANCE, STAGES, Stage, StageSpec
from ..network.unet import UNetConfig
from ..strict_json import MOST_CHARACTERS, quoted, strict_json
from .identify import KINDS, LEARNED_MASK, UNET, Shapes, identify, width

logger = logging.getLogger(__name__)

# Prefixes of tensors in published and training files that a stage does not need.
IGNORED = ("first_stage_model.", "conditioner.embedders.0.", "loss_fn.", "model_ema.", "optimizer", "lr_scheduler")
# ComfyUI saves models with its own metadata only, so ours is stored as JSON in the bytes of this tensor.
EMBEDDED = "keysync.metadata"
# That tensor, and the noise levels that ComfyUI saves with the weights.
SAVED_BY_COMFYUI = (EMBEDDED, "edm_vpred.")

FORMAT_VERSION = 1
# The systems as people write them.
TITLES = {"keysync": "KeySync", "keyface": "KeyFace"}
MOST_CROP_SCALE = 9
IMPLEMENTATION = "https://github.com/keysync-comfyui/keysync"
# Groups of the group norms; they must divide every width.
NORM_GROUPS = 32
# Sizes several times those of the published stages (4 levels, 2 blocks, depth 1, 1280 channels, 64 x 64 latents, 14
# frames). A name or a shape without numbers in it costs a file nothing, so nothing is built before these are checked.
MOST_LEVELS, MOST_BLOCKS, MOST_DEPTH, MOST_WIDTH = 8, 16, 16, 16384
MOST_LATENT, MOST_WINDOW = 512, 1024
# Tensors of a transformer block in space and time: it has 40, of which most must be in the file.
BLOCK_TENSORS = 20
# Names in metadata: of speech encoders, of a mask.
NAME = re.compile(r"[\w.+-]{1,64}")
# Noise levels in metadata, as `str` writes numbers.
MOST_STEPS = 1000
LEVEL = r"\d{1,9}(\.\d{1,20})?(e-\d{1,2})?"
LEVELS = re.compile(rf"{LEVEL}(,{LEVEL}){{0,{MOST_STEPS - 1}}}", re.ASCII)


def published_names(stage: Stage) -> dict[str, str]:
    """Published name -> our name, for every tensor of a stage."""
    names, keys = {}, stage.spec.row.keys
    for name in stage.state_dict():
        prefix = next(ours for ours in keys if name.startswith(ours))
        names[keys[prefix] + name.removeprefix(prefix)] = name
    return names


def system_of(name: str) -> str:
    """The system of a stage, a key of `TITLES`, by the stage's name."""
    return name.rpartition("_")[0] or "keysync"


def in_words(name: str) -> str:
    """What people call a stage of this name, such as KeyFace keyframe."""
    return f"{TITLES[system_of(name)]} {name.rpartition('_')[2]}"


def on_meta(spec: StageSpec) -> Stage:
    """A stage on the meta device: names and shapes without weights."""
    with torch.device("meta"):
        return Stage(spec)


def needed_shapes(spec: StageSpec) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that a stage needs, by published name."""
    # No shape depends on the head dim; a single head of the model's width divides every width.
    stage = on_meta(replace(spec, unet=replace(spec.unet, head_dim=spec.unet.model_channels)))
    state = stage.state_dict()
    return {theirs: tuple(state[ours].shape) for theirs, ours in published_names(stage).items()}


def spec_of(
    path: str | Path,
    shapes: Shapes,
    metadata: Mapping[str, str],
    *,
    expect: str | None = None,
    among: Collection[str] = STAGES,
    head_dim: int | None = None,
    latent_size: tuple[int, int] | None = None,
) -> StageSpec:
    """The spec of the stage in a file, from its shapes and metadata; whether all tensors are there is up to `check`.

    `expect` is the required stage, None for one `among` these; `head_dim` and `latent_size` (height, width) override
    the metadata. Raises `KeySyncError` naming `path` for another kind of file and for invalid metadata.
    """
    kind, sign = identify(shapes)
    if kind not in ((expect,) if expect else among):
        expected = KINDS[expect] if expect else "a KeySync keyframe or interpolation stage"
        about = expect and expect.rpartition("_")[2]  # the file's place in its system
        raise KeySyncError(f"{path} is {KINDS[kind]} ({sign}): expected {expected}", about=about)
    if _number(path, metadata, "format", FORMAT_VERSION) > FORMAT_VERSION:
        raise KeySyncError(f"{path} has a newer format than this version of KeySync supports: update KeySync")
    published = ALL_STAGES[kind]
    unet = _unet_config(path, shapes, published.unet)
    if published.row.controls:
        unet = replace(unet, vector_dim=_vector_dim(shapes, unet, len(published.row.controls)))
    audio = f"{published.row.keys['audio_projection.']}weight"
    return replace(
        published,
        unet=replace(unet, head_dim=head_dim or _number(path, metadata, "head_dim", published.unet.head_dim)),
        audio_channels=_width(path, width(shapes, 1, published.audio_channels, audio)),
        latent_size=_latent_size(path, shapes, metadata, latent_size, published.latent_size),
        window=_number(path, metadata, "window", published.window, MOST_WINDOW),
        speech_encoder=_name(path, metadata, "speech_encoder", published.speech_encoder),
        mask=_name(path, metadata, "mask", published.mask),
        crop_scale=_decimal(path, metadata, "crop_scale", published.crop_scale, MOST_CROP_SCALE),
        audio_guidance=_decimal(path, metadata, "audio_guidance", published.audio_guidance, MOST_GUIDANCE),
        identity_guidance=_decimal(path, metadata, "identity_guidance", published.identity_guidance, MOST_GUIDANCE),
        guidance_baked=_flag(path, metadata, "guidance_baked"),
        levels=_levels(path, metadata),
        autoguidance=_decimal(path, metadata, "autoguidance", published.autoguidance, MOST_GUIDANCE),
        weak=_flag(path, metadata, "weak"),
    )


def check(path: str | Path, spec: StageSpec, shapes: Shapes) -> None:
    """Raises `KeySyncError` naming `path` for missing, misshapen or unknown tensors and a wrong head dim."""
    _check_tensors(path, spec, shapes)
    _check_head_dim(path, spec.unet)


def metadata_of(spec: StageSpec) -> dict[str, str]:
    """Everything that cannot be derived from shapes, and the fields required by ModelSpec 1.0.1."""
    height, width = spec.image_size
    stage = spec.name.rpartition("_")[2]
    some = {
        **({"keysync.mask": spec.mask} if spec.row.masked else {}),
        **{f"keysync.{name}": str(scale) for name, scale in spec.scales.items()},
        **({"keysync.guidance_baked": "true"} if spec.guidance_baked else {}),
        **({"keysync.levels": ",".join(map(str, spec.levels))} if spec.levels else {}),
        **({"keysync.weak": "true"} if spec.weak else {}),
    }
    return {
        "keysync.format": str(FORMAT_VERSION),
        "keysync.stage": spec.name,
        "keysync.head_dim": str(spec.unet.head_dim),
        "keysync.latent_size": _hxw(spec.latent_size),
        "keysync.window": str(spec.window),
        "keysync.speech_encoder": spec.speech_encoder,
        "keysync.crop_scale": str(spec.crop_scale),
        **some,
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{system_of(spec.name)}-{stage}",
        "modelspec.implementation": IMPLEMENTATION,
        "modelspec.title": f"{in_words(spec.name)} stage",
        "modelspec.resolution": f"{width}x{height}",
    }


def embed(spec: StageSpec) -> Tensor:
    """The `keysync.*` fields of `metadata_of` as the tensor to store under the name `EMBEDDED`."""
    ours = {key: value for key, value in metadata_of(spec).items() if key.startswith("keysync.")}
    return torch.tensor(list(json.dumps(ours).encode()), dtype=torch.uint8)


def with_embedded(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """A file's metadata and what `embed` stored among its tensors; the file's metadata takes precedence.

    Raises `KeySyncError` naming `path` for an embedded tensor that `embed` did not write.
    """
    if EMBEDDED not in tensors:
        return dict(metadata)
    tensor = tensors[EMBEDDED]
    try:
        text = tensor.dtype == torch.uint8 and tensor.ndim == 1 and len(tensor) <= MOST_CHARACTERS
        embedded = strict_json(bytes(tensor.tolist())) if text else None
    except ValueError:  # not JSON, or not text at all
        embedded = None
    if not isinstance(embedded, dict) or not all(isinstance(value, str) for value in embedded.values()):
        raise KeySyncError(f"{path}: the tensor {EMBEDDED} is not KeySync's metadata: save the model again")
    return {**embedded, **metadata}


def unexpected(needed: Iterable[str], names: Iterable[str]) -> list[str]:
    """The names that a stage neither needs nor ignores."""
    known = set(needed)
    return [name for name in names if name not in known and not name.startswith((*IGNORED, *SAVED_BY_COMFYUI))]


def _unet_config(path: str | Path, shapes: Shapes, published: UNetConfig) -> UNetConfig:
    """The widths that most tensors agree on, so that a missing or misshapen one can be named."""
    ends = ("input_blocks.0.0.weight", "input_blocks.0.0.bias", "out.0.weight", "out.0.bias")
    model = width(shapes, 0, published.model_channels, *(UNET + end for end in ends))
    if model < 1 or model % NORM_GROUPS:
        raise KeySyncError(f"{path} is {model} channels wide: expected a multiple of {NORM_GROUPS}")
    widths, attention, blocks = [model], [False], [0]
    _width(path, model)
    for number in range(1, 1 + _last(shapes, rf"{re.escape(UNET)}input_blocks\.(\d+)\.")):
        block = f"{UNET}input_blocks.{number}."
        if f"{block}0.op.weight" in shapes or f"{block}0.op.bias" in shapes:
            widths, attention, blocks = [*widths, widths[-1]], [*attention, False], [*blocks, 0]
            continue
        norms = (f"{block}0.{part}" for part in ("out_layers.0.weight", "in_layers.2.bias", "out_layers.0.bias"))
        widths[-1] = width(shapes, 0, widths[-1], *norms)
        attention[-1] |= any(name.startswith(f"{block}1.") for name in shapes)
        blocks[-1] += 1
    keys = (name for name in shapes if name.startswith(UNET) and name.endswith("attn2.to_k.weight"))
    depth = 1 + _last(shapes, rf"{re.escape(UNET)}.*\.transformer_blocks\.(\d+)\.")
    _check_size(path, shapes, len(widths), max(blocks), depth, attention)
    return replace(
        published,
        model_channels=model,
        channel_mult=tuple(max(1, _width(path, channels) // model) for channels in widths),
        attention=tuple(attention),
        num_res_blocks=max(blocks),
        context_dim=_width(path, width(shapes, 1, published.context_dim, *keys)),
        transformer_depth=depth,
    )


def _vector_dim(shapes: Shapes, unet: UNetConfig, controls: int) -> int:
    """The numbers of a frame beside its audio token: as many for each control."""
    beside = width(shapes, 1, unet.context_dim, f"{UNET}label_emb.0.0.weight") - unet.context_dim
    return max(0, min(beside, MOST_WIDTH)) // (2 * controls) * (2 * controls)


def _check_size(
    path: str | Path, shapes: Shapes, levels: int, blocks: int, depth: int, attention: Iterable[bool]
) -> None:
    """Raises for a U-Net that its file cannot hold, before it is built."""
    for what, count, most in (
        ("levels", levels, MOST_LEVELS),
        ("residual blocks per level", blocks, MOST_BLOCKS),
        ("transformer blocks in a row", depth, MOST_DEPTH),
    ):
        if count > most:
            raise KeySyncError(f"{path} has tensor names of {count} {what}: expected at most {most}")
    transformers = sum(attention) * (2 * blocks + 1) * depth
    if transformers * BLOCK_TENSORS > len(shapes):
        raise KeySyncError(
            f"{path} has tensor names of {transformers} transformer blocks but only {len(shapes)} tensors: "
            "expected a complete stage"
        )


def _width(path: str | Path, channels: int) -> int:
    if not 1 <= channels <= MOST_WIDTH:
        raise KeySyncError(f"{path} has a tensor of {channels} channels: expected 1 to {MOST_WIDTH}")
    return channels


def _check_tensors(path: str | Path, spec: StageSpec, shapes: Shapes) -> None:
    """Raises if a tensor of the stage is missing or misshapen, or if the U-Net has unknown tensors."""
    needed = needed_shapes(spec)
    missing = [name for name in needed if name not in shapes]
    if missing:
        raise KeySyncError(f"{path} is not a complete {spec.name} stage: {_first(missing)} missing")
    misshapen = [name for name, shape in needed.items() if shapes[name] != shape]
    if misshapen:
        name = misshapen[0]
        raise KeySyncError(
            f"{path} does not fit a {spec.name} stage: {_first(misshapen)} misshapen "
            f"({list(shapes[name])}, expected {list(needed[name])})"
        )
    unknown = unexpected(needed, shapes)
    foreign = [name for name in unknown if name.startswith(UNET)]
    if foreign:
        raise KeySyncError(f"{path} does not fit a {spec.name} stage: {_first(foreign)} unknown")
    if unknown:
        logger.warning("%s: %s unknown and ignored", path, _first(unknown))


def _check_head_dim(path: str | Path, unet: UNetConfig) -> None:
    for mult in unet.channel_mult:
        channels = unet.model_channels * mult
        if unet.head_dim < 1 or channels % unet.head_dim:
            raise KeySyncError(
                f"{path}: head dim {unet.head_dim} does not divide the width {channels}: "
                "convert the file with the head dim that it was trained with",
                about="head_dim",
            )


def _latent_size(
    path: str | Path,
    shapes: Shapes,
    metadata: Mapping[str, str],
    requested: tuple[int, int] | None,
    absent: tuple[int, int],
) -> tuple[int, int]:
    """Height and width: the learned mask's if there is one, else the requested ones, else the metadata's."""
    mask = shapes.get(LEARNED_MASK, ())
    if len(mask) == 3 and 0 < min(mask) <= max(mask) <= MOST_LATENT:
        if requested not in (None, mask[1:]):
            raise KeySyncError(
                f"{path}: its latent size cannot be {_hxw(requested)}: expected {_hxw(mask[1:])}, the size of its "
                "learned mask",
                about="latent_size",
            )
        return mask[1], mask[2]
    if requested is not None:
        return requested
    text = metadata.get("keysync.latent_size", _hxw(absent))
    size = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if size is None or max(int(size[1]), int(size[2])) > MOST_LATENT:
        raise KeySyncError(
            f"{path}: its metadata keysync.latent_size is {quoted(text)}: expected HxW, such as 64x64, up to "
            f"{MOST_LATENT}x{MOST_LATENT}"
        )
    return int(size[1]), int(size[2])


def _number(path: str | Path, metadata: Mapping[str, str], key: str, absent: int, most: int = 999_999) -> int:
    text = metadata.get(f"keysync.{key}", str(absent))
    if not re.fullmatch(r"[1-9]\d{0,5}", text) or int(text) > most:
        expected = "a positive integer" if most == 999_999 else f"an integer from 1 to {most}"
        raise KeySyncError(f"{path}: its metadata keysync.{key} is {quoted(text)}: expected {expected}")
    return int(text)


def _name(path: str | Path, metadata: Mapping[str, str], key: str, absent: str) -> str:
    text = metadata.get(f"keysync.{key}", absent)
    if not NAME.fullmatch(text):
        raise KeySyncError(f"{path}: its metadata keysync.{key} is {quoted(text)}: expected a name, such as {absent}")
    return text


def _decimal(path: str | Path, metadata: Mapping[str, str], key: str, absent: float, most: int) -> float:
    text = metadata.get(f"keysync.{key}", str(absent))
    if not re.fullmatch(r"[1-9]\d?(\.\d+)?", text) or float(text) > most:
        raise KeySyncError(f"{path}: its metadata keysync.{key} is {quoted(text)}: expected a number from 1 to {most}")
    return float(text)


def _flag(path: str | Path, metadata: Mapping[str, str], key: str) -> bool:
    text = metadata.get(f"keysync.{key}", "false")
    if text not in ("true", "false"):
        raise KeySyncError(f"{path}: its metadata keysync.{key} is {quoted(text)}: expected true or false")
    return text == "true"


def _levels(path: str | Path, metadata: Mapping[str, str]) -> tuple[float, ...] | None:
    if "keysync.levels" not in metadata:
        return None
    text = metadata["keysync.levels"]
    levels = tuple(map(float, text.split(","))) if LEVELS.fullmatch(text) else ()
    if not fall(levels):
        raise KeySyncError(
            f"{path}: its metadata keysync.levels is {quoted(text)}: expected at most {MOST_STEPS} falling noise "
            "levels, such as 700.0,3.0"
        )
    return levels


def _hxw(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


def _last(shapes: Shapes, pattern: str) -> int:
    return max((int(found[1]) for name in shapes if (found := re.match(pattern, name))), default=0)


def _first(names: list[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more tensors are"
