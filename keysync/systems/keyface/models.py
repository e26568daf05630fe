"""The models of KeyFace: two stages, the weaker copy that guides the second, the VAE, and the encoders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ...errors import KeySyncError
from ...network.noise import Noise
from ...network.stage import Stage, StageSpec
from ...speech.ears import CHANNELS, Ears
from ...speech.encoders import ENCODERS, load_encoder
from ...vae.vae import load_vae
from ...weights.checkpoint import WEAK, load_stage, load_weak
from ..keysync.generate import HostStage
from ..keysync.models import Models, stamp
from ..keysync.sampling import Sampling
from ..keysync.small import BUILT_IN, SMALL
from ..keysync.windows import Run
from ..renderer import Clock, Needs, OnStep, Rendering
from .emotion import CONTROLS
from .generate import render
from .guided import Guided
from .sampling import KeyFaceSampling

# What is missing, in words, by the name of the file.
MISSING = {
    "keyframe": "the KeyFace keyframe model is missing: load keyframe.pt",
    "interpolation": "the KeyFace interpolation model is missing: load interpolation.pt",
    "vae": "the VAE is missing: load that of Stable Video Diffusion",
}


@dataclass(frozen=True)
class KeyFaceModels(Models):
    """What a talking head is drawn with; without the `weak` copy the interpolation is not guided.

    A host's interpolation has its weak copy itself; that one is given here too.

    Raises `KeySyncError` where the models do not fit together.
    """

    sampling: Sampling = field(default_factory=KeyFaceSampling)
    weak: Stage | HostStage | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for stage in (self.keyframe, self.interpolation):
            if stage.spec.weak:
                raise KeySyncError(
                    f"this {stage.spec.name} model is the weaker copy that guides a better one: load the better one, "
                    "and this one as the weak model",
                    about=stage.spec.name.removeprefix("keyface_"),
                )

    @property
    def system(self) -> str:
        return "keyface"

    @property
    def needs(self) -> Needs:
        """See `Models`: a talking head, which follows an emotion."""
        return replace(super().needs, mask=None, controls=CONTROLS, source=False)

    @property
    def between(self) -> Stage | HostStage:
        """What draws the frames between keyframes."""
        stage, weak = self.interpolation, self.weak
        return Guided(stage, weak) if isinstance(stage, Stage) and isinstance(weak, Stage) else stage

    def settled(self, settings: Sampling | None) -> Sampling:
        """The settings with an autoguidance of 1 where no weaker copy guides. Raises `KeySyncError` for another one."""
        sampling = settings or self.sampling
        if self.weak is not None or not isinstance(sampling, KeyFaceSampling):
            return sampling
        if sampling.autoguidance not in (None, 1):
            raise KeySyncError(
                f"the autoguidance is {sampling.autoguidance:g} but there is no weaker copy of the interpolation "
                "model: load interpolation_bad.pt as the weak model",
                about=WEAK,
            )
        return replace(sampling, autoguidance=1.0)

    def evaluations(self, frames: int, settings: Sampling | None) -> int:
        return super().evaluations(frames, self.settled(settings))

    def remarks(self, settings: Sampling | None) -> Iterator[str]:
        yield from super().remarks(settings)
        if self.weak is None:
            yield "the interpolation was not guided: no weaker copy of its model was loaded"
        built_in = [name for name in ("vae", "hubert") if self.files.get(name) == SMALL[name]]
        if built_in:
            yield f"{' and '.join(built_in)}: {BUILT_IN}; a model that was trained with others needs those"

    def work_causes(self, settings: Sampling | None) -> list[Any] | None:
        causes = super().work_causes(self.settled(settings))
        return causes and [*causes, *([stamp(self.files[WEAK])] if WEAK in self.files else [])]

    def begin(self, settings: Sampling | None, seed: int, clock: Clock, on_step: OnStep | None) -> Rendering:
        run = Run(self, self.settled(settings), Noise.from_seed(seed), clock, on_step)
        return partial(render, run, self.between)


def _hears_as_small(spec: StageSpec) -> bool:
    """Whether a stage hears KeySync small's HuBERT; training pairs that with its VAE unless told otherwise."""
    return (spec.speech_encoder, spec.audio_channels) == (Ears.name, CHANNELS)


def _small_vae(keyframe: Path) -> Path:
    """The VAE of a small model: in the folder `vae` beside it, as `training.small.keyface` writes it, or else KeySync
    small's."""
    beside = keyframe.with_name("vae")
    return beside if beside.is_dir() else SMALL["vae"]


def _require(files: Mapping[str, Path], name: str) -> None:
    if name not in files:
        raise KeySyncError(MISSING[name], about=name)


def load_keyface(
    keyframe: str | Path | None,
    interpolation: str | Path | None,
    vae: str | Path | None,
    weak: str | Path | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    **encoders: str | Path | None,
) -> KeyFaceModels:
    """Loads KeyFace: its files, and those of the `encoders` that its stages hear, by name (keys of `ENCODERS`).

    `weak` is the weaker copy of the interpolation model, without which it is not guided. `dtype` is that of the U-Nets,
    else float16 on a GPU and float32 on a CPU. Raises `KeySyncError` where a file is missing or is not what it is given
    as, or where two models do not fit together.

    For a keyframe model that hears KeySync small's HuBERT, as one of `training.small.keyface` does, HuBERT is KeySync
    small's unless it is given, and the VAE that of the folder `vae` beside the model, or KeySync small's without one.
    """
    dtype = dtype or (torch.float16 if torch.device(device).type == "cuda" else torch.float32)
    given = {"keyframe": keyframe, "interpolation": interpolation, "vae": vae, WEAK: weak, **encoders}
    files = {name: Path(path) for name, path in given.items() if path is not None}
    for name in ("keyframe", "interpolation"):
        _require(files, name)
    if files.get(WEAK) == files["interpolation"]:
        raise KeySyncError(
            "the interpolation model and the weaker copy that guides it are one file: choose interpolation_bad.pt",
            about=WEAK,
        )
    first = load_stage(files["keyframe"], expect="keyface_keyframe", device=device, dtype=dtype)
    if _hears_as_small(first.spec):
        files = {"vae": _small_vae(files["keyframe"]), "hubert": SMALL["hubert"]} | files
    _require(files, "vae")
    second = load_stage(files["interpolation"], expect="keyface_interpolation", device=device, dtype=dtype)
    heard = {name for stage in (first, second) for name in stage.spec.speech_encoders} & ENCODERS.keys()
    used = {name: path for name, path in files.items() if name not in ENCODERS or name in heard}
    return KeyFaceModels(
        keyframe=first,
        interpolation=second,
        vae=load_vae(files["vae"], device=device),
        encoders={name: load_encoder(name, used[name], device=device) for name in sorted(heard & used.keys())},
        origins={name: str(path) for name, path in used.items()},
        files=used,
        weak=load_weak(files[WEAK], second, dtype=dtype) if WEAK in files else None,
    )
