"""Where the figures of a run go besides its log: TensorBoard, and what accelerate knows of others' trackers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from keysync.errors import KeySyncError, install_line

from ..config.run_config import TENSORBOARD
from ..data.disk import disk

if TYPE_CHECKING:
    from ..config.run_config import RunConfig
    from .clock import Clock
    from .run import Run


# What runs are listed under.
PROJECT = "keysync"


class Tracker(Protocol):
    """Takes figures and pictures (H, W, 3) after a step, and sound (n,) in -1..1 at a rate."""

    def figures(self, step: int, values: dict[str, float]) -> None: ...

    def picture(self, step: int, name: str, picture: NDArray[np.uint8]) -> None: ...

    def sound(self, step: int, name: str, samples: NDArray[np.float32], rate: int) -> None: ...

    def close(self) -> None: ...


def open_trackers(run: Run, config: RunConfig, clock: Clock) -> list[Tracker]:
    """The trackers that the settings name. Raises `KeySyncError` if a package is missing or refuses to start."""
    return [
        TensorBoard(run, clock) if name == TENSORBOARD else Hosted(name, run, config)
        for name in dict.fromkeys(config.trackers)
    ]


class TensorBoard:
    """RUN/tensorboard, without what was logged after the step of the clock."""

    def __init__(self, run: Run, clock: Clock) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise KeySyncError(
                f"the tracker tensorboard needs its package: {install_line('tensorboard')}, or choose other trackers"
            ) from error
        self._folder = run.folder / "tensorboard"
        with disk(self._folder):
            self._writer = SummaryWriter(str(self._folder), purge_step=clock.done + 1)

    def figures(self, step: int, values: dict[str, float]) -> None:
        with disk(self._folder):
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def picture(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        with disk(self._folder):
            self._writer.add_image(name, picture, step, dataformats="HWC")

    def sound(self, step: int, name: str, samples: NDArray[np.float32], rate: int) -> None:
        with disk(self._folder):
            self._writer.add_audio(name, samples[None], step, rate)

    def close(self) -> None:
        self._writer.close()


class Hosted:
    """A tracker that accelerate knows, by its name; it takes figures, and pictures where accelerate can send them."""

    def __init__(self, name: str, run: Run, config: RunConfig) -> None:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        # accelerate's "run_name" is a project of Weights & Biases.
        folder = run.folder.resolve().name
        group = "run_name" if name == "wandb" else "experiment_name"
        names = {group: PROJECT, "name" if name == "wandb" else "run_name": folder}
        try:
            self._tracker: Any = LOGGER_TYPE_TO_CLASS[name](**names)
            self._tracker.start()
        except ImportError as error:
            raise KeySyncError(
                f"the tracker {name} needs its package: {install_line(name)}, or choose other trackers"
            ) from error
        plain = {key: value if isinstance(value, str | int | float) else str(value) for key, value in _settings(config)}
        self._tracker.store_init_configuration(plain)

    def figures(self, step: int, values: dict[str, float]) -> None:
        self._tracker.log(values, step=step)

    def picture(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        """Is not sent to a tracker that takes no pictures: RUN/samples has it."""
        if hasattr(self._tracker, "log_images"):
            self._tracker.log_images({name: [picture]}, step=step)

    def sound(self, step: int, name: str, samples: NDArray[np.float32], rate: int) -> None:
        """Is not sent: RUN/samples has it."""

    def close(self) -> None:
        self._tracker.finish()


def _settings(config: RunConfig) -> list[tuple[str, Any]]:
    return list(asdict(config).items())
