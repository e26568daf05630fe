"""The interpolation stage's U-Net under torch.compile, in a process of its own that ends when its time is over."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .machine import Machine
from .networks import Bench, Evaluation, measure_stage, precise
from .precisions import Precision
from .sheet import FailedError, NotRunError, in_one_line
from .sizes import INTERPOLATION, Sizes, make_stage

Result = dict[str, float | None] | NotRunError | FailedError


@dataclass(frozen=True)
class Job:
    """A precision, and the groups to measure with it in turn."""

    precision: Precision
    groups: tuple[int, ...]


class Compiler:
    """Measures jobs one after another; `left` gives the seconds that there are for what is left.

    A context manager: at its end the process is gone.
    """

    def __init__(self, sizes: Sizes, jobs: Sequence[Job], reference: Tensor | None, left: Callable[[], float]) -> None:
        self._left = left
        self._stopped = ""
        here = multiprocessing.get_context("spawn")
        self._receiver, sender = here.Pipe(duplex=False)
        # As an array: a tensor would travel through shared memory, which containers may lack.
        array = None if reference is None else reference.numpy()
        self._process = here.Process(target=work, args=(sender, sizes, list(jobs), array))
        self._process.start()
        sender.close()

    def __enter__(self) -> Compiler:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._receiver.close()

    def next(self) -> dict[str, float | None]:
        """The figures of the next group. Raises `NotRunError` when the time is over, and `FailedError` where it could
        not be measured."""
        if self._stopped:
            raise NotRunError(self._stopped)
        left = max(0.0, self._left())
        if not self._receiver.poll(left):
            self._process.kill()
            self._stopped = f"torch.compile did not end within the {left:.0f} s that were left"
            raise NotRunError(self._stopped)
        try:
            result: Result = self._receiver.recv()
        except EOFError as error:
            self._process.join()
            self._stopped = f"the process that compiles ended with code {self._process.exitcode}"
            raise FailedError(self._stopped) from error
        if isinstance(result, NotRunError | FailedError):
            raise result
        return result


def work(sender: Connection, sizes: Sizes, jobs: list[Job], array: NDArray[np.float32] | None) -> None:
    """Sends the figures of each group of each job, or why there are none."""
    bench, reference = Bench(Machine.here(), sizes), None if array is None else torch.from_numpy(array)
    for job in jobs:
        for group in job.groups:
            try:
                sender.send(measure(bench, job.precision, group, reference))
            except NotRunError as error:
                sender.send(error)
            except Exception as error:  # such as a compiler that is missing: the next may work
                sender.send(FailedError(in_one_line(error)))
            bench.machine.release()


def measure(bench: Bench, precision: Precision, group: int, reference: Tensor | None) -> dict[str, float | None]:
    """Figures of a compiled network for a group of windows, with the seconds of the call that compiles."""
    precision.check(bench.machine.device)
    torch.compiler.reset()  # what was compiled before would count against the limit of one function
    stage = make_stage(bench.sizes.specs[INTERPOLATION], precision, bench.machine.device)
    stage.unet.compile(backend=bench.sizes.backend, dynamic=False)
    with precise(precision):
        compiling = bench.machine.clock(Evaluation(stage, group))
    figures, _ = measure_stage(bench, stage, precision, group, reference)
    return {**figures, "compile_seconds": compiling}
