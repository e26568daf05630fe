"""Describes weight files, for `keysync inspect`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import KeySyncError
from ..network.stage import ALL_STAGES, StageSpec
from .eight_bits import from_eight_bits
from .files import read_tensors, shapes_of
from .finite import check_weights
from .identify import DECODER, KINDS, identify
from .stage_format import check, needed_shapes, spec_of, unexpected, with_embedded

NO_OTHERS: Mapping[str, Callable[[Path], dict[str, Any]]] = {}


@dataclass(frozen=True)
class Description:
    """The description of a weight file: `str()` for people, `to_dict()` for JSON.

    `kind` is a key of `KINDS`; `stage` holds the sizes of what the file holds by name, if it is known; `untrained` is
    whether the metadata marks the weights as untrained; `unexpected` lists tensors that no stage needs; `problem` is
    why the file cannot be loaded.
    """

    path: str
    kind: str
    sign: str
    tensors: int
    parameters: int
    dtypes: dict[str, int]
    stage: dict[str, Any] = field(default_factory=dict)
    untrained: bool = False
    vae_decoder: bool = False
    unexpected: tuple[str, ...] = ()
    problem: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As values that JSON can represent."""
        return asdict(self)

    def __str__(self) -> str:
        dtypes = ", ".join(f"{count} {dtype}" for dtype, count in self.dtypes.items())
        lines = [f"{self.path}: {KINDS[self.kind]} ({self.sign})"]
        rows = {
            "tensors": f"{self.tensors:,} ({dtypes}), {self.parameters:,} parameters",
            **{name.replace("_", " "): _words(value) for name, value in self.stage.items()},
            "VAE decoder": "included" if self.vae_decoder else "",
            "training": "none: untrained weights" if self.untrained else "",
            "unexpected": _words(self.unexpected[:3]) + (", ..." if len(self.unexpected) > 3 else ""),
            "problem": self.problem or "",
            **self.metadata,
        }
        return "\n".join(lines + [f"  {name}: {value}" for name, value in rows.items() if value])


def describe(path: str | Path, others: Mapping[str, Callable[[Path], dict[str, Any]]] = NO_OTHERS) -> Description:
    """Describes a weight file: a stage of KeySync or KeyFace, another model that KeySync uses, or an unknown file.

    `others` open and check files of further kinds, by kind, and give their sizes by name. Raises `KeySyncError` only if
    the file cannot be read; `Description.problem` is why it cannot be loaded.
    """
    tensors, metadata = read_tensors(path)
    tensors = from_eight_bits(path, tensors)
    shapes = shapes_of(tensors)
    kind, sign = identify(shapes)
    stage: dict[str, Any] = {}
    foreign: list[str] = []
    problem = None
    if kind in ALL_STAGES:
        try:
            metadata = with_embedded(path, tensors, metadata)
            spec = spec_of(path, shapes, metadata, among=ALL_STAGES)
            needed = needed_shapes(spec)
            stage, foreign = _sizes(spec), unexpected(needed, shapes)
            check(path, spec, shapes)
            check_weights(path, {name: tensors[name] for name in needed})
        except KeySyncError as error:
            problem = str(error)
    elif kind in others:
        try:
            stage = others[kind](Path(path))
        except KeySyncError as error:
            problem = str(error)
    return Description(
        path=str(path),
        kind=kind,
        sign=sign,
        tensors=len(tensors),
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        dtypes=_dtypes(tensors),
        stage=stage,
        untrained=metadata.get("keysync.untrained", "").lower() in ("true", "1", "yes"),
        vae_decoder=any(name.startswith(DECODER) for name in tensors),
        unexpected=tuple(foreign),
        problem=problem,
        metadata=dict(sorted(metadata.items())),
    )


def _sizes(spec: StageSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "latent_size": spec.latent_size,
        "image_size": spec.image_size,
        "window": spec.window,
        "speech_encoder": spec.speech_encoder,
        **({"mask": spec.mask} if spec.row.masked else {}),
        "crop_scale": spec.crop_scale,
        **spec.scales,
        **({"weak": True} if spec.weak else {}),
        **({"guidance_baked": True} if spec.guidance_baked else {}),
        **({"levels": spec.levels} if spec.levels else {}),
        "audio_channels": spec.audio_channels,
        **asdict(spec.unet),
    }


def _dtypes(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    return dict(Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()))


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
