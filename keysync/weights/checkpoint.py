"""Opens, loads, saves and converts the checkpoints of stages.

A file contains the U-Net, the audio projection, the learned mask (interpolation) and often the VAE's decoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import KeySyncError
from ..network.stage import Stage, StageSpec
from .files import read_tensors, shapes_of, write_tensors
from .finite import check_weights
from .identify import DECODER
from .stage_format import check, metadata_of, needed_shapes, on_meta, published_names, spec_of, with_embedded

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True, eq=False)
class StageFile:
    """A complete stage file: `tensors` by name in the file, on the CPU, memory-mapped where the format allows."""

    path: Path
    spec: StageSpec
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]

    def own(self) -> dict[str, Tensor]:
        """The tensors that the stage needs, by name in the file."""
        needed = needed_shapes(self.spec)
        return {name: tensor for name, tensor in self.tensors.items() if name in needed}


def open_stage(
    path: str | Path,
    *,
    expect: str | None = None,
    head_dim: int | None = None,
    latent_size: tuple[int, int] | None = None,
) -> StageFile:
    """Opens and checks a stage file; all loaders start here.

    `expect` ("keyframe" or "interpolation") makes the other stage an error; `head_dim` and `latent_size` (height,
    width) override the file's metadata.
    Raises `KeySyncError` like `read_tensors`, and for another kind of file, missing or misshapen tensors, and weights
    that are not finite floating-point numbers.
    """
    tensors, metadata = read_tensors(path)
    metadata = with_embedded(path, tensors, metadata)
    shapes = shapes_of(tensors)
    spec = spec_of(path, shapes, metadata, expect=expect, head_dim=head_dim, latent_size=latent_size)
    check(path, spec, shapes)
    opened = StageFile(Path(path), spec, tensors, metadata)
    own = opened.own()
    for name, tensor in own.items():
        if not tensor.is_floating_point():
            raise KeySyncError(
                f"{path}: {name} has dtype {tensor.dtype}: expected floating-point weights; choose another file"
            )
    check_weights(path, own)
    return opened


def load_stage(
    path: str | Path,
    *,
    expect: str | None = None,
    head_dim: int | None = None,
    latent_size: tuple[int, int] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> Stage:
    """The stage in a checkpoint, in evaluation mode, with its weights as stored or as `dtype`.

    The other arguments and the errors are those of `open_stage`.
    """
    opened = open_stage(path, expect=expect, head_dim=head_dim, latent_size=latent_size)
    stage = on_meta(opened.spec)
    # Copied: a memory-mapped tensor would change with its file.
    weights = {
        ours: opened.tensors[theirs].to(device=device, dtype=dtype or opened.tensors[theirs].dtype, copy=True)
        for theirs, ours in published_names(stage).items()
    }
    stage.load_state_dict(weights, assign=True)
    return stage.eval()


def save_stage(
    stage: Stage, path: str | Path, dtype: torch.dtype | None = None, extra_metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a stage as safetensors with the published names and the metadata of `metadata_of`."""
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
    """Converts a checkpoint of any format to safetensors with metadata; keeps the VAE decoder if there is one.

    Arguments that are None keep the source's values, or the published ones.

    Raises `KeySyncError` like `open_stage`, and if the target cannot be written.
    """
    if Path(source).resolve() == Path(target).resolve():
        raise KeySyncError(f"{target} is both source and target: choose another target")
    opened = open_stage(source, head_dim=head_dim, latent_size=latent_size)
    spec = replace(
        opened.spec,
        audio_guidance=opened.spec.audio_guidance if audio_guidance is None else audio_guidance,
        identity_guidance=opened.spec.identity_guidance if identity_guidance is None else identity_guidance,
    )
    decoder = {name: tensor for name, tensor in opened.tensors.items() if name.startswith(DECODER)}
    write_tensors(_cast({**opened.own(), **decoder}, dtype), target, {**opened.metadata, **metadata_of(spec)})


def _cast(tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    return {
        name: tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor for name, tensor in tensors.items()
    }
