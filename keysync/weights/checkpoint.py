"""Opens, loads, saves and converts the checkpoints of stages.

A file contains the U-Net, the audio projection, the learned mask (interpolation) and often the VAE's decoder. Weights
in 8 bits (`eight_bits`) are read as float32.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import KeySyncError
from ..network.stage import ALL_STAGES, STAGES, Stage, StageSpec
from .eight_bits import from_eight_bits
from .files import read_tensors, shapes_of, write_tensors
from .finite import check_weights
from .identify import DECODER, KINDS, identify
from .stage_format import check, metadata_of, needed_shapes, on_meta, published_names, spec_of, with_embedded

# The `about` of errors about the file of a weaker copy.
WEAK = "weak"
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
    among: Collection[str] = STAGES,
    head_dim: int | None = None,
    latent_size: tuple[int, int] | None = None,
) -> StageFile:
    """Opens and checks a stage file; all loaders start here.

    `expect` (a key of `ALL_STAGES`) makes other stages an error, None those that are not `among` these; `head_dim` and
    `latent_size` (height, width) override the file's metadata.
    Raises `KeySyncError` like `read_tensors`, and for another kind of file, missing or misshapen tensors, and weights
    that are not finite floating-point numbers.
    """
    tensors, metadata = read_tensors(path)
    tensors = from_eight_bits(path, tensors)
    metadata = with_embedded(path, tensors, metadata)
    spec = spec_of(
        path, shapes_of(tensors), metadata, expect=expect, among=among, head_dim=head_dim, latent_size=latent_size
    )
    return _checked(StageFile(Path(path), spec, tensors, metadata))


def _checked(opened: StageFile) -> StageFile:
    """The file, if it holds all that its stage needs. Raises `KeySyncError` otherwise."""
    path, own = opened.path, opened.own()
    check(path, opened.spec, shapes_of(opened.tensors))
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
    return _loaded(open_stage(path, expect=expect, head_dim=head_dim, latent_size=latent_size), device, dtype)


def load_weak(path: str | Path, stage: Stage, *, dtype: torch.dtype | None = None) -> Stage:
    """The weaker copy of a stage that guides it, on its device; see `open_weak`, also for the errors."""
    weak = _loaded(open_weak(path, stage), stage.device, dtype)
    weak.audio_projection = stage.audio_projection
    return weak


def open_weak(path: str | Path, stage: Stage) -> StageFile:
    """Opens and checks the weaker copy of a stage, which hears through the stage's own audio projection.

    A file says nothing of its role, unless it was converted: any stage of the same sizes will do. What else it holds
    than the network and the learned mask is not used. Raises `KeySyncError` like `open_stage`, and for other sizes.
    """
    tensors, metadata = read_tensors(path)
    tensors = from_eight_bits(path, tensors)
    metadata = with_embedded(path, tensors, metadata)
    spec, projection = stage.spec, stage.spec.row.keys["audio_projection."]
    kind, sign = identify(shapes_of(tensors))
    if kind != spec.name and any(name.startswith("conditioner.") for name in tensors):
        raise KeySyncError(f"{path} is {KINDS[kind]} ({sign}): expected {KINDS[spec.name]}", about=WEAK)
    heard = {f"{projection}{name}": tensor for name, tensor in stage.audio_projection.state_dict().items()}
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("conditioner.")} | heard
    found = spec_of(
        path,
        shapes_of(tensors),
        metadata,
        expect=spec.name,
        head_dim=spec.unet.head_dim,
        latent_size=spec.latent_size,
    )
    if (found.unet, found.window) != (spec.unet, spec.window):
        raise KeySyncError(
            f"{path} has other sizes than the {spec.name} model that it guides: use the file that belongs to it",
            about=WEAK,
        )
    return _checked(StageFile(Path(path), found, tensors, metadata))


def _loaded(opened: StageFile, device: str | torch.device, dtype: torch.dtype | None) -> Stage:
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
    weak: bool = False,
    dtype: torch.dtype | None = None,
) -> None:
    """Converts a checkpoint of any format to safetensors with metadata; keeps the VAE decoder if there is one.

    Arguments that are None keep the source's values, or the published ones. `weak`: the stage is one that guides a
    better one, which no shape tells; it cannot take that one's place then.

    Raises `KeySyncError` like `open_stage`, and if the target cannot be written.
    """
    if Path(source).resolve() == Path(target).resolve():
        raise KeySyncError(f"{target} is both source and target: choose another target")
    opened = open_stage(source, among=ALL_STAGES, head_dim=head_dim, latent_size=latent_size)
    spec = replace(
        opened.spec,
        weak=weak or opened.spec.weak,
        audio_guidance=opened.spec.audio_guidance if audio_guidance is None else audio_guidance,
        identity_guidance=opened.spec.identity_guidance if identity_guidance is None else identity_guidance,
    )
    decoder = {name: tensor for name, tensor in opened.tensors.items() if name.startswith(DECODER)}
    write_tensors(_cast({**opened.own(), **decoder}, dtype), target, {**opened.metadata, **metadata_of(spec)})


def _cast(tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    return {
        name: tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor for name, tensor in tensors.items()
    }
