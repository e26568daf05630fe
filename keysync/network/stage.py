"""A stage: the U-Net with its audio projection and, for interpolation, the learned mask; and the denoiser around them.

Latents are (b, t, 4, h, w): b windows of t frames, scaled by 0.18215. The mathematics is the paper's, §3.1-3.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import KeySyncError
from ..method import LATENT_CHANNELS, PIXELS_PER_LATENT, PUBLISHED_CROP_SCALE
from .guidance import AUTOGUIDANCE, TWO_CONDITIONS, Guidance
from .layers import at_least_float32, sinusoids
from .peak import peak_bytes
from .precision import Repairable
from .schedule import fall
from .unet import INTERPOLATION, KEYFACE_KEYFRAME, KEYFRAME, UNetConfig, VideoUNet

SCALE_FACTOR = 0.18215
MOST_GUIDANCE = 20


# Between the names of encoders whose features stand side by side.
ENCODERS_JOINED = "+"
# The width of a picture of head and shoulders over that of the face's points, about as in the videos that KeyFace was
# trained on: no published value is known.
HEAD_AND_SHOULDERS = 2.4
# The stages of the systems, as `ROWS` names them.
KEYSYNC, KEYFACE = ("keyframe", "interpolation"), ("keyface_keyframe", "keyface_interpolation")
# What a stage sees beside the noisy latents: the identity at every frame, or the window's ends.
IDENTITY, ENDS = "identity", "ends"


def _published_keys(embedder: int) -> dict[str, str]:
    """Prefixes of tensors' names, ours and the published; the conditioner's `embedder` that projects the speech."""
    return {
        "unet.": "model.diffusion_model.",
        "learned_mask": "model.learned_mask",
        "audio_projection.": f"conditioner.embedders.{embedder}.linear.",
    }


@dataclass(frozen=True)
class StageRow:
    """A stage of the method, whatever it was trained on.

    `unet` is the published network, `reference` IDENTITY or ENDS, `learned_mask` whether a learned latent fills the
    frames between the ends, `keeps_ends` whether windows begin and end with the very keyframes, `masked` whether it
    keeps what is known outside a mask, `controls` the numbers of each frame that its network takes beside the
    speech, `speech_encoder` the published one, `guidance` its rule. `keys` translates the names of a `Stage`'s tensors
    to the published ones, prefix by prefix.
    """

    unet: UNetConfig
    reference: str
    speech_encoder: str
    learned_mask: bool = False
    keeps_ends: bool = False
    masked: bool = True
    controls: tuple[str, ...] = ()
    guidance: Guidance = TWO_CONDITIONS
    keys: Mapping[str, str] = field(default_factory=partial(_published_keys, 2))


# A stage is a row: no other code depends on a stage's name.
ROWS = {
    "keyframe": StageRow(KEYFRAME, IDENTITY, "hubert"),
    "interpolation": StageRow(INTERPOLATION, ENDS, "wavlm", learned_mask=True, keeps_ends=True),
    "keyface_keyframe": StageRow(
        KEYFACE_KEYFRAME,
        IDENTITY,
        "wavlm+beats",
        masked=False,
        controls=("valence", "arousal"),
        keys=_published_keys(3),
    ),
    "keyface_interpolation": StageRow(
        INTERPOLATION,
        ENDS,
        "wav2vec2+beats",
        learned_mask=True,
        masked=False,
        guidance=AUTOGUIDANCE,
        keys=_published_keys(1),
    ),
}


@dataclass(frozen=True)
class StageSpec:
    """What a checkpoint is: its network, and what it was trained on.

    `latent_size` is (height, width), `mask` a key of `MASKS`, `crop_scale` the width of a crop over that of the points.
    `speech_encoder` names the encoder of its features, or several, joined by "+", whose channels stand side by side.
    The guidance scales are those that it is best sampled with; 5 and 2 as published (paper §4.1), and 2 for
    autoguidance. A distilled network has learned its guidance (`guidance_baked`): it is evaluated once a step, at
    scales of 1. `levels` are the noise levels that it has learned to step through, down to 0; None for any. A `weak`
    network is of no use but to guide a better one.
    """

    name: str
    unet: UNetConfig
    audio_channels: int = 768
    latent_size: tuple[int, int] = (64, 64)
    window: int = 14
    speech_encoder: str = "hubert"
    mask: str = "box"
    crop_scale: float = PUBLISHED_CROP_SCALE
    audio_guidance: float = 5.0
    identity_guidance: float = 2.0
    guidance_baked: bool = False
    levels: tuple[float, ...] | None = None
    autoguidance: float = 2.0
    weak: bool = False

    def __post_init__(self) -> None:
        """Raises `KeySyncError` for a latent size that the U-Net cannot halve from level to level, for guidance scales
        that are not from 1 to 20, or not 1 where guidance is baked in, and for levels that do not fall."""
        step = 2 ** (len(self.unet.channel_mult) - 1)
        if any(side % step for side in self.latent_size):
            height, width = self.latent_size
            raise KeySyncError(
                f"the latent size of the {self.name} model is {height}x{width}: height and width must be multiples of "
                f"{step} for a network of {len(self.unet.channel_mult)} levels"
            )
        for what in ("audio_guidance", "identity_guidance", "autoguidance"):
            scale = getattr(self, what)
            if not 1 <= scale <= MOST_GUIDANCE:
                raise KeySyncError(
                    f"the {what.replace('_', ' ')} of the {self.name} model is {scale:g}: expected a number from 1 to "
                    f"{MOST_GUIDANCE}"
                )
        if self.levels is not None and not fall(self.levels):
            raise KeySyncError(
                f"the noise levels of the {self.name} model are {list(self.levels)}: expected positive numbers, each "
                "below the one before"
            )
        self.scales_with(self.scales)

    @property
    def row(self) -> StageRow:
        return ROWS[self.name]

    @property
    def reference(self) -> str:
        """What the network sees beside the noise: IDENTITY or ENDS."""
        return self.row.reference

    @property
    def speech_encoders(self) -> tuple[str, ...]:
        """The encoders whose features it takes, in the order of their channels."""
        return tuple(self.speech_encoder.split(ENCODERS_JOINED))

    @property
    def guidance(self) -> Guidance:
        return self.row.guidance

    @property
    def scales(self) -> dict[str, float]:
        """The scales of its guidance rule that it is best sampled with, by name."""
        return {name: getattr(self, name) for name in self.guidance.scales}

    def scales_with(self, chosen: Mapping[str, float | None]) -> dict[str, float]:
        """The scales of its guidance rule: those that are chosen, by name, and its own for None.

        Raises `KeySyncError` for a choice other than 1 where guidance is baked in.
        """
        scales = self.scales | {name: scale for name, scale in chosen.items() if scale is not None}
        for name, scale in scales.items():
            if self.guidance_baked and scale != 1:
                raise KeySyncError(
                    f"the {name.replace('_', ' ')} is {scale:g} but the {self.name} model is distilled with its "
                    "guidance: expected the model's default; omit the scale, or use a model that is not distilled",
                    about=name,
                )
        return scales

    @property
    def frames_apart(self) -> int:
        """How far apart a window's frames are: keyframes leave room for a window between two of them."""
        return self.window - 1 if self.reference == IDENTITY else 1

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the crops in pixels."""
        height, width = self.latent_size
        return PIXELS_PER_LATENT * height, PIXELS_PER_LATENT * width


# What the published checkpoints are: of KeySync, of KeyFace, and of both.
STAGES = {name: StageSpec(name, ROWS[name].unet, speech_encoder=ROWS[name].speech_encoder) for name in KEYSYNC}
KEYFACE_STAGES = {
    name: StageSpec(
        name,
        ROWS[name].unet,
        audio_channels=1536,
        speech_encoder=ROWS[name].speech_encoder,
        crop_scale=HEAD_AND_SHOULDERS,
    )
    for name in KEYFACE
}
ALL_STAGES = STAGES | KEYFACE_STAGES


class Preconditioning(NamedTuple):
    """How the network's input and output are scaled at a noise level."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


