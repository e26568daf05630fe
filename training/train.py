"""Trains a stage on prepared data: `python -m training.train keyframe --data DATA --out RUN [--key value ...]`.

On several GPUs: `torchrun --nproc-per-node N -m -- training.train ...`. A stopped run resumes when the same command is
given again, with the losses of a run that never stopped; also with another number of processes, and other settings.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from keysync.errors import KeySyncError, install_line
from keysync.network.stage import ALL_STAGES

from .config.config import PRESETS, Config, TrainConfig, load_as, overrides_of, preset_of
from .config.run_config import RunConfig
from .data.dataset import Lost
from .data.shards import Shards
from .data.store import named_place
from .flashlips.config import LIPS_STAGES, FlashLipsConfig
from .run.board import Board
from .run.checkpoints import clock_of, load_state, newest, save
from .run.clock import Clock
from .run.course import Course
from .run.ema import EMA
from .run.mirror import Mirror
from .run.optimizers import MAKERS
from .run.precision import precision_on_cpu
from .run.quarantine import Quarantine
from .run.run import Run
from .run.schedule import schedule
from .run.sharding import spread, whole
from .run.signals import Stop
from .run.together import check_shared, decided, gathered

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer

# Reads a command line: the settings in it, and its other options.
Parse = Callable[[Sequence[str] | None], tuple[RunConfig, argparse.Namespace]]


def train(config: RunConfig, data: Path | str, out: Path, device: str = "", mirror: str = "") -> int:
    """Trains until `config.steps`, resuming from the newest intact checkpoint in `out`; returns the steps done, counted
    in the batch that the run began with (`Clock`).

    `data` is a folder or a URL; a copy of the run is kept at the URL `mirror`, and resumed if it is newer.
    Raises `KeySyncError` for settings, data or weights that do not fit, a loss that is not finite, and a full disk.
    """
    accelerator = start_processes(config, device)
    try:
        return _train(config, data, out, mirror, accelerator)
    finally:
        accelerator.end_training()  # after an error too: at exit, threads of a process group that is left can abort


def _train(config: RunConfig, data: Path | str, out: Path, mirror: str, accelerator: Accelerator) -> int:
    course = course_of(config, Shards(data))
    run = Run(out)
    copy = Mirror(run, mirror) if mirror else None
    run.check(config)
    check_shared(accelerator, out, data, course.shards.digest)
    checkpoint, clock = decided(accelerator, lambda: resumed(run, copy, config, accelerator.num_processes))

    course.load(checkpoint)
    loss_module = course.loss(accelerator.device)
    module = spread(loss_module, course, accelerator)
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = MAKERS[config.optimizer](parameters, config)
    ema = EMA(course.network, config.ema_decay) if config.ema_decay else None
    if checkpoint is not None:
        load_state(checkpoint, course, accelerator, module, optimizer, ema)
    # Not moved: AdamW's step counts on a GPU would each cost a synchronisation.
    stepper = accelerator.prepare_optimizer(optimizer, device_placement=False)
    validation = course.validation() if config.sample_every else None
    batch = config.batch_size * config.accumulate * accelerator.num_processes
    about = {"step": clock.done, "clips": clock.clips, "processes": accelerator.num_processes, "clips_per_step": batch}
    decided(accelerator, lambda: run.begin(config, **about))
    quarantine = Quarantine(run, config.most_damaged, accelerator.is_main_process)
    lost = list(course.lost(validation)) if validation else []
    batches = read_batches(course, accelerator, clock.clips)
    report = Board(run, config, clock, accelerator.device) if accelerator.is_main_process else nullcontext()
    with Stop().listening() as stop, report as board:
        while clock.whole_steps < config.steps:
            rate = schedule(optimizer, config, clock.steps)
            taken = take_step(batches, course, module, parameters, stepper, accelerator)
            lost += taken.lost
            if ema is not None:
                ema.update(clock.steps, batch / clock.unit)
            clock = clock.after(batch)
            each = [*taken.losses.values()]
            figures = torch.stack([*each, each[0].new_tensor(float(stop.requested)), each[0].new_tensor(len(lost))])
            *means, stopping, damaged = accelerator.reduce(figures, "mean").tolist()
            losses = dict(zip(taken.losses, means, strict=True))
            if damaged:
                quarantine.add(clip for clips in gathered(accelerator, lost) for clip in clips)
                lost.clear()
            check(losses["loss"], clock.done, run, config)
            if board:
                norm = float(taken.gradient_norm)
                board.step(clock, **losses, gradient_norm=norm, learning_rate=rate)
            ended = clock.whole_steps >= config.steps
            if stopping or ended or clock.done % config.checkpoint_every == 0:
                save(run, clock, course, accelerator, module, optimizer, ema)
                if copy:
                    decided(accelerator, copy.push)
            if validation and not stopping and (ended or clock.done % config.sample_every == 0):
                with ema.applied() if ema is not None else nullcontext(), accelerator.autocast():
                    outcome = validation.run(loss_module)
                if board:
                    board.validation(clock, outcome)
            if stopping:
                break
    return clock.whole_steps


def resumed(run: Run, copy: Mirror | None, config: RunConfig, processes: int) -> tuple[Path | None, Clock]:
    """The checkpoint that a run goes on from, None at its beginning, and its clock. The copy's is fetched if that is
    newer than all that are intact here.

    Raises `KeySyncError` if all checkpoints are damaged, and if the copy is of a run that these settings do not resume.
    """
    checkpoint = newest(run)
    if copy and copy.pull():
        run.check(config)
        checkpoint = newest(run)
    before = run.config_as(type(config)) if run.config_file.exists() else config
    return checkpoint, clock_of(checkpoint, before.batch_size * before.accumulate * processes)


def course_of(config: RunConfig, shards: Shards) -> Course[Any]:
    """What a run with these settings teaches. Raises `KeySyncError` for data that does not fit them."""
    # Here: a run needs one kind.
    if isinstance(config, FlashLipsConfig):
        from .flashlips.courses import COURSES

        return COURSES[config.stage](config, shards)
    from .run.stage_course import StageCourse

    assert isinstance(config, TrainConfig)
    return StageCourse(config, shards)


class Taken(NamedTuple):
    """An optimiser step: the means of this process's losses by name, the total first as `loss`, the norm of the
    gradient before it was clipped, and the damaged clips that were left out."""

    losses: dict[str, Tensor]
    gradient_norm: Tensor
    lost: list[Lost]


def take_step(
    batches: Iterator[Any],
    course: Course[Any],
    module: nn.Module,
    parameters: list[nn.Parameter],
    stepper: AcceleratedOptimizer,
    accelerator: Accelerator,
) -> Taken:
    """One optimiser step of `config.accumulate` passes."""
    config = course.config
    means, norm, lost = dict[str, Tensor](), torch.zeros(()), list[Lost]()
    for _ in range(config.accumulate):
        batch = next(batches)
        lost += course.lost(batch)
        with accelerator.accumulate(module):
            with accelerator.autocast():
                losses = module(*course.inputs(batch))
            accelerator.backward(losses.total)
            if accelerator.sync_gradients:
                norm = whole(accelerator.clip_grad_norm_(parameters, config.max_grad_norm or math.inf))
            stepper.step()
            stepper.zero_grad()
        for name, part in losses._asdict().items():
            name = "loss" if name == "total" else name
            share = part.detach() / config.accumulate
            means[name] = means[name] + share if name in means else share
    return Taken(means, norm, lost)


def start_processes(config: RunConfig, device: str) -> Accelerator:
    """This process among the others, on a GPU if there is one, unless `device` is "cpu".

    Raises `KeySyncError` for a device or precision that is not available.
    """
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise KeySyncError(f"training needs accelerate: {install_line('accelerate')}") from error
    if config.precision == "fp16" and config.distributed != "ddp":
        raise KeySyncError(f"precision fp16 does not work with distributed {config.distributed}: choose bf16")
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    if device not in ("", "cpu", "cuda") or (device == "cuda" and on_cpu):
        raise KeySyncError(f"the device {device!r} is not available: use --device cpu, or omit --device")
    if config.precision == "fp16" and on_cpu:
        raise KeySyncError("precision fp16 needs a GPU: choose bf16 or fp32")
    if not on_cpu:
        torch.set_float32_matmul_precision("medium")  # as the KeySync reference implementation trains
    precision = precision_on_cpu(config.precision) if on_cpu else config.precision
    mixed = "no" if precision == "fp32" else precision
    try:
        return Accelerator(cpu=on_cpu, mixed_precision=mixed, gradient_accumulation_steps=config.accumulate)
    except ValueError as error:
        raise KeySyncError(
            f"precision {config.precision} is not available on this device ({error}): choose fp32"
        ) from error


def read_batches(course: Course[Any], accelerator: Accelerator, seen: int) -> Iterator[Any]:
    """This process's batches after `seen` clips, endlessly. Clips are numbered over all processes, so those of a step
    do not depend on the number of processes, and whatever the batch, none is left out or seen twice."""
    config, process, processes = course.config, accelerator.process_index, accelerator.num_processes

    def numbers() -> Iterator[list[int]]:
        for turn in count():
            first = seen + (turn * processes + process) * config.batch_size
            yield list(range(first, first + config.batch_size))

    loader = DataLoader(
        course.windows,
        batch_sampler=numbers(),
        collate_fn=course.collate,
        num_workers=config.workers,
        persistent_workers=config.workers > 0,
        worker_init_fn=own_group,
    )
    try:
        yield from loader
    except KeySyncError as error:  # of a worker, with its traceback before it
        raise KeySyncError(str(error).rpartition(f"{type(error).__name__}: ")[2].strip()) from error


def own_group(worker: int) -> None:
    """Puts a data-loading process into a process group of its own: Ctrl-C does not reach it, and the run can finish its
    step and save."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)


