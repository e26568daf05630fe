"""A LoRA trained inside a host program, such as ComfyUI: in one process, on the device where the host puts the stage.

A run's folder and samples are those of `training.train`; accelerate and TensorBoard are not needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from keysync.errors import KeySyncError
from keysync.systems.keysync.sampling import Sampling

from ..data.dataset import Windows, collate
from ..data.disk import written
from ..data.index import VALIDATION
from ..data.shards import Shards
from ..loss.loss import LossModule, draw
from ..weights.frozen import hold
from ..weights.lora import without_adapters, write_lora
from ..weights.metadata import metadata_of
from .checkpoints import clock_of, load_state, newest, save
from .optimizers import adamw, adamw_of_bitsandbytes, bitsandbytes
from .quarantine import Quarantine
from .run import Run
from .samples import sample
from .schedule import schedule
from .stage_course import StageCourse

if TYPE_CHECKING:
    from keysync.network.stage import Stage

    from ..config.config import TrainConfig

OPTIMIZER = "optimizer.txt"
# Of a comparison.
WINDOWS = 8
Watch = Callable[[int, float], None]

ADAMW, ADAMW_8_BIT = "AdamW", "AdamW 8-bit"
OPTIMIZERS = {ADAMW: adamw, ADAMW_8_BIT: adamw_of_bitsandbytes}


class Alone:
    """What checkpoints ask of accelerate's Accelerator, where there is one process."""

    is_main_process = True
    scaler = None

    def wait_for_everyone(self) -> None:
        """There is no other process."""


class Preview(NamedTuple):
    """Latents (1, t, 4, h, w) of a window: its own, and those generated without and with the adapters."""

    truth: Tensor
    before: Tensor
    after: Tensor


class Comparison(NamedTuple):
    """The mean loss of the latents of `windows` windows with fixed noise, without and with the adapters."""

    windows: int
    before: float
    after: float


