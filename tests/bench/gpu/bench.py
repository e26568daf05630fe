"""What a GPU gives: the networks in each precision, the VAE, the face finder, whole dubs, and torch.compile.

Every row is measured by itself: where one fails, does not fit into memory or into the time that is left, it says so and
the next follows. Without CUDA all of it runs at toy size, which shows that it works and nothing else.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from keysync.method import NETWORK_RATE
from keysync.systems.keysync.presets import PRESETS
from keysync.vae.vae import VAE, load_vae

from .compiled import Compiler, Job
from .counts import TERA, evaluation_operations, evaluations, table
from .dubs import STAGES, DubBench, StandIn
from .machine import Machine
from .networks import (
    BY_COST,
    FEWEST,
    Bench,
    frames_per_second,
    largest_group,
    measure_alone,
    measure_largest,
    measure_sampling,
)
from .pictures import DECODE, ENCODE, WAYS, VAEBench, frames_of_demo, measure_faces
from .precisions import PRECISIONS, REFERENCE, Precision
from .sheet import FAILED, MEASURED, NOT_RUN, Column, Figures, NotRunError, Sheet
from .sizes import FULL, INTERPOLATION, KEYFRAME, TOY, Sizes, make_encoders, write_vae

MINUTES = 3.0
# Evaluations of a row for a large group at least: the output that is compared, one to warm up, one that is timed.
CALLS = 3
# The slowest last.
BY_SPEED = (*PRECISIONS[1:], REFERENCE)

GROUP = Column("group", "windows in a call", "{:.0f}")
EVALUATIONS = Column("evaluations_per_second", "evaluations/s", "{:.2f}")
FRAMES = Column("frames_per_second", "frames/s", "{:.2f}")
MEMORY = Column("peak_bytes", "peak memory, GiB", "{:.2f}", unit=2**30)
SPEED = (Column("tflops", "TFLOP/s", "{:.3g}"), Column("share_of_peak", "of the card's peak", "{:.0%}"))
ERROR = Column("error", "error against fp32", "{:.1e}")
BY_PRESET = tuple(Column(preset, f"{preset}, frames/s", "{:.2f}") for preset in PRESETS)
NETWORK = (GROUP, EVALUATIONS, *BY_PRESET, *SPEED, MEMORY, ERROR)
COMPILED = (*NETWORK, Column("compile_seconds", "first call, s"))
SAMPLED = (GROUP, Column("evaluations", "evaluations", "{:.0f}"), EVALUATIONS, FRAMES)
PICTURES = (FRAMES, *SPEED, MEMORY, ERROR)
FACES = (FRAMES, MEMORY)
DUB = (
    FRAMES,
    Column("seconds", "seconds", "{:.2f}"),
    *(Column(stage, f"{stage}, s", "{:.2f}") for stage in STAGES),
    Column("network_share", "networks busy", "{:.0%}"),
    MEMORY,
)


class Run:
    """One run of the bench: its sections in order, and what the rows so far found."""

    def __init__(self, sheet: Sheet, sizes: Sizes) -> None:
        self._sheet, self._sizes = sheet, sizes
        self._bench = Bench(sheet.machine, sizes)
        # Figures of each stage for one window by (stage, precision), and of interpolation's largest group.
        self._alone: dict[tuple[str, str], Figures] = {}
        self._largest: dict[str, Figures] = {}
        # What each stage gave in float32.
        self._references: dict[str, Tensor] = {}

    def networks(self) -> None:
        self._sheet.section("U-Net, one evaluation after another", NETWORK)
        for precision in PRECISIONS:
            for name in (KEYFRAME, INTERPOLATION):
                self._sheet.row(f"{name}, {precision.name}", partial(self._one_window, name, precision))
        for precision in BY_SPEED:
            expected = CALLS * self._sizes.most_group * self._seconds(precision)
            work = partial(self._largest_group, precision)
            self._sheet.row(f"{INTERPOLATION}, {precision.name}, largest group", work, expected)

    def sampling(self) -> None:
        title = f"windows sampled by each preset in {self._sizes.usual.name}, with the keyframes that their frames need"
        self._sheet.section(title, SAMPLED)
        fewest = evaluations(FEWEST, self._sizes.specs[INTERPOLATION])
        for name, group in (("one window", 1), ("fastest group", self._best_group())):
            for preset in BY_COST:
                count = evaluations(preset, self._sizes.specs[INTERPOLATION]) + fewest
                expected = count * (group + 1) * self._seconds(self._sizes.usual)
                self._sheet.row(f"{preset}, {name}", partial(measure_sampling, self._bench, preset, group), expected)

    def vae(self, folder: Path) -> VAE | None:
        """Measures the VAE; returns it, or None where there is none."""
        self._sheet.section("VAE", PICTURES)
        made: list[VAEBench] = []

        def measure(way: str, dtype: torch.dtype) -> Figures:
            if not made:
                made.append(self._vae_bench(folder))
            return made[0].measure(way, dtype)

        for name, dtype in (("fp32", torch.float32), ("fp16", torch.float16)):
            for way in (ENCODE, DECODE):
                self._sheet.row(f"{way}, {name}", partial(measure, way, dtype))
        return made[0].vae if made else None

    def faces(self) -> None:
        frames = frames_of_demo(self._sizes.faces)
        height, width = frames[0].shape[:2]
        self._sheet.section(f"face finder, {len(frames)} frames of {width}x{height}", FACES)
        for way in WAYS:
            self._sheet.row(way, partial(measure_faces, self._sheet.machine, self._sizes, way, frames))

    def dubs(self, vae: VAE | None, folder: Path) -> None:
        group = self._best_group()
        stands = "" if vae else ", pooling in place of the VAE"
        what = f"{self._sizes.seconds:g} s in {self._sizes.usual.name}, windows in a call: {group}{stands}"
        self._sheet.section(f"whole dubs of {what}", DUB)
        made: list[DubBench] = []

        def measure(preset: str) -> Figures:
            machine = self._sheet.machine
            if not made:
                encoders = make_encoders(folder, self._sizes, machine.device)
                made.append(DubBench(machine, self._sizes, vae or StandIn(), encoders, folder))
            return made[0].measure(preset, group)

        frames = self._sizes.seconds * NETWORK_RATE
        for preset in BY_COST:
            spec = self._sizes.specs[INTERPOLATION]
            windows = 2 + frames / (spec.window - 1)
            expected = windows * evaluations(preset, spec) * self._seconds(self._sizes.usual)
            self._sheet.row(preset, partial(measure, preset), expected)

    def compiled(self) -> None:
        traced = "" if self._sizes.backend == "inductor" else f", traced only: the back end is {self._sizes.backend}"
        self._sheet.section(f"{INTERPOLATION} under torch.compile{traced}", COMPILED)
        jobs = [Job(precision, (1, self._group(precision))) for precision in self._sizes.compiled]
        reference = self._references.get(INTERPOLATION)
        self._sheet.machine.release()
        with Compiler(self._sizes, jobs, reference, lambda: self._sheet.left) as compiler:
            for job in jobs:
                for name in ("one window", "largest group"):
                    work = partial(self._compiled, job.precision, compiler)
                    self._sheet.row(f"{job.precision.name}, {name}", work)

    def _one_window(self, name: str, precision: Precision) -> Figures:
        reference = self._references.get(name)
        figures, output = measure_alone(self._bench, self._sizes.specs[name], precision, reference)
        if precision == REFERENCE:
            self._references[name] = output
        self._alone[name, precision.name] = figures
        return self._with_presets(precision, figures) if name == INTERPOLATION else figures

    def _largest_group(self, precision: Precision) -> Figures:
        alone = self._alone.get((INTERPOLATION, precision.name))
        if alone is None:
            raise NotRunError("there is no measurement for one window")
        group = largest_group(self._bench, alone)
        spec, reference = self._sizes.specs[INTERPOLATION], self._references.get(INTERPOLATION)
        self._largest[precision.name] = measure_largest(self._bench, spec, precision, group, reference)
        return self._with_presets(precision, self._largest[precision.name])

    def _compiled(self, precision: Precision, compiler: Compiler) -> Figures:
        return self._with_presets(precision, compiler.next())

    def _vae_bench(self, folder: Path) -> VAEBench:
        try:
            file = write_vae(folder, self._sizes)
        except ImportError as error:
            raise NotRunError("the VAE needs diffusers: pip install diffusers") from error
        machine = self._sheet.machine
        return VAEBench(machine, load_vae(file, machine.device), self._sizes)

    def _with_presets(self, precision: Precision, figures: Figures) -> Figures:
        """The figures with the frames per second of each preset, where those of keyframes are known."""
        keyframe = self._alone.get((KEYFRAME, precision.name))
        return figures if keyframe is None else {**figures, **frames_per_second(self._sizes, keyframe, figures)}

    def _seconds(self, precision: Precision) -> float:
        """About how long an evaluation for one window takes; 0 where none was measured."""
        return float(self._alone.get((INTERPOLATION, precision.name), {}).get("seconds") or 0.0)

    def _group(self, precision: Precision) -> int:
        """The largest group that was measured in this precision, 1 without any."""
        return int(self._largest.get(precision.name, {}).get("group") or 1)

    def _best_group(self) -> int:
        """How many windows to put into a call in the usual precision."""
        found = (self._alone.get((INTERPOLATION, self._sizes.usual.name)), self._largest.get(self._sizes.usual.name))
        ranked = sorted((float(one["evaluations_per_second"] or 0), int(one["group"] or 1)) for one in found if one)
        return ranked[-1][1] if ranked else 1


def run(minutes: float = MINUTES, toy: bool = False, path: Path | None = None) -> Sheet:
    """Measures all, prints the tables and writes the JSON to `path`; without CUDA at toy size."""
    machine = Machine.here()
    sizes = TOY if toy or machine.device == "cpu" else FULL
    sheet = Sheet(machine, minutes, path)
    show_heading(sheet, sizes, asked=toy)
    bench = Run(sheet, sizes)
    with tempfile.TemporaryDirectory() as folder:
        bench.networks()
        bench.sampling()
        vae = bench.vae(Path(folder))
        bench.faces()
        bench.dubs(vae, Path(folder))
        del vae
    bench.compiled()
    counts = ", ".join(f"{sheet.count(state)} {state}" for state in (MEASURED, FAILED, NOT_RUN))
    print(f"\nrows: {counts}; {sheet.spent:.0f} s of {60 * minutes:.0f} s")
    sheet.write()
    return sheet


def show_heading(sheet: Sheet, sizes: Sizes, asked: bool) -> None:
    machine = sheet.machine
    height, width = sizes.picture
    said = f"{sizes.name}, {width}x{height} pixels, random weights"
    if sizes is TOY:
        why = "as asked" if asked else "there is no CUDA device"
        said += f" ({why}): the figures show that the bench works, and say nothing about speed"
    print(f"{machine.card}, driver {machine.driver}, CUDA {machine.cuda}, torch {machine.torch}, {machine.date}")
    print(said)
    print("\noperations of the networks, counted\n")
    print(table(sizes))
    sheet.facts |= {
        "sizes": said,
        "tflop_per_evaluation": {name: evaluation_operations(spec) / TERA for name, spec in sizes.specs.items()},
    }