def check(loss: float, done: int, run: Run, config: RunConfig) -> None:
    """Raises `KeySyncError` for a loss that is not finite, before it is saved."""
    if not math.isfinite(loss):
        before = max(run.steps(), default=0)
        kept = f"the checkpoint of step {before} is intact" if before else "there is no checkpoint yet"
        raise KeySyncError(
            f"the loss is {loss} at step {done} of {run.folder}; {kept}: lower learning_rate (now "
            f"{config.learning_rate:g}), set max_grad_norm, or choose precision fp32 (now {config.precision})"
        )


def absolute(config: Config) -> Config:
    """The settings with absolute paths, so that the run can be resumed and exported from any folder."""
    paths: dict[str, Any] = {key: str(Path(path).resolve()) if path else "" for key, path in config.paths.items()}
    return replace(config, **paths)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds what a command that trains asks for besides the settings."""
    parser.add_argument("--data", type=named_place, required=True, help="what training.prepare wrote: a folder or URL")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="the folder of the run")
    parser.add_argument(
        "--preset",
        choices=sorted({**PRESETS, **FlashLipsConfig.PRESETS}),
        help="default: the stage's own, at full size",
    )
    parser.add_argument("--config", type=Path, metavar="TOML", help="settings that override the preset's")
    parser.add_argument("--mirror", default="", metavar="URL", help="keep a copy of the run there, and resume from it")
    parser.add_argument("--device", default="", help="cpu or cuda; default: a GPU if there is one")


def parse(arguments: Sequence[str] | None) -> tuple[RunConfig, argparse.Namespace]:
    """The settings in a command line, and its other options. Raises `KeySyncError` for invalid settings."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__, allow_abbrev=False)
    parser.add_argument("stage", choices=sorted(map(preset_of, (*ALL_STAGES, *LIPS_STAGES))))
    add_run_options(parser)
    options, rest = parser.parse_known_args(arguments)
    kind: type[RunConfig] = FlashLipsConfig if options.stage in map(preset_of, LIPS_STAGES) else TrainConfig
    config = absolute(load_as(kind, options.preset or options.stage, options.config, overrides_of(rest)))
    if preset_of(config.stage) != options.stage:
        stage = preset_of(config.stage)
        raise KeySyncError(f"the preset is for the {stage} stage, not {options.stage}: choose another --preset")
    return config, options


def main(arguments: Sequence[str] | None = None, parse: Parse = parse) -> int:
    """Runs the command that `parse` reads; returns its exit code."""
    logging.basicConfig(level=logging.INFO, format="training: %(message)s")
    try:
        config, options = parse(arguments)
        done = train(config, options.data, options.out, options.device, options.mirror)
    except KeySyncError as error:
        print(f"training: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("training: stopped; the same command resumes from the last checkpoint", file=sys.stderr)
        return 130
    if done < config.steps:
        print(f"training: stopped after step {done}; the same command resumes", file=sys.stderr)
        return 130
    for line in Quarantine(Run(options.out), config.most_damaged).lines():
        print(f"training: {line}")
    print(f"training: {options.out}: {done} steps done; export it with python -m training.export {options.out} -o FILE")
    return 0


if __name__ == "__main__":
    sys.exit(main())
