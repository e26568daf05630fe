"""The folder of one training run: its settings, log and checkpoints. Every file is written atomically.

RUN/config.toml, RUN/history.jsonl (a line each time the run begins or resumes), RUN/log.jsonl (a line per step),
RUN/validation.jsonl (a line per validation), RUN/quarantine.jsonl (a line per damaged clip), RUN/tensorboard/,
RUN/samples/, RUN/checkpoints/step-000500/. A checkpoint holds the network, as its course writes it, and the training
state (`optimizer.pt`, `state.json`).
"""

from __future__ import annotations

import json
import logging
import math
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from keysync.errors import KeySyncError

from ..config.config import Config, TrainConfig, config_as, read_toml, to_toml
from ..config.run_config import RunConfig
from ..data.disk import disk, written

# Settings that may not change when a run resumes: checkpoints depend on them, and so does which clip comes when.
FIXED = (
    *("stage", "speech_encoder", "start", "window", "resolution", "mask", "seed"),
    *("model_channels", "channel_mult", "attention", "num_res_blocks", "head_dim", "context_dim"),
    *("audio_guidance", "identity_guidance", "autoguidance", "trainable", "lora_rank", "lora_alpha", "optimizer"),
    *("distill", "distill_from", "levels", "teacher_steps"),
    *("network", "reference_gap"),
)
DAMAGED = ".damaged"
# What a line must have.
LOGGED = {"step": int}
VALIDATED = {"step": int, "loss": float}
QUARANTINED = {"shard": str, "clip": str, "why": str}

logger = logging.getLogger(__name__)


