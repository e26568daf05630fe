"""Stable Video Diffusion as a stage's starting weights: in one file or as a folder of diffusers.

What hears frame rate and motion there hears speech here, so that layer starts fresh, as do the audio projection and,
for interpolation, the input convolution, which has a ninth channel, and the learned mask (KeySync reference
implementation).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from keysync.errors import KeySyncError
from keysync.method import LATENT_CHANNELS
from keysync.network.stage import ENDS, STAGES, Stage, StageSpec
from keysync.vae.vae import FOLDER_FILES
from keysync.weights.files import shapes_of
from keysync.weights.identify import AUDIO_PROJECTION, LEARNED_MASK, UNET, Shapes
from keysync.weights.stage_format import check, needed_shapes, on_meta, published_names, spec_of, unexpected

from .diffusers_layout import published_names as diffusers_names

if TYPE_CHECKING:
    from ..config.config import TrainConfig

logger = logging.getLogger(__name__)

LABEL = f"{UNET}label_emb.0.0.weight"
INPUT = f"{UNET}input_blocks.0.0.weight"
# What the file holds beside the U-Net: what made its conditions, the VAE, and what ComfyUI's model save adds.
BESIDE = ("conditioner.", "first_stage_model.", "model_ema.", "denoiser.", "edm_vpred.")
SHARDS = "diffusion_pytorch_model-?????-of-?????.safetensors"


def weight_files(path: Path) -> list[Path]:
    """The files to read: the path itself, or what a folder of diffusers' layout holds, its `unet` folder first.

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
            wanted = int(parts[0].stem.rpartition("-")[2])
            if len(parts) != wanted:
                raise KeySyncError(f"{folder} holds {len(parts)} of {wanted} files {SHARDS}: copy all of them")
            return parts
    raise KeySyncError(
        f"{path} is a folder without unet/{FOLDER_FILES[0]} or {FOLDER_FILES[0]}: Stable Video Diffusion in diffusers' "
        "layout was wanted"
    )


def svd_stage(
    path: Path, tensors: Mapping[str, Tensor], config: TrainConfig, latent_size: tuple[int, int], audio_channels: int
) -> Stage:
    """The stage of `config` on the tensors of the file at `path`, in either layout; float32.

    Raises `KeySyncError` that names the file and the tensor for what is missing, unknown or misshapen.
    """
    unet, origins = _unet(path, tensors)
    held = shapes_of(unet)
    spec = _spec(path, held, config, latent_size, audio_channels)
    fresh = _fresh(spec, config.seed)
    _check(path, spec, {**held, **shapes_of(fresh)}, origins)
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
    """The U-Net's tensors in published names, and the file's own name for each."""
    if "conv_in.weight" in tensors:
        origins = {UNET + ours: theirs for theirs, ours in diffusers_names(tensors).items()}
        return {ours: tensors[theirs] for ours, theirs in origins.items()}, origins
    unet = {name: tensor for name, tensor in tensors.items() if name.startswith(UNET)}
    strange = unexpected(unet, (name for name in tensors if not name.startswith(BESIDE)))
    if strange:
        raise KeySyncError(f"{path}: {strange[0]} is unknown: it is no tensor of Stable Video Diffusion")
    return unet, {name: name for name in unet}


def _spec(
    path: Path, held: Shapes, config: TrainConfig, latent_size: tuple[int, int], audio_channels: int
) -> StageSpec:
    """What stage the U-Net's shapes make with this audio; they tell its widths."""
    told: dict[str, tuple[int, ...]] = {f"{AUDIO_PROJECTION}weight": (0, audio_channels)}
    if STAGES[config.stage].reference == ENDS:
        told[LEARNED_MASK] = (LATENT_CHANNELS, *latent_size)
    head_dim = _head_dim(path) or config.head_dim
    spec = spec_of(path, {**held, **told}, {}, expect=config.stage, head_dim=head_dim, latent_size=latent_size)
    return replace(spec, window=config.window, speech_encoder=config.speech_encoder, mask=config.mask)


def _fresh(spec: StageSpec, seed: int) -> dict[str, Tensor]:
    """What Stable Video Diffusion has no weights for, by its published name."""
    unet = spec.unet
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        label = nn.Linear(unet.context_dim, 4 * unet.model_channels)
        audio = nn.Linear(spec.audio_channels, unet.context_dim)
        convolution = nn.Conv2d(unet.in_channels, unet.model_channels, 3)
    fresh = {LABEL: label.weight, f"{AUDIO_PROJECTION}weight": audio.weight, f"{AUDIO_PROJECTION}bias": audio.bias}
    if spec.reference == ENDS:
        fresh |= {INPUT: convolution.weight, LEARNED_MASK: torch.zeros(LATENT_CHANNELS, *spec.latent_size)}
    return {name: tensor.detach() for name, tensor in fresh.items()}


def _check(path: Path, spec: StageSpec, held: Shapes, origins: Mapping[str, str]) -> None:
    """Raises `KeySyncError` unless the tensors are exactly the stage's; names those of the file as the file does."""
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
            f"{path} is no whole U-Net of Stable Video Diffusion: {len(names)} tensors {problem}, "
            f"first {origins.get(name, name)}{shapes}"
        )
    check(path, spec, held)  # the head dim


def _head_dim(path: Path) -> int | None:
    """Channels of an attention head, as the settings beside a file of diffusers' layout say; else None."""
    file = path.parent / "config.json"
    if not file.is_file():
        return None
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        widths, heads = settings["block_out_channels"], settings["num_attention_heads"]
        heads = heads if isinstance(heads, list) else [heads] * len(widths)
        head_dims = {width // number for width, number in zip(widths, heads, strict=True)}
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise KeySyncError(f"{file} does not say the widths and attention heads of the U-Net beside it") from error
    if len(head_dims) > 1:
        raise KeySyncError(f"{file}: attention heads of {sorted(head_dims)} channels: one size was wanted")
    return int(head_dims.pop())
