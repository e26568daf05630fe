"""The settings of a training run: a frozen dataclass and presets in TOML.

A run uses a preset or a file, overridden key by key on the command line, and stores the result as `config.toml`. The
error for an invalid value names its key and the expected values.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_type_hints

from keysync.errors import KeySyncError, install_line, one_line
from keysync.face.masks import MASKS
from keysync.method import PIXELS_PER_LATENT
from keysync.network.schedule import AYS, fall
from keysync.network.stage import ALL_STAGES, ENCODERS_JOINED, IDENTITY, MOST_GUIDANCE
from keysync.speech.encoders import ENCODERS

from .named import is_named
from .run_config import RunConfig, presets_in, setting
from .values import (
    ABOVE_ZERO,
    ANYTHING,
    EACH_ABOVE_ZERO,
    FINITE,
    SHARE,
    Rule,
    at_least,
    from_plain,
    literal,
    multiple_of,
    one_of,
    parse,
    refusal,
)

PRESETS = presets_in(Path(__file__).parent / "presets")
TRAINABLE = ("published", "all", "lora")
IDENTITIES = ("first", "other")
# What is distilled, and where the noisy latents that the student learns at are from.
DISTILLED = (NO, GUIDANCE_FIRST, STEPS) = ("no", "guidance", "steps")
SOURCES = (DATA, TRAJECTORY) = ("data", "trajectory")
LOSS_REGIONS = ("frame", "mask")
# Of the weights that adapters leave as they are.
FROZEN = (FP32, BF16, FP8) = ("fp32", "bf16", "fp8")
GUIDANCE = Rule(f"0 or a number from 1 to {MOST_GUIDANCE}", lambda value: value == 0 or 1 <= value <= MOST_GUIDANCE)
FALLING = Rule("positive noise levels, each below the one before", lambda value: not value or fall(value))
HEARD = Rule(
    f"one of {', '.join(ENCODERS)}, or several joined by {ENCODERS_JOINED}",
    lambda value: all(name in ENCODERS for name in value.split(ENCODERS_JOINED)),
)
# Frames that a lip-sync loss sees, as many as SyncNet.
SYNC_FRAMES = 5
Config = TypeVar("Config", bound=RunConfig)
# Groups of the group norms, which must divide every width.
NORM_GROUPS = 32


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunConfig):
    """The settings of a run of one of the stages. Raises `KeySyncError` for an invalid value."""

    PATHS: ClassVar[tuple[str, ...]] = ("start", "vae")
    PRESETS: ClassVar[Mapping[str, Path]] = PRESETS

    stage: str = setting("the stage to train", one_of(ALL_STAGES))
    speech_encoder: str = setting("the speech encoder of its features, or several, joined by +", HEARD)
    identity_dropout_per_frame: bool = setting("drop the identity per frame instead of per clip", ANYTHING)
    rgb_weight: float = setting("weight of the loss on decoded pixels; 0 disables it", at_least(0))

    start: str = setting("a KeySync checkpoint, SVD as a file or folder; empty: new weights", ANYTHING, "")
    model_channels: int = setting("new weights: width", multiple_of(NORM_GROUPS), 320)
    channel_mult: tuple[int, ...] = setting("new weights: factor of the width per level", EACH_ABOVE_ZERO, (1, 2, 4, 4))
    attention: tuple[bool, ...] = setting(
        "new weights: attention per level",
        Rule("true or false for each level", lambda value: len(value) > 0),
        (True, True, True, False),
    )
    num_res_blocks: int = setting("new weights: residual blocks per level", at_least(1), 2)
    head_dim: int = setting("new weights and SVD: channels of an attention head", at_least(1), 64)
    context_dim: int = setting("new weights: channels of an audio token", at_least(1), 1024)

    window: int = setting("frames of a window", at_least(3), 14)
    resolution: int = setting("height and width of the crops in pixels", multiple_of(PIXELS_PER_LATENT), 512)
    mask: str = setting("the region to generate", one_of(MASKS), "box")
    mouth_mask_share: float = setting("share of clips with the mouth mask instead of `mask`", SHARE, 0.0)
    audio_dropout: float = setting("share of clips without speech", SHARE, 0.2)
    identity_dropout: float = setting("share of clips or frames without identity", SHARE, 0.1)

    identity: str = setting(
        "keyframe stage: first: the window's first frame; other: a frame of the clip outside the window",
        one_of(IDENTITIES),
        "first",
    )

    audio_guidance: float = setting("recommended scale for sampling; 0: that of `start`, or 5", GUIDANCE, 0.0)
    identity_guidance: float = setting("recommended scale for sampling; 0: that of `start`, or 2", GUIDANCE, 0.0)
    autoguidance: float = setting("recommended scale for sampling; 0: that of `start`, or 2", GUIDANCE, 0.0)

    trainable: str = setting("published: no temporal layers; all; lora: adapters", one_of(TRAINABLE), "published")
    lora_rank: int = setting("rank of the adapters", at_least(1), 16)
    lora_alpha: float = setting("the adapters are scaled by alpha / rank", ABOVE_ZERO, 16.0)
    frozen: str = setting("adapters: precision of the other weights in memory", one_of(FROZEN), FP32)

    distill: str = setting(
        "no: learn from the data; guidance: learn the guided prediction of `start`; steps: learn its several steps",
        one_of(DISTILLED),
        NO,
    )
    distill_from: str = setting(
        "data: noisy latents of the data; trajectory: what `start` samples on its way", one_of(SOURCES), DATA
    )
    levels: tuple[float, ...] = setting("noise levels of the distilled schedule; empty: any", FALLING, ())
    teacher_steps: int = setting("steps of `start` for one of these; 0: its own schedule", at_least(0), 0)

    noise_mean: float = setting("mean of the logarithm of the noise level", FINITE, 1.0)
    noise_std: float = setting("standard deviation of the logarithm of the noise level", at_least(0), 1.2)
    high_noise_share: float = setting("share of clips with noise levels of 50 to 700 instead", SHARE, 0.0)
    loss_region: str = setting("average the loss over the frame or over the mask", one_of(LOSS_REGIONS), "frame")
    mouth_weight: float = setting("weight of the latents at the lips; others have 1", at_least(1), 1.0)
    eye_weight: float = setting("weight of the latents at eyes and brows; others have 1", at_least(1), 1.0)

    min_snr: float = setting("weights of min(1 / sigma^2, this); 0: those of the method", at_least(0), 0.0)

    lower_half_weight: float = setting("weight of the frame's lower half; the upper has 1", at_least(0), 1.0)
    lpips_weight: float = setting("weight of LPIPS on decoded pixels; 0 disables it", at_least(0), 0.0)

    sync_loss: str = setting(
        "your distance of lips and speech, package.module:function; empty: none",
        Rule("package.module:function", lambda value: not value or is_named(value)),
        "",
    )
    sync_weight: float = setting("weight of `sync_loss` on decoded frames in a row; 0 disables it", at_least(0), 0.0)

    gradient_checkpointing: bool = setting("trade time for memory", ANYTHING, True)
    decoder_tile: int = setting(
        "loss on pixels: decode again for the gradients, in tiles of so many pixels; 0: whole, kept in memory",
        Rule(f"0 or a multiple of {PIXELS_PER_LATENT}", lambda value: value >= 0 and value % PIXELS_PER_LATENT == 0),
        0,
    )
    offload_decoder: bool = setting("loss on pixels: keep the decoder's weights in the CPU's memory", ANYTHING, False)

    max_failures: int = setting("damaged clips that are left out; more end the run", at_least(0), 10)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_network()
        row = ALL_STAGES[self.stage].row
        one_identity = row.reference == IDENTITY
        if self.loss_region == "mask" and not row.masked:
            raise refusal("loss_region", self.loss_region, f"frame for {self.stage}, which has no mask")
        if self.lpips_weight and not self.rgb_weight:
            raise refusal("lpips_weight", self.lpips_weight, "0 with rgb_weight 0: both compare the decoded pixels")
        self._check_sync()
        if self.identity_dropout_per_frame and not one_identity:
            raise refusal("identity_dropout_per_frame", True, f"false for {self.stage}, which has no identity frame")
        if self.identity != "first" and not one_identity:
            raise refusal("identity", self.identity, f"first for {self.stage}, which has no identity frame")
        self._check_memory()
        self._check_distillation()

    def _check_memory(self) -> None:
        if self.frozen != FP32 and self.trainable != "lora":
            raise refusal("frozen", self.frozen, f"{FP32} with trainable {self.trainable}: all others change")
        if self.frozen != FP32 and self.precision != FP32:
            raise refusal("precision", self.precision, f"{FP32} with frozen {self.frozen}, which decides")
        if self.frozen != FP32 and self.distributed != "ddp":
            raise refusal("distributed", self.distributed, f"ddp with frozen {self.frozen}")
        if (self.decoder_tile or self.offload_decoder) and not (self.rgb_weight or self.sync_weight):
            raise refusal("rgb_weight", self.rgb_weight, "more than 0 with decoder_tile or offload_decoder")

    @property
    def most_damaged(self) -> int:
        return self.max_failures

    @staticmethod
    def implied(values: Mapping[str, Any]) -> dict[str, Any]:
        stage = ALL_STAGES.get(values.get("stage", ""))
        return {} if stage is None else {"speech_encoder": stage.speech_encoder}

    @property
    def schedule(self) -> tuple[float, ...]:
        """The noise levels that a distilled model learns at; empty if they are drawn from a distribution."""
        if self.distill == STEPS or self.distill_from == TRAJECTORY:
            return self.levels or AYS
        return ()

    def _check_sync(self) -> None:
        if not self.sync_weight:
            return
        if not self.sync_loss:
            raise refusal("sync_loss", self.sync_loss, "package.module:function with sync_weight")
        if replace(ALL_STAGES[self.stage], window=self.window).frames_apart != 1:
            raise refusal("sync_weight", self.sync_weight, f"0 for {self.stage}, whose frames are not in a row")
        if self.window < SYNC_FRAMES:
            raise refusal("window", self.window, f"{SYNC_FRAMES} or more with sync_weight")
        if self.distill != NO:
            raise refusal("sync_weight", self.sync_weight, f"0 with distill {self.distill}")

    def _check_distillation(self) -> None:
        if self.distill != NO and not ALL_STAGES[self.stage].row.masked:
            raise refusal("distill", self.distill, f"no for {self.stage}: only KeySync's stages are distilled")
        if self.distill == NO:
            for name, value, default in (
                ("distill_from", self.distill_from, DATA),
                ("levels", self.levels, ()),
                ("teacher_steps", self.teacher_steps, 0),
            ):
                if value != default:
                    raise refusal(name, value, f"{literal(default)} without distillation")
            return
        if not self.start:
            raise refusal("start", self.start, f"the model to distill with distill {self.distill}")
        if self.rgb_weight:
            raise refusal("rgb_weight", self.rgb_weight, f"0 with distill {self.distill}")
        if self.distill == STEPS and not self.levels:
            raise refusal("levels", self.levels, "the noise levels of the distilled schedule, such as 700,6,0.9")
        if (self.distill, self.distill_from) == (GUIDANCE_FIRST, DATA):
            for name, value, default in (("levels", self.levels, ()), ("teacher_steps", self.teacher_steps, 0)):
                if value != default:
                    raise refusal(name, value, f"{literal(default)} with distill guidance from data")

    def _check_network(self) -> None:
        levels = len(self.channel_mult)
        if len(self.attention) != levels:
            raise refusal("attention", self.attention, f"{levels} values, one per level of channel_mult")
        for mult in self.channel_mult:
            if not self.start and self.model_channels * mult % self.head_dim:
                raise refusal("head_dim", self.head_dim, f"a divisor of the width {self.model_channels * mult}")
        step = PIXELS_PER_LATENT * 2 ** (levels - 1)
        if not self.start and self.resolution % step:
            raise refusal("resolution", self.resolution, f"a multiple of {step} for a network of {levels} levels")


def preset_of(stage: str) -> str:
    """The name of a stage's own preset, which is also its name on a command line."""
    return stage.replace("_", "-")


