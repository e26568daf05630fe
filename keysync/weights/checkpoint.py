"""Checkpoints of a stage: load, save, convert.

A file holds the U-Net, the audio projection, the learned mask (interpolation) and often the VAE's decoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import KeySyncError
from ..network.stage import Stage
from .files import read_tensors, shapes_of, write_tensors
from .identify import DECODER
from .stage_format import check, metadata_of, needed_shapes, on_meta, published_names, spec_of, with_embedded

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def load_stage(
    path: str | Path,
    *,
    expect: str | None = None,
    head_dim: int | None = None,
    latent_size: tuple[int, int] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> Stage:
    """The stage that a checkpoint holds, in evaluation mode, its weights as stored or as `dtype`.

    `expect` ("keyframe", "interpolation") makes the other stage an error; `head_dim` and `latent_size` (height, width)
    go before the file's metadata.
    Raises `KeySyncError` for what `read_tensors` refuses, another kind of file, and missing or misshapen tensors.
    """
    tensors, metadata = read_tensors(path)
    metadata = with_embedded(path, tensors, metadata)
    shapes = shapes_of(tensors)
    spec = spec_of(path, shapes, metadata, expect=expect, head_dim=head_dim, latent_size=latent_size)
    check(path, spec, shapes)
    stage = on_meta(spec)
    names = published_names(stage)
    whole = next((name for name in names if not tensors[name].is_floating_point()), None)
    if whole:
        raise KeySyncError(f"{path}: {whole} holds {tensors[whole].dtype} numbers: floating-point weights were wanted")
    # Copied: a mapped tensor would change or vanish with its file.
    weights = {
        ours: tensors[theirs].to(device=device, dtype=dtype or tensors[theirs].dtype, copy=True)
        for theirs, ours in names.items()
    }
    stage.load_state_dict(weights, assign=True)
    return stage.eval()


def save_stage(
    stage: Stage, path: str | Path, dtype: torch.dtype | None = None, extra_metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a stage as safetensors under the published names, with everything in the metadata that no shape tells."""
    state = stage.state_dict()
    tensors = {theirs: state[ours].detach().cpu() for theirs, ours in published_names(stage).items()}
    metadata = {**metadata_of(stage.spec), **(extra_metadata or {})}
    write_tensors(_cast(tensors, dtype), path, metadata)


def convert(
    source: str | Path,
    target: str | Path,
    *,
    head_dim: int | None = None,
    latent_size: tuple[int, int] | None = None,
    audio_guidance: float | None = None,
    identity_guidance: float | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Writes a checkpoint of any format as safetensors with metadata; keeps the VAE decoder if the source has it.

    What is None stays as the source says, or as published.

    Raises `KeySyncError` where `load_stage` would, and where the target cannot be written.
    """
    if Path(source).resolve() == Path(target).resolve():
        raise KeySyncError(f"{target} is both source and target: give the target another name")
    tensors, metadata = read_tensors(source)
    metadata = with_embedded(source, tensors, metadata)
    shapes = shapes_of(tensors)
    spec = spec_of(source, shapes, metadata, head_dim=head_dim, latent_size=latent_size)
    check(source, spec, shapes)
    spec = replace(
        spec,
        audio_guidance=spec.audio_guidance if audio_guidance is None else audio_guidance,
        identity_guidance=spec.identity_guidance if identity_guidance is None else identity_guidance,
    )
    needed = needed_shapes(spec)
    kept = {name: tensor for name, tensor in tensors.items() if name in needed or name.startswith(DECODER)}
    write_tensors(_cast(kept, dtype), target, {**metadata, **metadata_of(spec)})


def _cast(tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    return {
        name: tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor for name, tensor in tensors.items()
    }
