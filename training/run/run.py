"""The folder of one training run: its settings, log and checkpoints. Every file is written atomically.

RUN/config.toml, RUN/log.jsonl (a line per step), RUN/tensorboard/, RUN/samples/, RUN/checkpoints/step-000500/. A
checkpoint holds the network, as its course writes it, and the training state (`optimizer.pt`, `state.json`).
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from keysync.errors import KeySyncError

from ..config.config import Config, TrainConfig, config_as, read_toml, to_toml
from ..config.run_config import RunConfig
from ..data.disk import disk, written

# Settings that may change when a run resumes: its length, what it writes, and how it computes.
CHANGEABLE = (
    "steps",
    "checkpoint_every",
    "keep_checkpoints",
    "sample_every",
    "log_every",
    "workers",
    "gradient_checkpointing",
    "distributed",
)

logger = logging.getLogger(__name__)


class Run:
    """A run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config_file = folder / "config.toml"
        self.log_file = folder / "log.jsonl"
        self.checkpoints_folder = folder / "checkpoints"

    def begin(self, config: RunConfig) -> None:
        """Creates the folder, or checks that `config` resumes the run in it. Raises `KeySyncError` if it does not."""
        with disk(self.folder):
            self.checkpoints_folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "samples").mkdir(exist_ok=True)
        if self.config_file.exists():
            self._check(config)
        for left in self.checkpoints_folder.glob(".*.part"):
            shutil.rmtree(left)
        with written(self.config_file) as part:
            part.write_text(to_toml(config), encoding="utf-8")

    def config(self) -> TrainConfig:
        """The settings of a run of a stage. Raises `KeySyncError` as `config_as` does."""
        return self.config_as(TrainConfig)

    def config_as(self, kind: type[Config]) -> Config:
        """The settings of the run, of this kind. Raises `KeySyncError` if there is no run, or one of another kind."""
        return config_as(kind, self._settings(), str(self.config_file))

    @property
    def stage(self) -> str:
        """What the run trains. Raises `KeySyncError` if there is no run."""
        return str(self._settings().get("stage", ""))

    def _settings(self) -> dict[str, Any]:
        if not self.config_file.is_file():
            raise KeySyncError(f"{self.folder} is not a training run: it has no config.toml; name the folder of a run")
        return read_toml(self.config_file)

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, in order."""
        found = (re.fullmatch(r"step-(\d+)", path.name) for path in self.checkpoints_folder.glob("step-*"))
        return sorted(int(name[1]) for name in found if name)

    def checkpoint(self, step: int) -> Path:
        """The folder of a checkpoint."""
        return self.checkpoints_folder / f"step-{step:06d}"

    def chosen(self, step: int | None, every: int) -> tuple[int, Path]:
        """A step with a checkpoint, for None the newest, and the checkpoint's folder; there is one in so many steps.

        Raises `KeySyncError` if there is no such checkpoint.
        """
        steps = self.steps()
        if not steps:
            raise KeySyncError(f"{self.folder} has no checkpoint yet: the run writes the first one after step {every}")
        if step is not None and step not in steps:
            raise KeySyncError(
                f"{self.folder} has no checkpoint of step {step}: choose from {', '.join(map(str, steps))}"
            )
        found = steps[-1] if step is None else step
        return found, self.checkpoint(found)

    @contextmanager
    def new_checkpoint(self, step: int, keep: int) -> Iterator[Path]:
        """A folder to write a checkpoint into, renamed when complete; then all but the newest `keep` are deleted (0:
        none)."""
        path = self.checkpoint(step)
        part = path.with_name(f".{path.name}.part")
        try:
            with disk(path):
                part.mkdir()
                yield part
                if path.is_dir():
                    shutil.rmtree(path)
                part.replace(path)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        for old in self.steps()[:-keep] if keep else []:
            shutil.rmtree(self.checkpoint(old))

    def log(self, **values: Any) -> None:
        """Appends a line to the log. Raises `KeySyncError` on a full disk."""
        with disk(self.log_file), self.log_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def forget_after(self, step: int) -> None:
        """Removes the lines after step `step` from the log: a resumed run repeats these steps."""
        if not self.log_file.exists():
            return
        kept = [line for line in self.logged() if line["step"] <= step]
        with written(self.log_file) as part:
            part.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def logged(self) -> list[dict[str, Any]]:
        """The lines of the log, without an incomplete last one and, with a warning, without damaged ones."""
        lines = self.log_file.read_bytes().split(b"\n")[:-1]
        rows = [row for line in lines if (row := _row(line)) is not None]
        if len(rows) < len(lines):
            logger.warning(
                "%s: %d of %d lines are damaged and left out", self.log_file, len(lines) - len(rows), len(lines)
            )
        return rows

    def _check(self, config: RunConfig) -> None:
        before, now = asdict(self.config_as(type(config))), asdict(config)
        changed = [key for key in now if before[key] != now[key] and key not in CHANGEABLE]
        if changed:
            key = changed[0]
            raise KeySyncError(
                f"{self.folder} holds a run with {key} {before[key]!r}, not {now[key]!r}: resume it with the same "
                "settings, or name another folder"
            )


def _row(line: bytes) -> dict[str, Any] | None:
    """What a line of the log says of a step, or None if it is damaged."""
    try:
        row = json.loads(line)  # not the strict one: a loss may be NaN
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and type(row.get("step")) is int else None


def save_pickle(content: Any, part: Path, path: Path) -> None:
    """`torch.save` to `part`, to be renamed to `path`. Raises `KeySyncError` if torch fails, as on a full disk."""
    try:
        torch.save(content, part)
    except RuntimeError as error:
        raise KeySyncError(f"cannot write {path} ({str(error).splitlines()[0]}): free some disk space") from error
