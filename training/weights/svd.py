"""Stable Video Diffusion as a stage's initial weights: one file or a diffusers folder.

The layer that takes frame rate and motion takes speech instead, so it is initialised anew, as are the audio projection
and, for interpolation, the learned mask and the input convolution, which has a ninth channel (KeySync reference
implementation).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from keysync.errors import KeySyncError
from keysync.method import LATENT_CHANNELS
from keysync.network.stage import ALL_STAGES, ENDS, Stage, StageSpec
from keysync.vae.vae import FOLDER_FILES
from keysync.weights.files import shapes_of
from keysync.weights.finite import check_weights
from keysync.weights.identify import LEARNED_MASK, UNET, Shapes
from keysync.weights.settings import read_settings
from keysync.weights.stage_format import check, needed_shapes, on_meta, published_names, spec_of, unexpected

from .diffusers_layout import published_names as diffusers_names

if TYPE_CHECKING:
    from ..config.config import TrainConfig

logger = logging.getLogger(__name__)

LABEL = f"{UNET}label_emb.0.0.weight"
INPUT = f"{UNET}input_blocks.0.0.weight"
# Other tensors of the file: the conditioners, the VAE, and what ComfyUI adds when it saves a model.
BESIDE = ("conditioner.", "first_stage_model.", "model_ema.", "denoiser.", "edm_vpred.")
SHARDS = "diffusion_pytorch_model-?????-of-?????.safetensors"


def weight_files(path: Path) -> list[Path]:
    """The files to read: the path itself, or those of a diffusers folder, its `unet` folder first.

    Raises `KeySyncError` for a folder without weights.
    """
    if not path.is_dir():
        return [path]
    for folder in (path / "unet", path):
        whole = next((folder / name for name in FOLDER_FILES if (folder / name).is_file()), None)
        if whole is not None:
            return [whole]
        parts = sorted(folder.glob(SHARDS))
        if parts:
            count = int(parts[0].stem.rpartition("-")[2])
            if len(parts) != count:
                raise KeySyncError(f"{folder} has {len(parts)} of {count} files {SHARDS}: copy all of them")
            return parts
    raise KeySyncError(
        f"{path} has neither unet/{FOLDER_FILES[0]} nor {FOLDER_FILES[0]}: expected Stable Video Diffusion in "
        "diffusers' layout"
    )


def svd_stage(
    path: Path, tensors: Mapping[str, Tensor], config: TrainConfig, latent_size: tuple[int, int], audio_channels: int
) -> Stage:
    """The stage of `config` with the tensors of the file at `path`, in either layout; float32.

    Raises `KeySyncError` for missing, unknown and misshapen tensors, and for weights that are not finite.
    """
    unet, origins = _unet(path, tensors)
    held = shapes_of(unet)
    spec = _spec(path, held, config, latent_size, audio_channels)
    fresh = _fresh(spec, config.seed)
    _check(path, spec, {**held, **shapes_of(fresh)}, origins)
    check_weights(path, {origins[name]: tensor for name, tensor in unet.items()})
    stage = on_meta(spec)
    # Copied: a mapped tensor would change or vanish with its file.
    weights = {
        ours: fresh[theirs] if theirs in fresh else unet[theirs].to(torch.float32, copy=True)
        for theirs, ours in published_names(stage).items()
    }
    stage.load_state_dict(weights, assign=True)
    logger.info("start: %s; new in it: %s", path, ", ".join(fresh))
    return stage


def _unet(path: Path, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The U-Net's tensors under published names, and the file's name of each."""
    if "conv_in.weight" in tensors:
        origins = {UNET + ours: theirs for theirs, ours in diffusers_names(tensors).items()}
        return {ours: tensors[theirs] for ours, theirs in origins.items()}, origins
    unet = {name: tensor for name, tensor in tensors.items() if name.startswith(UNET)}
    strange = unexpected(unet, (name for name in tensors if not name.startswith(BESIDE)))
    if strange:
        raise KeySyncError(f"{path}: unknown tensor {strange[0]}: expected the tensors of Stable Video Diffusion")
    return unet, {name: name for name in unet}


def _spec(
    path: Path, held: Shapes, config: TrainConfig, latent_size: tuple[int, int], audio_channels: int
) -> StageSpec:
    """The stage with the U-Net's widths, taken from its shapes, and these speech channels."""
    published = ALL_STAGES[config.stage]
    added: dict[str, tuple[int, ...]] = {f"{_projection(published)}weight": (0, audio_channels)}
    if published.reference == ENDS:
        added[LEARNED_MASK] = (LATENT_CHANNELS, *latent_size)
    head_dim = _head_dim(path) or config.head_dim
    kept = {name: shape for name, shape in held.items() if name != LABEL}  # which is made anew, for other labels
    spec = spec_of(path, {**kept, **added}, {}, expect=config.stage, head_dim=head_dim, latent_size=latent_size)
    unet = replace(spec.unet, vector_dim=published.unet.vector_dim)
    return replace(spec, unet=unet, window=config.window, speech_encoder=config.speech_encoder, mask=config.mask)


def _fresh(spec: StageSpec, seed: int) -> dict[str, Tensor]:
    """The weights that Stable Video Diffusion lacks, by published name."""
    unet = spec.unet
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        label = nn.Linear(unet.vector_dim + unet.context_dim, 4 * unet.model_channels)
        audio = nn.Linear(spec.audio_channels, unet.context_dim)
        convolution = nn.Conv2d(unet.in_channels, unet.model_channels, 3)
    projection = _projection(spec)
    fresh = {LABEL: label.weight, f"{projection}weight": audio.weight, f"{projection}bias": audio.bias}
    if spec.reference == ENDS:
        fresh |= {INPUT: convolution.weight, LEARNED_MASK: torch.zeros(LATENT_CHANNELS, *spec.latent_size)}
    return {name: tensor.detach() for name, tensor in fresh.items()}


def _projection(spec: StageSpec) -> str:
    """The published prefix of a stage's audio projection."""
    return spec.row.keys["audio_projection."]


def _check(path: Path, spec: StageSpec, held: Shapes, origins: Mapping[str, str]) -> None:
    """Raises `KeySyncError` unless the tensors are exactly those of the stage; names tensors as the file does."""
    needed = needed_shapes(spec)
    for problem, names in {
        "missing": [name for name in needed if name not in held],
        "unknown": [name for name in held if name not in needed],
        "misshapen": [name for name in needed if name in held and held[name] != needed[name]],
    }.items():
        if not names:
            continue
        name = names[0]
        shapes = f" ({list(held[name])} instead of {list(needed[name])})" if problem == "misshapen" else ""
        raise KeySyncError(
            f"{path} is not a complete U-Net of Stable Video Diffusion: {len(names)} tensors {problem}, "
            f"first {origins.get(name, name)}{shapes}"
        )
    check(path, spec, held)  # the head dim


def _head_dim(path: Path) -> int | None:
    """Channels of an attention head, from the config.json beside a file of diffusers' layout; None without one."""
    file = path.parent / "config.json"
    if not file.is_file():
        return None
    try:
        settings = read_settings(file, str(file))
        widths, heads = settings["block_out_channels"], settings["num_attention_heads"]
        heads = heads if isinstance(heads, list) else [heads] * len(widths)
        head_dims = {width // number for width, number in zip(widths, heads, strict=True)}
    except (KeySyncError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise KeySyncError(f"{file}: expected block_out_channels and num_attention_heads of a U-Net") from error
    if len(head_dims) > 1:
        raise KeySyncError(f"{file}: attention heads of {sorted(head_dims)} channels: expected one size")
    return int(head_dims.pop())
