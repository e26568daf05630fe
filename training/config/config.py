"""The settings of a training run: one frozen dataclass, presets in TOML, every bad value named with what was wanted.

A run is a preset or a file, changed key by key on the command line; the run keeps the outcome as `config.toml`.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from keysync.errors import KeySyncError, install_line
from keysync.face.masks import MASKS
from keysync.method import PIXELS_PER_LATENT
from keysync.network.stage import IDENTITY, MOST_GUIDANCE, STAGES
from keysync.speech.encoders import ENCODERS

from .values import (
    ABOVE_ZERO,
    ANYTHING,
    EACH_ABOVE_ZERO,
    FINITE,
    SHARE,
    Rule,
    at_least,
    check,
    from_plain,
    literal,
    multiple_of,
    one_of,
    parse,
    refusal,
)

PRESETS = {path.stem: path for path in sorted(Path(__file__).parent.glob("presets/*.toml"))}
TRAINABLE = ("published", "all", "lora")
IDENTITIES = ("first", "other")
LOSS_REGIONS = ("frame", "mask")
PRECISIONS = ("fp32", "bf16", "fp16")
DISTRIBUTED = ("ddp", "fsdp")
GUIDANCE = Rule(f"0 or a number from 1 to {MOST_GUIDANCE}", lambda value: value == 0 or 1 <= value <= MOST_GUIDANCE)
# Group norm's groups, which must divide every width; and image pixels of a latent.
NORM_GROUPS = 32


def _setting(help: str, rule: Rule, default: Any = MISSING) -> Any:
    """A field; without a default a run must say it, because the two stages differ in it."""
    metadata = {"help": help, "rule": rule}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


@dataclass(frozen=True)
class TrainConfig:
    """The settings of a run; each field's help is in its metadata. Raises `KeySyncError` that names a bad one."""

    stage: str = _setting("which stage is trained", one_of(STAGES))
    speech_encoder: str = _setting("the speech features that it is trained on", one_of(ENCODERS))
    identity_dropout_per_frame: bool = _setting("drop the identity frame by frame, not clip by clip", ANYTHING)
    rgb_weight: float = _setting("weight of the loss on decoded pixels; 0 leaves it out", at_least(0))
    learning_rate: float = _setting("after the warm-up", ABOVE_ZERO)
    steps: int = _setting("optimiser steps", at_least(1))

    start: str = _setting("a KeySync checkpoint, SVD as a file or folder; empty: new weights", ANYTHING, "")
    model_channels: int = _setting("width of new weights", multiple_of(NORM_GROUPS), 320)
    channel_mult: tuple[int, ...] = _setting(
        "the width's factor at each level of new weights", EACH_ABOVE_ZERO, (1, 2, 4, 4)
    )
    attention: tuple[bool, ...] = _setting(
        "which levels of new weights attend",
        Rule("one true or false a level", lambda value: len(value) > 0),
        (True, True, True, False),
    )
    num_res_blocks: int = _setting("residual blocks a level of new weights", at_least(1), 2)
    head_dim: int = _setting("channels of an attention head of new weights and SVD", at_least(1), 64)
    context_dim: int = _setting("channels of an audio token of new weights", at_least(1), 1024)

    window: int = _setting("frames of a clip", at_least(3), 14)
    resolution: int = _setting("height and width of the crops in pixels", multiple_of(PIXELS_PER_LATENT), 512)
    mask: str = _setting("what is generated anew", one_of(MASKS), "box")
    mouth_mask_share: float = _setting("share of clips with the mouth mask instead, whatever the mask", SHARE, 0.0)
    audio_dropout: float = _setting("share of clips without speech", SHARE, 0.2)
    identity_dropout: float = _setting("share of clips or frames without identity", SHARE, 0.1)

    identity: str = _setting(
        "first: of a keyframe window, its own first frame; other: any frame of the clip that is not in the window",
        one_of(IDENTITIES),
        "first",
    )

    audio_guidance: float = _setting("to sample the stage with; 0: that of `start`, or 5", GUIDANCE, 0.0)
    identity_guidance: float = _setting("to sample the stage with; 0: that of `start`, or 2", GUIDANCE, 0.0)

    trainable: str = _setting("published: no temporal layers; all; lora: adapters", one_of(TRAINABLE), "published")
    lora_rank: int = _setting("rank of the adapters", at_least(1), 16)
    lora_alpha: float = _setting("the adapters count alpha / rank times", ABOVE_ZERO, 16.0)

    noise_mean: float = _setting("mean of the logarithm of the noise level", FINITE, 1.0)
    noise_std: float = _setting("its standard deviation", at_least(0), 1.2)
    high_noise_share: float = _setting("share of clips at noise levels of 50 to 700 instead", SHARE, 0.0)
    loss_region: str = _setting("average over the frame or over the mask", one_of(LOSS_REGIONS), "frame")
    mouth_weight: float = _setting("of latents at the lips, against 1 for the others", at_least(1), 1.0)

    final_learning_rate: float = _setting("where a cosine ends; 0: no cosine", at_least(0), 0.0)
    warmup_steps: int = _setting("steps in which the learning rate rises", at_least(0), 1000)
    weight_decay: float = _setting("AdamW's", at_least(0), 0.01)
    max_grad_norm: float = _setting("gradients are scaled down to this norm; 0: never", at_least(0), 0.0)
    batch_size: int = _setting("clips of a process and pass", at_least(1), 1)
    accumulate: int = _setting("passes of a step", at_least(1), 1)
    precision: str = _setting("what the network computes in", one_of(PRECISIONS), "fp32")
    gradient_checkpointing: bool = _setting("trade time for memory", ANYTHING, True)
    distributed: str = _setting("how several processes share the work", one_of(DISTRIBUTED), "ddp")
    ema_decay: float = _setting(
        "of the averaged weights; 0: none kept", Rule("0 or more and less than 1", lambda value: 0 <= value < 1), 0.0
    )
    seed: int = _setting("of every draw", at_least(0), 0)
    workers: int = _setting("processes that read data", at_least(0), 4)

    checkpoint_every: int = _setting("steps", at_least(1), 5000)
    keep_checkpoints: int = _setting("the newest so many are kept; 0: all", at_least(0), 0)
    sample_every: int = _setting("steps from one sample video to the next; 0: none", at_least(0), 0)
    log_every: int = _setting("steps", at_least(1), 50)
    vae: str = _setting("file or folder; empty: the one that the data was made with", ANYTHING, "")

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for setting in fields(self):
            check(setting.name, getattr(self, setting.name), hints[setting.name], setting.metadata["rule"])
        self._check_network()
        one_identity = STAGES[self.stage].reference == IDENTITY
        if self.identity_dropout_per_frame and not one_identity:
            raise refusal("identity_dropout_per_frame", True, f"false for {self.stage}, whose reference is two frames")
        if self.identity != "first" and not one_identity:
            raise refusal("identity", self.identity, f"first for {self.stage}, whose reference is its two ends")
        if self.final_learning_rate > self.learning_rate:
            raise refusal("final_learning_rate", self.final_learning_rate, "no more than learning_rate")
        if self.ema_decay and self.trainable == "lora":
            raise refusal("ema_decay", self.ema_decay, "0 with trainable lora")

    def _check_network(self) -> None:
        levels = len(self.channel_mult)
        if len(self.attention) != levels:
            raise refusal("attention", self.attention, f"{levels} values, one a level of channel_mult")
        for mult in self.channel_mult:
            if not self.start and self.model_channels * mult % self.head_dim:
                raise refusal("head_dim", self.head_dim, f"a divisor of the width {self.model_channels * mult}")
        step = PIXELS_PER_LATENT * 2 ** (levels - 1)
        if not self.start and self.resolution % step:
            raise refusal("resolution", self.resolution, f"a multiple of {step} for a network of {levels} levels")