class LoraRun:
    """A run in a folder: `stage` has adapters and is on the CPU until the host moves it; `done` steps are done.

    `frozen` is the precision of the other weights, one of `FROZEN`, `optimizer` a key of `OPTIMIZERS`, and `device`
    where the host will move the stage. `alive` is called before each block of the network, and may raise to stop within
    a step.
    Raises `KeySyncError` for settings, data and weights that do not fit, and for a folder that holds another run.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: Path,
        folder: Path,
        *,
        frozen: str,
        optimizer: str,
        device: torch.device | str = "cpu",
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        if optimizer == ADAMW_8_BIT:
            bitsandbytes()
        self.config = config
        self.shards = Shards(data)
        self._course = StageCourse(config, self.shards)
        self.windows = self._course.windows
        self.run = Run(folder)
        self.run.check(config)
        self._check_optimizer(optimizer)
        self._checkpoint = newest(self.run)
        before = self.run.config() if self.run.config_file.exists() else config
        self.clock = clock_of(self._checkpoint, before.batch_size)
        self._course.load(self._checkpoint)
        self.stage: Stage = self._course.network
        hold(self.stage, frozen, device)
        self.run.begin(config, step=self.done, clips=self.clock.clips, processes=1, clips_per_step=config.batch_size)
        self._optimizer = optimizer
        self._quarantine = Quarantine(self.run, config.max_failures)
        with written(self.run.folder / OPTIMIZER) as part:
            part.write_text(optimizer, encoding="utf-8")
        for block in self._course.blocks():
            block.register_forward_pre_hook(lambda module, arguments: alive())

    @property
    def done(self) -> int:
        """The steps that are done."""
        return self.clock.done

    def train(self, decoder: nn.Module | None, watch: Watch) -> None:
        """Trains until `config.steps`, in steps of the run's first batch; `watch(steps done, loss)` follows each step.
        The VAE's `decoder` is needed if `rgb_weight` is not 0.

        Whatever ends it, the steps that are done are saved. Raises `KeySyncError` for a loss that is not finite.
        """
        config = self.config
        module = LossModule(self.stage, decoder, config)
        parameters = [parameter for parameter in self.stage.parameters() if parameter.requires_grad]
        optimizer = OPTIMIZERS[self._optimizer](parameters, config)
        alone: Any = Alone()
        if self._checkpoint is not None:
            load_state(self._checkpoint, self._course, alone, module, optimizer, None)
        self.run.forget_after(self.done)
        saved = self.done
        try:
            while self.clock.whole_steps < config.steps:
                self._step(module, parameters, optimizer, watch)
                if self.done % config.checkpoint_every == 0:
                    save(self.run, self.clock, self._course, alone, module, optimizer, None)
                    saved = self.done
        finally:
            if self.done > saved:
                save(self.run, self.clock, self._course, alone, module, optimizer, None)

    def _step(
        self, module: LossModule, parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, watch: Watch
    ) -> None:
        config = self.config
        rate = schedule(optimizer, config, self.clock.steps)
        first = self.clock.clips
        batch = collate([self.windows[number] for number in range(first, first + config.batch_size)])
        self._quarantine.add(batch.lost)
        optimizer.zero_grad()
        losses = module(batch, draw(config, batch))
        loss, latent, pixel, _ = (float(part.detach()) for part in losses)
        if not math.isfinite(loss):
            raise KeySyncError(
                f"the loss is {loss} after step {self.done}; the steps before it are saved: lower the learning rate "
                f"(now {config.learning_rate:g})"
            )
        losses.total.backward()
        if config.max_grad_norm:
            nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
        optimizer.step()
        self.clock = self.clock.after(config.batch_size)
        self.run.log(step=self.done, clips=self.clock.clips, loss=loss, latent=latent, pixel=pixel, learning_rate=rate)
        watch(self.done, loss)

    @torch.no_grad()
    def compare(self) -> Comparison:
        """Measures on the windows that `training.train` validates on."""
        config = replace(self.config, rgb_weight=0.0)
        module = LossModule(self.stage, None, config)
        windows = self._validation()
        batches = [collate([windows[number]]) for number in range(WINDOWS)]

        def mean() -> float:
            return sum(float(module(batch, draw(config, batch)).latent) for batch in batches) / WINDOWS

        with without_adapters(self.stage):
            before = mean()
        return Comparison(WINDOWS, before, mean())

    def _validation(self) -> Windows:
        """Windows of the validation clips, or of the training clips where none of those is long enough."""
        try:
            return Windows(self.shards, self.config, VALIDATION)
        except KeySyncError:  # only the length can fail: all other checks passed for the training clips
            return self.windows

    @torch.no_grad()
    def preview(self) -> Preview:
        """Samples a window of the validation clips."""
        batch = collate([self._validation()[0]])
        with without_adapters(self.stage):
            before = sample(self.stage, batch, self.config.seed, Sampling())
        return Preview(batch.latents, before, sample(self.stage, batch, self.config.seed, Sampling()))

    def losses(self) -> list[float]:
        """The loss of each step."""
        return [float(row["loss"]) for row in self.run.logged()]

    def write(self, path: Path) -> None:
        """Writes the adapters as ComfyUI's LoRA loaders read them; an existing file is replaced at the end."""
        metadata = metadata_of(self.config, self.clock, self.shards.folder)
        write_lora(path, self.stage.spec, self.stage.state_dict(), self.config, metadata)

    def _check_optimizer(self, name: str) -> None:
        """Raises `KeySyncError` where the run has another optimizer, whose state only it can read."""
        note = self.run.folder / OPTIMIZER
        before = note.read_text(encoding="utf-8") if note.exists() else name
        if before != name:
            raise KeySyncError(
                f"{self.run.folder} holds a run with the optimizer {before}, not {name}: resume it with {before}, or "
                "name another folder"
            )