class Run:
    """A run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config_file = folder / "config.toml"
        self.log_file = folder / "log.jsonl"
        self.validation_file = folder / "validation.jsonl"
        self.history_file = folder / "history.jsonl"
        self.quarantine_file = folder / "quarantine.jsonl"
        self.checkpoints_folder = folder / "checkpoints"

    @property
    def notes(self) -> tuple[Path, ...]:
        """The files about the run besides its checkpoints, samples and trackers; some may not be there."""
        return (
            *(self.config_file, self.log_file, self.validation_file),
            *(self.history_file, self.quarantine_file),
        )

    def check(self, config: RunConfig) -> None:
        """Raises `KeySyncError` if the folder holds a run that these settings do not resume; writes nothing."""
        changed = self._changed(config)
        if wrong := [key for key in changed if key in FIXED]:
            key = wrong[0]
            before, now = changed[key]
            raise KeySyncError(
                f"{self.folder} holds a run with {key} {before!r}, not {now!r}: resume it with {before!r}, or name "
                "another folder"
            )

    def begin(self, config: RunConfig, **about: Any) -> None:
        """Creates the folder or resumes the run in it, and adds `about` and the changed settings to its history.

        To be called when everything has loaded. Raises `KeySyncError` as `check` does.
        """
        self.check(config)
        changed = self._changed(config)
        with disk(self.folder):
            self.checkpoints_folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "samples").mkdir(exist_ok=True)
        for left in self.checkpoints_folder.glob(".*.part"):
            shutil.rmtree(left)
        for key, (before, now) in changed.items():
            logger.info("%s: %s is now %r, it was %r", self.folder, key, now, before)
        now_is = datetime.now(timezone.utc).isoformat(timespec="seconds")
        _append(self.history_file, {"time": now_is, **about, "changed": changed})
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

    def set_aside(self, step: int) -> Path:
        """Renames a damaged checkpoint, which counts as none from then on; returns its new folder."""
        path = self.checkpoint(step)
        aside = path.with_name(path.name + DAMAGED)
        with disk(path):
            if aside.exists():
                shutil.rmtree(aside)
            return path.rename(aside)

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
        """A folder to write a checkpoint into, renamed when complete; then all but the newest `keep` and the best are
        deleted (0: none)."""
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
        best = self.best()
        for old in self.steps()[:-keep] if keep else []:
            if old != best:
                shutil.rmtree(self.checkpoint(old))

    def best(self) -> int | None:
        """The step of the checkpoint with the least loss on the validation clips; None if none was validated."""
        there = set(self.steps())
        rows = [row for row in self.validated() if row["step"] in there and math.isfinite(row["loss"])]
        return min(rows, key=lambda row: row["loss"])["step"] if rows else None

    def log(self, **values: Any) -> None:
        """Appends a line to the log. Raises `KeySyncError` on a full disk."""
        _append(self.log_file, values)

    def log_validation(self, **values: Any) -> None:
        """Notes a validation. Raises `KeySyncError` on a full disk."""
        _append(self.validation_file, values)

    def validated(self) -> list[dict[str, Any]]:
        """The validations: step, loss and other figures. Damaged lines are left out with a warning."""
        return _rows(self.validation_file, VALIDATED) if self.validation_file.exists() else []

    def forget_after(self, step: int) -> None:
        """Removes what was logged after step `step`: a resumed run repeats these steps."""
        for path, wanted in ((self.log_file, LOGGED), (self.validation_file, VALIDATED)):
            if path.exists():
                kept = [line for line in _rows(path, wanted) if line["step"] <= step]
                with written(path) as part:
                    part.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def logged(self) -> list[dict[str, Any]]:
        """The lines of the log, without an incomplete last one and, with a warning, without damaged ones."""
        return _rows(self.log_file)

    def history(self) -> list[dict[str, Any]]:
        """A line for each time the run began or resumed: step, clips seen, processes, clips of a step, and `changed`
        settings with their values before and now. Damaged lines are left out with a warning."""
        return _rows(self.history_file) if self.history_file.exists() else []

    def quarantine(self, **values: Any) -> None:
        """Notes a damaged clip. Raises `KeySyncError` on a full disk."""
        _append(self.quarantine_file, values)

    def quarantined(self) -> list[dict[str, Any]]:
        """The damaged clips: shard, clip and why. Damaged lines are left out with a warning."""
        return _rows(self.quarantine_file, QUARANTINED) if self.quarantine_file.exists() else []

    def _changed(self, config: RunConfig) -> dict[str, tuple[Any, Any]]:
        """The settings that are not those of the run in the folder: their values before and now."""
        if not self.config_file.exists():
            return {}
        if self.stage != config.stage:  # which may have other settings
            return {"stage": (self.stage, config.stage)}
        before, now = asdict(self.config_as(type(config))), asdict(config)
        return {key: (before[key], now[key]) for key in now if before[key] != now[key]}


def _append(path: Path, values: Mapping[str, Any]) -> None:
    with disk(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


def _rows(path: Path, wanted: Mapping[str, type] = LOGGED) -> list[dict[str, Any]]:
    """The lines of a file, without an incomplete last one and, with a warning, without those that lack what is
    wanted."""
    lines = path.read_bytes().split(b"\n")[:-1]
    rows = [row for line in lines if (row := _row(line, wanted)) is not None]
    if len(rows) < len(lines):
        logger.warning("%s: %d of %d lines are damaged and left out", path, len(lines) - len(rows), len(lines))
    return rows


def _row(line: bytes, wanted: Mapping[str, type]) -> dict[str, Any] | None:
    """What a line says, or None if it is damaged."""
    try:
        row = json.loads(line)  # not the strict one: a loss may be NaN
    except (ValueError, RecursionError):
        return None
    whole = isinstance(row, dict) and all(type(row.get(name)) is kind for name, kind in wanted.items())
    return row if whole else None


def save_pickle(content: Any, part: Path, path: Path) -> None:
    """`torch.save` to `part`, to be renamed to `path`. Raises `KeySyncError` if torch fails, as on a full disk."""
    try:
        torch.save(content, part)
    except RuntimeError as error:
        raise KeySyncError(f"cannot write {path} ({str(error).splitlines()[0]}): free some disk space") from error
