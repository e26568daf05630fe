"""The five models of one dub: two stages, the VAE, and the speech encoders that the stages were trained with.

Where a file is not given, the small model that comes with KeySync takes its place (`small.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ...errors import KeySyncError
from ...media.container import MediaFile
from ...memory import folder_stamp
from ...method import LATENT_CHANNELS, PIXELS_PER_LATENT
from ...network.noise import Noise
from ...network.peak import is_on_cpu
from ...network.stage import ROWS, Stage, StageSpec
from ...speech.encoder import SpeechEncoder
from ...speech.encoders import ENCODERS, load_encoder
from ...speech.features import SpeechFeatures
from ...vae.vae import VAE, is_small, load_vae
from ...weights.checkpoint import load_stage
from ...weights.lora import apply_lora
from ..renderer import Clock, Encodings, Needs, OnStep, Rendering, Results
from .generate import HostStage, windows_at_once
from .memo import EnoughError, Memo
from .plan import Plan
from .sampling import Sampling
from .small import BUILT_IN, CROP_SCALE, RESOLUTION, SMALL
from .windows import Run, render

# Seconds on one core of a CPU that KeySync small takes for an evaluation, and for a frame that its VAE encodes and
# decodes. Other models take as much more as they have more to multiply.
SMALL_EVALUATION, SMALL_FRAME = 0.054, 0.075
SMALL_WORK = 14 * 16 * 16 * 64**2 * (1 + 1 / 4 + 1 / 16)
SMALL_CROPS = (RESOLUTION, RESOLUTION), CROP_SCALE


class HostVAE(Protocol):
    """A VAE that a host program runs; the members are those of `VAE`."""

    downscale: int
    source: str

    @property
    def batch(self) -> int: ...

    @property
    def encoder(self) -> object | None: ...

    def encoder_digest(self) -> str: ...

    def encode(self, images: Tensor, /) -> Tensor: ...

    def decode(self, latents: Tensor, /) -> Tensor: ...


class HostSpeechEncoder(Protocol):
    """A speech encoder that a host program runs; the members are those of `SpeechEncoder`."""

    @property
    def name(self) -> str: ...

    @property
    def channels(self) -> int: ...

    def encode(self, waveform: Tensor, /) -> SpeechFeatures: ...


@dataclass(frozen=True)
class Models:
    """What a dub runs on; `origins` says for the report where each model came from, `files` names the file or folder of
    those that were loaded from one. `encodings`: what the VAE made of the crops before; `sampling`: that of a dub
    without settings; `beside`: the VAE may work in two threads beside the networks, which a host's may not, nor one in
    half precision, and which is no gain on a CPU; `memo`: what was computed early; `work`: what was computed in a run
    before; `host`: what decides besides files, settings and code what the networks give, None where it has no name."""

    keyframe: Stage | HostStage
    interpolation: Stage | HostStage
    vae: VAE | HostVAE
    encoders: Mapping[str, SpeechEncoder | HostSpeechEncoder]
    origins: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    encodings: Encodings | None = None
    sampling: Sampling = field(default_factory=Sampling)
    beside: bool = False
    card: torch.device | None = None
    memo: Memo | None = None
    work: Results | None = None
    host: str | None = ""

    def __post_init__(self) -> None:
        first, second = self.keyframe.spec, self.interpolation.spec
        for spec, name in ((first, "keyframe"), (second, "interpolation")):
            if spec.reference != ROWS[name].reference:
                raise KeySyncError(f"the {spec.name} model takes the place of the {name} model: swap the two models")
        if any(getattr(first, name) != getattr(second, name) for name in ("latent_size", "window", "crop_scale")):
            raise KeySyncError(
                f"the keyframe model works on {_working_size(first)} but the interpolation model works on "
                f"{_working_size(second)}: use two models that were trained together",
                about="stages",
            )
        if self.vae.encoder is None:
            raise KeySyncError(
                f"{self.vae.source} contains only the decoder of a VAE: expected a complete VAE", about="vae"
            )
        if self.vae.downscale != PIXELS_PER_LATENT:
            raise KeySyncError(
                f"{self.vae.source} is a VAE with {self.vae.downscale} pixels per latent but the models expect "
                f"{PIXELS_PER_LATENT}: use the VAE of Stable Video Diffusion",
                about="vae",
            )
        for spec in (first, second):
            self._check_encoders(spec)
        # No shape tells which VAE a stage was trained with; models of other crops were trained with another.
        if self.origins.get("vae") == BUILT_IN and (first.image_size, first.crop_scale) != SMALL_CROPS:
            raise KeySyncError(
                f"the models work on {_working_size(first)} but the built-in VAE was trained with models of "
                f"{RESOLUTION}x{RESOLUTION} pixels, {CROP_SCALE:g} times the face: use the VAE that the models were "
                "trained with",
                about="vae",
            )

    @property
    def system(self) -> str:
        """The name of the system; see `Renderer`."""
        return "keysync"

    @property
    def needs(self) -> Needs:
        """What a dub gives these models; see `Renderer`."""
        specs = self.keyframe.spec, self.interpolation.spec
        encoders = tuple(dict.fromkeys(name for spec in specs for name in spec.speech_encoders))
        return Needs(specs[0].image_size, specs[0].crop_scale, specs[0].mask, encoders)

    def place(self, stage: Stage | HostStage) -> None:
        """Takes a stage to the card that holds one at a time, and the other one from there."""
        if self.card is None or not isinstance(stage, Stage):
            return
        for other in (self.keyframe, self.interpolation):
            if other is not stage and isinstance(other, Stage):
                other.to("cpu")
        stage.to(self.card)

    def evaluations(self, frames: int, settings: Sampling | None) -> int:
        """How often the networks are evaluated for a span of so many frames."""
        sampling = settings or self.sampling
        each = (sampling.network_evaluations(stage.spec) for stage in (self.keyframe, self.interpolation))
        return Plan(frames, self.keyframe.spec.window).evaluations(*each)

    def remarks(self, settings: Sampling | None) -> Iterator[str]:
        """See `Remarking`: a line for each distilled stage."""
        sampling = settings or self.sampling
        for spec in (self.keyframe.spec, self.interpolation.spec):
            if spec.guidance_baked or spec.levels:
                levels = ", ".join(f"{level:g}" for level in sampling.sigmas_of(spec)[:-1].tolist())
                yield (
                    f"the {spec.name} model is distilled: it was sampled "
                    f"{'without guidance ' if spec.guidance_baked else ''}at the noise levels {levels}"
                )

    @property
    def seconds_per_evaluation(self) -> float:
        """See `Costed`; most evaluations are the interpolation's."""
        return SMALL_EVALUATION * _work(self.interpolation.spec) / SMALL_WORK

    @property
    def seconds_per_frame(self) -> float:
        """See `Costed`: by the pixels, as the width of a VAE is unknown."""
        height, width = self.keyframe.spec.image_size
        return SMALL_FRAME * height * width / RESOLUTION**2

    def bytes_to_draw(self, crop: tuple[int, int], settings: Sampling | None) -> int:
        """See `Weighed`: the latents of a batch of keyframes, and the largest of the networks' activations where they
        are here: a host program manages its own."""
        height, width = self.keyframe.spec.latent_size
        batches = 2 if self.beside else 1  # the next one is encoded ahead
        latents = batches * 4 * (LATENT_CHANNELS + 1) * height * width * self.keyframe.spec.window**2
        stage, vae = self.interpolation, self.vae  # the keyframes' network is as large
        each = [
            stage.peak_bytes(windows_at_once(stage, settings or self.sampling))
            if isinstance(stage, Stage) and is_on_cpu(stage)
            else 0,
            vae.peak_bytes(crop) if isinstance(vae, VAE) and is_on_cpu(vae) else 0,
        ]
        return latents + max(each)

    def encoder_digest(self) -> str:
        """See `Encoding`: that of the VAE."""
        return self.vae.encoder_digest()

    def keeping(self, encodings: Encodings) -> Models:
        """See `Encoding`."""
        return replace(self, encodings=encodings)

    @property
    def remembers(self) -> bool:
        """See `Foresighted`."""
        return self.memo is not None

    def steady(self, frames: int) -> int:
        """See `Foresighted`: those of whole batches of keyframes."""
        step = self.keyframe.spec.window - 1
        batches = (frames + step - 1) // step**2
        return max(0, batches * step**2 - step + 1)

    def remembering(self) -> Models:
        """See `Foresighted`."""
        return replace(self, memo=Memo())

    @contextmanager
    def early(self, enough: Callable[[], bool]) -> Iterator[None]:
        """See `Foresighted`."""
        assert self.memo is not None
        with self.memo.learning(enough), suppress(EnoughError):
            yield

    @property
    def stores(self) -> list[Results]:
        """Where results may be found, and are kept."""
        return [store for store in (self.memo, self.work) if store is not None]

    def work_causes(self, settings: Sampling | None) -> list[Any] | None:
        """See `Resumable`."""
        stages = {"keyframe": self.keyframe, "interpolation": self.interpolation}
        if self.host is None or not stages.keys() <= self.files.keys():
            return None
        kinds = {name: _kind(stage, self.card) for name, stage in stages.items()}
        networks = [[stamp(self.files[name]), repr(stage.spec), kinds[name]] for name, stage in stages.items()]
        networks += [[stamp(self.files["lora"])]] if "lora" in self.files else []
        return [self.system, self.host, networks, self.vae.encoder_digest(), repr(settings or self.sampling)]

    def bytes_to_keep(self, frames: int) -> int:
        """See `Resumable`: latents of keyframes, of windows, and of the crops."""
        height, width = self.keyframe.spec.latent_size
        plan = Plan(frames, self.keyframe.spec.window)
        made = (len(plan.batches) + len(plan.windows)) * plan.window + frames
        return made * 4 * LATENT_CHANNELS * height * width

    def continuing(self, work: Results) -> Models:
        """See `Resumable`."""
        return replace(self, work=work)

    def begin(self, settings: Sampling | None, seed: int, clock: Clock, on_step: OnStep | None) -> Rendering:
        """Starts a run of spans, each an identity of its own; see `Renderer`."""
        run = Run(self, settings or self.sampling, Noise.from_seed(seed), clock, on_step)
        device = self.card or (self.keyframe.device if isinstance(self.keyframe, Stage) else None)
        if self.beside and device is not None and device.type == "cuda":
            run = replace(run, encoding=torch.cuda.Stream(device), decoding=torch.cuda.Stream(device))
        return partial(render, run)

    def _check_encoders(self, spec: StageSpec) -> None:
        for name in spec.speech_encoders:
            if name not in ENCODERS:
                raise KeySyncError(
                    f"the {spec.name} model needs the {name} speech encoder but this version of KeySync supports "
                    f"{', '.join(ENCODERS)}: update KeySync"
                )
            if name not in self.encoders:
                raise KeySyncError(
                    f"the {spec.name} model needs the {name} speech encoder, which is missing: load {name}", about=name
                )
        channels = [self.encoders[name].channels for name in spec.speech_encoders]
        if sum(channels) != spec.audio_channels:
            built_in = {name for name in spec.speech_encoders if self.origins.get(name) == BUILT_IN}
            given = " and ".join(f"the built-in {name}" if name in built_in else name for name in spec.speech_encoders)
            provided = f"{given} provide{'s' if len(channels) == 1 else ''} {' and '.join(map(str, channels))}"
            raise KeySyncError(
                f"the {spec.name} model expects {spec.audio_channels} speech channels but {provided}: use the "
                f"{' and '.join(spec.speech_encoders)} that the model was trained with",
                about=spec.speech_encoders[0],
            )