def load_config(preset: str | None, file: Path | None, overrides: Mapping[str, str]) -> TrainConfig:
    """The settings of a stage: see `load_as`."""
    return load_as(TrainConfig, preset, file, overrides)


def load_as(kind: type[Config], preset: str | None, file: Path | None, overrides: Mapping[str, str]) -> Config:
    """A preset, overridden by a TOML file, overridden by single keys as text, with dashes or underscores.

    Raises `KeySyncError` for an unknown preset, key or value, and for a missing key that has no default.
    """
    values: dict[str, Any] = {}
    if preset is not None:
        if preset not in kind.PRESETS:
            raise KeySyncError(f"unknown preset {preset}: choose from {', '.join(kind.PRESETS)}")
        file_of_preset = kind.PRESETS[preset]
        values = _settings(read_toml(file_of_preset), str(file_of_preset), kind)
    if file is not None:
        values = {**values, **_settings(read_toml(file), str(file), kind)}
    hints = get_type_hints(kind)
    for key, text in overrides.items():
        name = _known(key.replace("-", "_"), f"--{key}", kind)
        values[name] = parse(f"--{key}", text, hints[name])
    return _made(values, "", kind)


def from_toml(text: str, where: str) -> TrainConfig:
    """The settings in a TOML text; `where` names it in errors. Raises `KeySyncError` as `load_as` does."""
    return config_of(_loaded(text, where), where)


