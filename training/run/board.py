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
from .run import Run

if TYPE_CHECKING:
    from ..config.run_config import RunConfig


class Board:
    """Reports the progress of the main process. As a context manager it writes everything to disk on exit."""

    def __init__(self, run: Run, config: RunConfig, first: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise KeySyncError(f"training needs tensorboard: {install_line('tensorboard')}") from error
        self.run, self.config = run, config
        run.forget_after(first)
        self._writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=first + 1)
        self._bar: tqdm[None] = tqdm(
            initial=first, total=config.steps, desc=config.stage, unit="step", dynamic_ncols=True, file=sys.stderr
        )

    def step(self, done: int, **figures: float) -> None:
        """Reports the figures after `done` steps."""
        self.run.log(step=done, **figures)
        self._bar.set_postfix(loss=f"{figures['loss']:.4g}", refresh=False)
        self._bar.update()
        if done % self.config.log_every == 0 or done == self.config.steps:
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
