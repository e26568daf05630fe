"""The settings that every training run has, whatever it trains: its length, optimiser, precision and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

from .values import ABOVE_ZERO, ANYTHING, Rule, at_least, check, one_of, refusal

PRECISIONS = ("fp32", "bf16", "fp16")
DISTRIBUTED = ("ddp", "fsdp", "hsdp")
OPTIMIZERS = (ADAMW, ADAMW_BITSANDBYTES, ADAMW_TORCHAO) = ("adamw", "adamw8bit", "adamw8bit-torchao")
TRACKERS = (TENSORBOARD, *HOSTED) = ("tensorboard", "wandb", "mlflow")
RATES = (COSINE, ONE_CYCLE) = ("cosine", "one_cycle")


def presets_in(folder: Path) -> dict[str, Path]:
    """The presets in a folder by name."""
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def setting(help: str, rule: Rule, default: Any = MISSING) -> Any:
    """A field. One without a default must be set for each run, because what is trained differs in it."""
    metadata = {"help": help, "rule": rule}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The settings of a run; each field's help is in its metadata. Raises `KeySyncError` for an invalid value."""

    PATHS: ClassVar[tuple[str, ...]] = ("vae",)
    PRESETS: ClassVar[Mapping[str, Path]] = {}

    stage: str = setting("what is trained", ANYTHING)
    learning_rate: float = setting("learning rate after the warm-up", ABOVE_ZERO)
    steps: int = setting("optimiser steps", at_least(1))

    rate_schedule: str = setting(
        "cosine: linear warm-up, then constant or a cosine; one_cycle: rises for 0.3 of the steps, then falls",
        one_of(RATES),
        COSINE,
    )
    final_learning_rate: float = setting("end of a cosine schedule; 0: constant", at_least(0), 0.0)
    warmup_steps: int = setting("steps of linear warm-up", at_least(0), 1000)
    optimizer: str = setting("AdamW; its state in 8 bits by bitsandbytes or torchao", one_of(OPTIMIZERS), ADAMW)
    weight_decay: float = setting("weight decay of AdamW", at_least(0), 0.01)
    max_grad_norm: float = setting("clip gradients to this norm; 0: never", at_least(0), 0.0)
    batch_size: int = setting("clips per process and pass", at_least(1), 1)
    accumulate: int = setting("passes per step", at_least(1), 1)
    precision: str = setting("precision of the network", one_of(PRECISIONS), "fp32")
    distributed: str = setting(
        "ddp: a copy per process; fsdp: sharded weights; hsdp: sharded within each machine", one_of(DISTRIBUTED), "ddp"
    )
    ema_decay: float = setting(
        "decay of the averaged weights; 0: no average", Rule("0 or more and below 1", lambda value: 0 <= value < 1), 0.0
    )
    seed: int = setting("seed of all random draws", at_least(0), 0)
    workers: int = setting("processes that read data", at_least(0), 4)

    checkpoint_every: int = setting("steps between checkpoints", at_least(1), 5000)
    keep_checkpoints: int = setting("checkpoints to keep, the newest; 0: all", at_least(0), 0)
    sample_every: int = setting("steps between samples; 0: none", at_least(0), 0)
    log_every: int = setting("steps between the entries of trackers", at_least(1), 50)
    trackers: tuple[str, ...] = setting(
        "where figures go besides RUN/log.jsonl",
        Rule(f"some of {', '.join(TRACKERS)}", lambda value: set(value) <= set(TRACKERS)),
        (TENSORBOARD,),
    )
    vae: str = setting("VAE file or folder; empty: the one that made the data", ANYTHING, "")

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for each in fields(self):
            check(each.name, getattr(self, each.name), hints[each.name], each.metadata["rule"])
        if self.final_learning_rate > self.learning_rate:
            raise refusal("final_learning_rate", self.final_learning_rate, "at most learning_rate")
        if self.optimizer != ADAMW and self.distributed != "ddp":
            raise refusal("optimizer", self.optimizer, f"{ADAMW} with distributed {self.distributed}")
        if self.rate_schedule == ONE_CYCLE and not self.final_learning_rate:
            raise refusal("final_learning_rate", 0.0, "a number above 0 with rate_schedule one_cycle")

    @property
    def paths(self) -> dict[str, str]:
        """The settings that name files or folders."""
        return {key: getattr(self, key) for key in self.PATHS}

    @property
    def most_damaged(self) -> int:
        """How many damaged clips a run may leave out; more end it."""
        return 0

    @staticmethod
    def implied(values: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that others imply where they are not set."""
        return {}