def preconditioning(sigma: Tensor) -> Preconditioning:
    """v-prediction with EDM's noise conditioning, sigma_data = 1 (paper eq. 1)."""
    variance = sigma**2 + 1.0
    return Preconditioning(1.0 / variance, -sigma / variance**0.5, 1.0 / variance**0.5, 0.25 * sigma.log())


@dataclass(frozen=True)
class Windows:
    """What b windows of t frames are generated from; latents are scaled by 0.18215.

    `features` (b, t, 2, audio_channels): two rows of speech features a frame. `reference`: the identity (b, 4, h, w)
    for keyframes; the first and last keyframe (b, 2, 4, h, w) for interpolation. `known`: clean latents
    (b, t, 4, h, w), kept where `mask` (b, t, 1, h, w) is 0. `controls` (b, t, n): the numbers of each frame that the
    stage's row names, None where it names none.
    """

    features: Tensor
    reference: Tensor
    known: Tensor
    mask: Tensor
    controls: Tensor | None = None

    @classmethod
    def unmasked(cls, features: Tensor, reference: Tensor, controls: Tensor | None = None) -> Windows:
        """Windows in which nothing is known."""
        shape, size = features.shape[:2], reference.shape[-2:]
        known, mask = (
            torch.full((1,), value).expand(*shape, c, *size) for value, c in ((0.0, LATENT_CHANNELS), (1.0, 1))
        )
        return cls(features, reference, known, mask, controls)

    def __len__(self) -> int:
        return len(self.known)

    def __getitem__(self, part: slice) -> Windows:
        controls = None if self.controls is None else self.controls[part]
        return Windows(self.features[part], self.reference[part], self.known[part], self.mask[part], controls)