def load_config(preset: str | None, file: Path | None, overrides: Mapping[str, str]) -> TrainConfig:
    """A preset, over it a TOML file, over it single keys as text, dashes or underscores.

    Raises `KeySyncError` for an unknown preset, key or value, and for a key that nobody gave and has no default.
    """
    values: dict[str, Any] = {}
    if preset is not None:
        if preset not in PRESETS:
            raise KeySyncError(f"no preset is called {preset}: known are {', '.join(PRESETS)}")
        values = _settings(read_toml(PRESETS[preset]), str(PRESETS[preset]))
    if file is not None:
        values = {**values, **_settings(read_toml(file), str(file))}
    hints = get_type_hints(TrainConfig)
    for key, text in overrides.items():
        name = _known(key.replace("-", "_"), f"--{key}")
        values[name] = parse(f"--{key}", text, hints[name])
    return _made(values)


def from_toml(text: str, where: str) -> TrainConfig:
    """The settings in a TOML text; `where` names it in errors. Raises `KeySyncError` as `load_config` does."""
    return config_of(_loaded(text, where), where)


def config_of(values: Mapping[str, Any], where: str) -> TrainConfig:
    """The settings among plain values, such as TOML holds; raises `KeySyncError` as `from_toml` does."""
    return _made(_settings(values, where), f"{where}: ")


def to_toml(config: TrainConfig) -> str:
    """All settings as TOML that `from_toml` reads, each after its help."""
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
            raise KeySyncError(f"{word!r} stands alone: settings are given as --key value")
        if not equals and not rest:
            raise KeySyncError(f"{word} has no value: settings are given as --key value")
        overrides[key] = value if equals else rest.pop(0)
    return overrides


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file holds. Raises `KeySyncError` for one that cannot be read or is no TOML."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KeySyncError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from error
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
    except tomllib.TOMLDecodeError as error:
        raise KeySyncError(f"{where} is not TOML: {error}") from error


def _settings(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    hints = get_type_hints(TrainConfig)
    return {key: from_plain(value, hints[_known(key, f"{where}: {key}")]) for key, value in values.items()}


def _made(values: Mapping[str, Any], where: str = "") -> TrainConfig:
    stage = STAGES.get(values.get("stage", ""))
    if stage is not None:
        values = {"speech_encoder": stage.speech_encoder, **values}
    missing = [setting.name for setting in fields(TrainConfig) if setting.default is MISSING]
    missing = [name for name in missing if name not in values]
    if missing:
        presets = ", ".join(PRESETS)
        raise KeySyncError(f"{where}missing settings: {', '.join(missing)}; choose a preset ({presets}) or set them")
    try:
        return TrainConfig(**values)
    except KeySyncError as error:
        raise KeySyncError(f"{where}{error}") from error


def _known(key: str, where: str) -> str:
    names = [setting.name for setting in fields(TrainConfig)]
    if key not in names:
        nearest = difflib.get_close_matches(key, names, n=1, cutoff=0)[0]
        raise KeySyncError(f"{where} is no setting: did you mean {nearest}?")
    return key
