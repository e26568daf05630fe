"""How a job of the command line is run: on which device, with which models, and stopped by signals."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from ..dub import Settings
from ..errors import KeySyncError
from ..media.container import MediaFile
from ..progress import Moment
from ..provenance import Signing
from ..report import Report, check_report
from ..resume import Work
from ..signals import Stop
from ..systems.renderer import Renderer, System
from ..terminal import ProgressLine
from ..threads import threads
from ..weights.checkpoint import DTYPES


class Loaded:
    """The models of the last job, for the next one that uses the same."""

    def __init__(self) -> None:
        self._key: object = None
        self._models: Renderer | None = None

    def load(self, system: System, files: dict[str, Path | None], device: torch.device, dtype: Any) -> Renderer:
        key = system.name, files, device, dtype, [path and MediaFile.of(path).stamp for path in files.values()]
        if self._models is None or key != self._key:
            self.forget()  # before others are loaded: there may be no room for both
            self._models, self._key = system.load(files, device=device, dtype=dtype), key
        return self._models

    def forget(self) -> None:
        self._models = None


class Watched(ProgressLine):
    """The progress of a job; stops it where a signal asks for it."""

    def __init__(self, stop: Stop) -> None:
        super().__init__()
        self._stop = stop

    def show(self, moment: Moment) -> None:
        self._stop.check()
        super().show(moment)


def check_report_of(options: argparse.Namespace, inputs: Iterable[Path]) -> None:
    """Raises `KeySyncError` where the report that is asked for cannot be written, or would replace another file."""
    if options.report:
        check_report(options.report, [path for path in (*inputs, options.landmarks, options.output) if path])


def settings_of(options: argparse.Namespace, system: System, **chosen: Any) -> Settings:
    """The settings of a job; `chosen` are those that not every command has."""
    signing = None
    if options.c2pa is not None:
        certificate, key = options.c2pa
        signing = Signing(Path(certificate), Path(key), options.c2pa_algorithm)
    return Settings(
        seed=options.seed,
        sampling=system.settings(options),
        provenance=options.provenance,
        signing=signing,
        **chosen,
    )


def device_of(options: argparse.Namespace) -> torch.device:
    """Where the networks run. Raises `KeySyncError` for a device that is not there."""
    name = options.device
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise KeySyncError(f"the device {name!r} is not available ({reason}): try --device cpu") from error
    return device


def load(options: argparse.Namespace, system: System, device: torch.device, loaded: Loaded | None = None) -> Renderer:
    """The models of a job, those `loaded` before where they are the same; `options.work` becomes its unfinished work.

    From here on PyTorch computes with as many threads as the run that is resumed: others may round differently.
    """
    options.work = Work.beside(options.output, options.work_folder, fresh=options.fresh)
    torch.set_num_threads(options.work.threads() or threads(torch.get_num_threads()))
    files = {option.name: getattr(options, option.name) for option in system.files}
    return (loaded or Loaded()).load(system, files, device, DTYPES[options.dtype] if options.dtype else None)


def run(options: argparse.Namespace, job: Callable[..., Report]) -> Report:
    """The report of a job, which is written where that is asked for; shows the progress meanwhile."""
    with closing(Watched(options.stop)) as progress:
        report = job(progress=progress, lossless=options.lossless, work=options.work)
    if options.report:
        report.write(options.report)
    return report


def print_notes(report: Report) -> None:
    """Prints what a person should know of a result, and how fast it was made."""
    for line in (*report.notes, report.pace()):
        print(f"  {line}")
