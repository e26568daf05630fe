"""The progress reports of a run: a progress bar, TensorBoard, a log line per step, and sample pictures."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from keysync.errors import KeySyncError, install_line

from ..data.disk import disk, written
from .clock import Clock
from .run import Run

if TYPE_CHECKING:
    from ..config.config import TrainConfig


class Board:
    """Reports the progress of the main process. As a context manager it writes everything to disk on exit."""

    def __init__(self, run: Run, config: TrainConfig, clock: Clock) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise KeySyncError(f"training needs tensorboard: {install_line('tensorboard')}") from error
        self.run, self.config = run, config
        run.forget_after(clock.done)
        self._writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=clock.done + 1)
        self._bar: tqdm[None] = tqdm(
            initial=clock.whole_steps,
            total=config.steps,
            desc=config.stage,
            unit="step",
            dynamic_ncols=True,
            file=sys.stderr,
        )

    def step(self, clock: Clock, **figures: float) -> None:
        """Reports the figures of a step that ends now."""
        done = clock.done
        self.run.log(step=done, clips=clock.clips, **figures)
        self._bar.set_postfix(loss=f"{figures['loss']:.4g}", refresh=False)
        self._bar.update(clock.whole_steps - self._bar.n)
        if done % self.config.log_every == 0 or clock.whole_steps >= self.config.steps:
            with disk(self.run.folder / "tensorboard"):
                for name, value in figures.items():
                    self._writer.add_scalar(f"train/{name}", value, done)

    def validation(self, done: int, loss: float, picture: NDArray[np.uint8]) -> None:
        """Reports the loss on the validation clips and writes the picture (H, W, 3)."""
        with disk(self.run.folder / "tensorboard"):
            self._writer.add_scalar("validation/loss", loss, done)
            self._writer.add_image("validation/clips", picture, done, dataformats="HWC")
        with written(self.run.folder / "samples" / f"step-{done:06d}.png") as part:
            Image.fromarray(picture).save(part, format="png")

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        self._writer.close()
