"""The progress reports of a run: a progress bar, a log line per step, trackers such as TensorBoard, and samples."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

import torch
from PIL import Image
from tqdm import tqdm

from keysync.method import SAMPLE_RATE

from ..data.disk import written
from .clock import Clock
from .counting import GIB
from .run import Run
from .trackers import open_trackers

if TYPE_CHECKING:
    from ..config.run_config import RunConfig
    from .course import Outcome


class Board:
    """Reports the progress of the main process. As a context manager it writes everything to disk on exit."""

    def __init__(self, run: Run, config: RunConfig, clock: Clock, device: torch.device) -> None:
        self.run, self.config, self.device = run, config, device
        run.forget_after(clock.done)
        self._trackers = open_trackers(run, config, clock)
        self._bar: tqdm[None] = tqdm(
            initial=clock.whole_steps,
            total=config.steps,
            desc=config.stage,
            unit="step",
            dynamic_ncols=True,
            file=sys.stderr,
        )
        self._before, self._began = clock, time.perf_counter()

    def step(self, clock: Clock, **figures: float) -> None:
        """Reports the figures of a step that ends now, with the clips a second since the one before and the peak of
        memory in GiB."""
        done, now = clock.done, time.perf_counter()
        figures["clips_per_second"] = (clock.clips - self._before.clips) / (now - self._began)
        if (memory := peak_memory(self.device)) is not None:
            figures["memory_gib"] = memory / GIB
        self._before, self._began = clock, now
        self.run.log(step=done, clips=clock.clips, **figures)
        self._bar.set_postfix(loss=f"{figures['loss']:.4g}", refresh=False)
        self._bar.update(clock.whole_steps - self._bar.n)
        if done % self.config.log_every == 0 or clock.whole_steps >= self.config.steps:
            for tracker in self._trackers:
                tracker.figures(done, {f"train/{name}": value for name, value in figures.items()})

    def validation(self, clock: Clock, outcome: Outcome) -> None:
        """Reports what a validation found, and writes its picture and its film to RUN/samples."""
        done = clock.done
        self.run.log_validation(step=done, clips=clock.clips, **outcome.figures)
        with written(self.run.folder / "samples" / f"step-{done:06d}.png") as part:
            Image.fromarray(outcome.picture).save(part, format="PNG")
        film = outcome.film
        if film is not None:
            film.write(self.run.folder / "samples", f"step-{done:06d}")
        figures = {f"validation/{name}": value for name, value in outcome.figures.items() if math.isfinite(value)}
        for tracker in self._trackers:
            tracker.figures(done, figures)
            tracker.picture(done, "validation/clips", outcome.picture)
            if film is not None:
                tracker.sound(done, "validation/sound", film.samples, SAMPLE_RATE)
        # What a validation takes is not the speed of a step.
        self._began = time.perf_counter()

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        for tracker in self._trackers:
            tracker.close()


def peak_memory(device: torch.device) -> float | None:
    """The most bytes that this process has held: on a GPU those of PyTorch there, otherwise in main memory; None where
    the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