def stamp(file: Path) -> str | list[Any]:
    """The same for a file or folder that has not changed."""
    return folder_stamp(file) if file.is_dir() else MediaFile.of(file).fingerprint()


def _kind(stage: Stage | HostStage, card: torch.device | None) -> str:
    """On what a network computes, and in which numbers, as far as it is known."""
    parameter = next(stage.parameters(), None) if isinstance(stage, Stage) else None
    return "" if parameter is None else f"{card or parameter.device} {parameter.dtype}"


def _work(spec: StageSpec) -> float:
    """What a stage multiplies in an evaluation, but for a factor: the convolutions of each level."""
    height, width = spec.latent_size
    levels = sum(times * times * 0.25**level for level, times in enumerate(spec.unet.channel_mult))
    channels = spec.unet.model_channels
    return spec.window * height * width * spec.unet.num_res_blocks * channels * channels * levels


def _working_size(spec: StageSpec) -> str:
    height, width = spec.image_size
    return f"{width}x{height} pixels, {spec.crop_scale:g} times the face, in windows of {spec.window}"


def load_models(
    keyframe: str | Path | None = None,
    interpolation: str | Path | None = None,
    vae: str | Path | None = None,
    hubert: str | Path | None = None,
    wavlm: str | Path | None = None,
    *,
    lora: str | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    **encoders: str | Path | None,
) -> Models:
    """Loads what is given, and KeySync small for what is not: of it there is no WavLM. `dtype` is that of the two
    U-Nets, else float16 on a GPU and float32 on a CPU, which is slow at halves; the rest works in float32. `encoders`
    are files or folders of further speech encoders by name (keys of `ENCODERS`). `lora` is for one of the stages.

    Raises `KeySyncError` where a file is not what it is given as, or where two models do not fit together.
    """
    dtype = dtype or (torch.float16 if torch.device(device).type == "cuda" else torch.float32)
    unknown = sorted(encoders.keys() - ENCODERS.keys())
    if unknown:
        raise KeySyncError(f"unknown speech encoder {unknown[0]!r}: choose one of {', '.join(ENCODERS)}")
    given = {"keyframe": keyframe, "interpolation": interpolation, "vae": vae, "hubert": hubert, "wavlm": wavlm}
    given |= encoders
    paths = {name: Path(path or SMALL[name]) for name, path in given.items() if path or name in SMALL}
    card = torch.device(device) if is_small(torch.device(device)) else None
    kept = "cpu" if card else device
    first = load_stage(paths["keyframe"], expect="keyframe", device=kept, dtype=dtype)
    second = load_stage(paths["interpolation"], expect="interpolation", device=kept, dtype=dtype)
    if lora:
        apply_lora(Path(lora), first, second)
        given["lora"], paths["lora"] = lora, Path(lora)
    wanted = {first.spec.speech_encoder, second.spec.speech_encoder} & ENCODERS.keys() & paths.keys()
    held = [name for name in paths if name not in ENCODERS or name in wanted]
    return Models(
        keyframe=first,
        interpolation=second,
        vae=load_vae(paths["vae"], device=device),
        encoders={name: load_encoder(name, paths[name], device=device) for name in sorted(wanted)},
        origins={name: str(given[name] or BUILT_IN) for name in held},
        files={name: paths[name] for name in held},
        beside=torch.device(device).type == "cuda",
        card=card,
    )