@dataclass(frozen=True)
class Condition:
    """What windows are generated from: audio `tokens` (b, t, c), all 0 where it is `silent`; `reference`
    (b, t, r, h, w), concatenated to the noisy latent; `known` clean latents (b, t, 4, h, w), kept where `mask`
    (b, t, 1, h, w) is 0; `vector` (b, t, v), the embedded controls, None without."""

    tokens: Tensor
    reference: Tensor
    known: Tensor
    mask: Tensor
    silent: bool = False
    vector: Tensor | None = None

    def and_those(self, other: Condition) -> Condition:
        """That of the windows of both, which are equally silent."""
        parts = ("tokens", "reference", "known", "mask")
        joined = {part: torch.cat((getattr(self, part), getattr(other, part))) for part in parts}
        vectors = [one.vector for one in (self, other) if one.vector is not None]
        return Condition(**joined, silent=self.silent, vector=torch.cat(vectors) if vectors else None)


class Stage(Repairable):
    """One stage of the method; its name says which: keyframe or interpolation."""

    def __init__(self, spec: StageSpec) -> None:
        super().__init__()
        self.spec = spec
        self.unet = VideoUNet(spec.unet)
        self.audio_projection = nn.Linear(spec.audio_channels, spec.unet.context_dim)
        shape = (LATENT_CHANNELS, *spec.latent_size)
        self.learned_mask = nn.Parameter(torch.zeros(shape)) if spec.row.learned_mask else None
        self._peaks: dict[torch.dtype, int] = {}

    @property
    def device(self) -> torch.device:
        return self.audio_projection.weight.device

    def peak_bytes(self, windows: int) -> int:
        """The most bytes that an evaluation for so many windows takes at once, besides the weights.

        They grow with the windows: those of one are counted, once.
        """
        dtype = self.audio_projection.weight.dtype
        if dtype not in self._peaks:
            self._peaks[dtype] = self._count_peak(1, dtype)
        return windows * self._peaks[dtype]

    def _count_peak(self, windows: int, dtype: torch.dtype) -> int:
        config, frames = self.spec.unet, self.spec.window
        x = torch.empty(windows * frames, config.in_channels, *self.spec.latent_size, dtype=dtype, device="meta")
        tokens = torch.empty(windows, frames, config.context_dim, dtype=dtype, device="meta")
        vector = torch.empty(windows, frames, config.vector_dim, dtype=dtype, device="meta")
        return peak_bytes(self.unet, x, torch.empty(len(x), device="meta"), tokens, None, vector)

    def condition(self, windows: Windows, *, audio: bool = True, reference: bool = True) -> Condition:
        """The condition of windows, on the stage's device in its weights' precision, at least float32.

        Without `audio` or `reference` that part is zero, as guidance needs it; the learned mask, the end flag and the
        controls stay. Raises `KeySyncError` for features or latents of another size than the stage's.
        """
        self._check(windows)
        weight, bias = at_least_float32(self.audio_projection.weight), at_least_float32(self.audio_projection.bias)
        features, latents, known, mask = (
            part.to(weight) for part in (windows.features, windows.reference, windows.known, windows.mask)
        )
        tokens = torch.nn.functional.linear(features.mean(dim=2), weight, bias) * float(audio)
        seen = self._reference(latents / SCALE_FACTOR * float(reference), known.shape[1])
        return Condition(tokens, seen, known, mask, silent=not audio, vector=self._embedded(windows.controls, weight))

    def forward(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """The denoised latents (b, t, 4, h, w) of noisy ones x at noise level sigma: (b,) or one for all; in the
        condition's precision."""
        sigma = sigma.to(x.device, condition.known.dtype).expand(len(x)).reshape(-1, 1, 1, 1, 1)
        c_skip, c_out, c_in, c_noise = preconditioning(sigma)
        x = keep_known(x, condition)
        network_output = self.network(c_in * x, c_noise.expand(-1, x.shape[1], 1, 1, 1).flatten(), condition)
        return keep_known(c_out * network_output + c_skip * x, condition)

    def network(self, network_input: Tensor, c_noise: Tensor, condition: Condition) -> Tensor:
        """The U-Net on scaled latents (b, t, 4, h, w) at c_noise (b*t,), in the dtype of the weights.

        The output is float32 at least.
        """
        dtype = self.audio_projection.weight.dtype
        x = torch.cat((network_input, condition.reference), dim=2).flatten(0, 1)  # b t c h w -> (b t) c h w
        vector = None if condition.vector is None else condition.vector.to(dtype)
        output: Tensor = self.unet(
            x.to(dtype), c_noise, condition.tokens.to(dtype), vector=vector, silent=condition.silent
        )
        return at_least_float32(output).reshape(network_input.shape)

    def _reference(self, latents: Tensor, frames: int) -> Tensor:
        """Keyframes: the identity at every frame. Interpolation: the keyframes at the ends, the learned mask between,
        and a channel that is 1 at the ends (paper eq. 3)."""
        if self.learned_mask is None:
            return latents[:, None].expand(-1, frames, -1, -1, -1)
        between = at_least_float32(self.learned_mask).expand(len(latents), frames - 2, -1, -1, -1)
        sequence = torch.cat((latents[:, :1], between, latents[:, 1:]), dim=1)
        ends = torch.zeros_like(sequence[:, :, :1])
        ends[:, [0, -1]] = 1.0
        return torch.cat((sequence, ends), dim=2)

    def _embedded(self, controls: Tensor | None, like: Tensor) -> Tensor | None:
        """Cosines and sines of each control, used as it is, side by side: (b, t, vector_dim)."""
        if controls is None:
            return None
        each = self.spec.unet.vector_dim // controls.shape[-1]
        embedded: Tensor = sinusoids(controls.to(like).flatten(), each).unflatten(0, controls.shape).flatten(2)
        return embedded

    def _check(self, windows: Windows) -> None:
        features, known = windows.features, windows.known
        given = 0 if windows.controls is None else windows.controls.shape[-1]
        if given != len(self.spec.row.controls):
            raise ValueError(f"{given} controls for the {self.spec.name} model: expected {self.spec.row.controls}")
        if features.shape[-1] != self.spec.audio_channels:
            raise KeySyncError(
                f"speech features have {features.shape[-1]} channels but the {self.spec.name} model needs "
                f"{self.spec.audio_channels}: encode the speech with {self.spec.speech_encoder}"
            )
        if self.learned_mask is not None and tuple(known.shape[-2:]) != self.spec.latent_size:
            (height, width), (h, w) = self.spec.latent_size, known.shape[-2:]
            raise KeySyncError(
                f"latents are {h}x{w} but the interpolation model's learned mask is {height}x{width}: "
                f"give crops of {PIXELS_PER_LATENT * width}x{PIXELS_PER_LATENT * height} pixels"
            )


def keep_known(x: Tensor, condition: Condition) -> Tensor:
    """x where the mask is 1, the clean latents where it is 0 (paper eq. 2)."""
    return x * condition.mask + condition.known * (1.0 - condition.mask)