def config_of(values: Mapping[str, Any], where: str) -> TrainConfig:
    """The settings of a stage: see `config_as`."""
    return config_as(TrainConfig, values, where)


def config_as(kind: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """The settings of plain values, such as TOML holds. Raises `KeySyncError` as `load_as` does."""
    return _made(_settings(values, where, kind), f"{where}: ", kind)


def to_toml(config: RunConfig) -> str:
    """All settings as TOML that `from_toml` reads, with their help as comments."""
    return "".join(
        f"# {setting.metadata['help']}\n{setting.name} = {literal(getattr(config, setting.name))}\n"
        for setting in fields(config)
    )


def overrides_of(words: Sequence[str]) -> dict[str, str]:
    """The overrides of a command line: `--key value` and `--key=value`. Raises `KeySyncError` for anything else."""
    overrides = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        key, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            raise KeySyncError(f"unexpected argument {word!r}: write settings as --key value")
        if not equals and not rest:
            raise KeySyncError(f"{word} has no value: write settings as --key value")
        overrides[key] = value if equals else rest.pop(0)
    return overrides


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file. Raises `KeySyncError` for a file that cannot be read or is not TOML."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KeySyncError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not a text file'}"
        ) from error
    return _loaded(text, str(path))


def _loaded(text: str, where: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError as error:
            raise KeySyncError(f"settings in TOML need tomli on Python 3.10: {install_line('tomli')}") from error
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also integers of thousands of digits, and deep nesting
        raise KeySyncError(f"{where} is not TOML: {one_line(error)}") from error


def _settings(values: Mapping[str, Any], where: str, kind: type[RunConfig]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {key: from_plain(value, hints[_known(key, f"{where}: {key}", kind)]) for key, value in values.items()}


def _made(values: Mapping[str, Any], where: str, kind: type[Config]) -> Config:
    values = {**kind.implied(values), **values}
    missing = [setting.name for setting in fields(kind) if setting.default is MISSING]
    missing = [name for name in missing if name not in values]
    if missing:
        presets = ", ".join(kind.PRESETS)
        raise KeySyncError(f"{where}missing settings: {', '.join(missing)}; choose a preset ({presets}) or set them")
    try:
        return kind(**values)
    except KeySyncError as error:
        raise KeySyncError(f"{where}{error}") from error


def _known(key: str, where: str, kind: type[RunConfig]) -> str:
    names = [setting.name for setting in fields(kind)]
    if key not in names:
        nearest = difflib.get_close_matches(key, names, n=1, cutoff=0)[0]
        raise KeySyncError(f"{where} is not a setting: did you mean {nearest}?")
    return key
