"""The bench for a GPU at toy size on the CPU: every row is there, and one that cannot be measured says why."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
import torch

from keysync.systems.keysync.presets import PRESETS
from tests.bench.gpu import compiled, networks
from tests.bench.gpu.bench import Run, run
from tests.bench.gpu.cards import peak
from tests.bench.gpu.compiled import Compiler, Job
from tests.bench.gpu.counts import evaluation_operations, per_frame, table
from tests.bench.gpu.machine import Machine
from tests.bench.gpu.networks import BY_COST, Bench, Evaluation, largest_group, relative_error
from tests.bench.gpu.precisions import PRECISIONS, REFERENCE, Precision
from tests.bench.gpu.sheet import FAILED, MEASURED, NOT_RUN, Column, FailedError, NotRunError, Sheet
from tests.bench.gpu.sizes import FULL, INTERPOLATION, KEYFRAME, TOY, make_stage

from ..conftest import ROOT

FP8 = PRECISIONS[-1]
# Rows of a section, by how its title begins.
ROWS = {
    "U-Net": [
        *(f"{stage}, {precision.name}" for precision in PRECISIONS for stage in (KEYFRAME, INTERPOLATION)),
        *(f"{INTERPOLATION}, {name}, largest group" for name in ("fp16", "bf16", "fp8 weights", "fp32")),
    ],
    "windows sampled": [f"{preset}, {how}" for how in ("one window", "fastest group") for preset in BY_COST],
    "VAE": ["encode, fp32", "decode, fp32", "encode, fp16", "decode, fp16"],
    "face finder": ["each frame by itself", "followed", "all frames in one batch"],
    "whole dubs": list(BY_COST),
    "interpolation under torch.compile": ["fp32, one window", "fp32, largest group"],
}
# What a machine with torch, transformers and the library's own needs may lack.
MISSING = ("diffusers", "accelerate", "peft", "webdataset", "scenedetect", "cv2", "tensorboard", "huggingface_hub.cli")


@pytest.fixture
def sheet() -> Sheet:
    made = Sheet(Machine.here(), minutes=3)
    made.section("section", (Column("value", "value"),))
    return made


def test_every_row_is_measured_at_toy_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = run(minutes=30, toy=True, path=tmp_path / "speed.json")
    assert [(row.name, row.reason) for row in sheet.rows if row.state != MEASURED] == []
    for title, names in ROWS.items():
        assert [row.name for row in sheet.rows if row.section.startswith(title)] == names, title
    assert len(sheet.rows) == sum(map(len, ROWS.values()))
    for row in sheet.rows:
        assert all(value is None or math.isfinite(value) for value in row.figures.values()), row
        speed = row.figures[
            "evaluations_per_second" if "evaluations_per_second" in row.figures else "frames_per_second"
        ]
        assert speed is not None
        assert speed > 0
    errors = {row.name: row.figures["error"] for row in sheet.rows if row.section.startswith("U-Net")}
    assert errors[f"{INTERPOLATION}, fp32"] is None  # the others are compared with it
    assert 0 < (errors[f"{INTERPOLATION}, fp16"] or 0) < 0.02
    assert 0 < (errors[f"{INTERPOLATION}, fp8 weights"] or 0) < 0.5
    written = json.loads((tmp_path / "speed.json").read_text())
    assert [row["name"] for row in written["rows"]] == [row.name for row in sheet.rows]
    assert written["machine"]["torch"] == torch.__version__
    assert "toy size" in written["sizes"]
    assert "say nothing about speed" in capsys.readouterr().out


def test_a_row_that_fails_says_so_and_the_next_is_measured(sheet: Sheet, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(error: Exception) -> dict[str, float | None]:
        raise error

    sheet.row("memory", lambda: fails(torch.OutOfMemoryError("CUDA out of memory.\nTried")))
    sheet.row("precision", lambda: fails(NotRunError("not on this card")))
    sheet.row("compiler", lambda: fails(FailedError("no compiler")))
    assert sheet.row("long", lambda: {"value": 1.0}, expected=999) is None
    assert sheet.row("good", lambda: {"value": 2.0}) == {"value": 2.0}
    assert [row.state for row in sheet.rows] == [FAILED, NOT_RUN, FAILED, NOT_RUN, MEASURED]
    shown = capsys.readouterr().out
    for line in (
        "| memory | failed: OutOfMemoryError: CUDA out of memory. |",
        "| precision | not run: not on this card |",
        "| long | not run: 180 s are left, it takes about 999 s |",
        "| good | 2.0 |",
    ):
        assert line in shown


def test_no_row_begins_after_the_time() -> None:
    times = iter([0.0, 61.0, 61.0, 61.0])
    sheet = Sheet(Machine.here(), minutes=1, clock=lambda: next(times))
    assert sheet.row("late", lambda: {"value": 1.0}) is None
    assert (sheet.rows[0].state, sheet.rows[0].reason) == (NOT_RUN, "0 s are left")


def test_without_diffusers_the_dubs_still_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    sheet = Sheet(Machine.here(), minutes=3)
    bench = Run(sheet, TOY)
    assert bench.vae(tmp_path) is None
    assert {row.reason for row in sheet.rows} == {"the VAE needs diffusers: pip install diffusers"}
    bench.dubs(None, tmp_path)
    assert [row.state for row in sheet.rows[-len(PRESETS) :]] == [MEASURED] * len(PRESETS)
    assert "pooling in place of the VAE" in sheet.rows[-1].section


def test_it_needs_no_package_of_training() -> None:
    blocked = f"import sys; sys.modules.update(dict.fromkeys({MISSING!r}))"
    code = f"{blocked}; import tests.bench.__main__, tests.bench.gpu.bench"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_compilation_that_takes_too_long_is_ended() -> None:
    with Compiler(TOY, [Job(REFERENCE, (1, 2))], None, left=lambda: 0.0) as compiler:
        for _ in range(2):
            with pytest.raises(NotRunError, match="did not end within the 0 s that were left"):
                compiler.next()


def test_a_missing_compiler_is_told() -> None:
    receiver, sender = Pipe(duplex=False)
    compiled.work(sender, replace(TOY, backend="missing"), [Job(REFERENCE, (1,))], None)
    result = receiver.recv()
    assert isinstance(result, FailedError)
    assert "missing" in str(result)


def test_a_precision_that_the_device_lacks_is_told() -> None:
    with pytest.raises(NotRunError, match="not on this card: "):
        Precision("int", torch.int8, eight_bits=True).check("meta")
    for precision in PRECISIONS:
        precision.check("cpu")


def test_weights_in_eight_bits_are_half_as_large_and_near() -> None:
    spec = TOY.specs[KEYFRAME]
    whole, stored = (make_stage(spec, precision, "cpu") for precision in (PRECISIONS[1], FP8))
    sizes = [sum(parameter.nbytes for parameter in stage.parameters()) for stage in (whole, stored)]
    assert 0.5 < sizes[1] / sizes[0] < 0.55
    assert stored.audio_projection.weight.dtype == torch.float16
    assert relative_error(stored.audio_projection.weight.float(), whole.audio_projection.weight.float()) < 0.04
    assert Evaluation(stored, 1)().isfinite().all()


def test_the_same_window_gives_the_same_in_any_group() -> None:
    stage = make_stage(TOY.specs[INTERPOLATION], REFERENCE, "cpu")
    assert relative_error(Evaluation(stage, 3)()[:1], Evaluation(stage, 1)()) < 1e-5


def test_what_is_not_finite_is_an_error() -> None:
    with pytest.raises(ArithmeticError, match="not finite"):
        relative_error(torch.tensor([math.nan]), torch.ones(1))


@pytest.mark.parametrize(
    ("free", "group"), [(1000, 8), (10_000, 13), (120, 1)], ids=["some fit", "no more than are used", "one"]
)
def test_the_largest_group_is_expected_from_the_memory_of_one(free: int, group: int) -> None:
    class Card(Machine):
        def free_bytes(self) -> int:
            return free

    bench = Bench(Card(**Machine.here().to_dict()), FULL)
    assert largest_group(bench, {"peak_bytes": 200.0, "weight_bytes": 100.0}) == group


def test_half_as_many_windows_are_tried_where_a_group_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def measure(bench: Any, stage: Any, precision: Any, group: int, reference: Any) -> tuple[dict[str, float], None]:
        tried.append(group)
        if group > 3:
            raise torch.OutOfMemoryError
        return {"group": group}, None

    monkeypatch.setattr(networks, "measure_stage", measure)
    bench, spec = Bench(Machine.here(), TOY), TOY.specs[INTERPOLATION]
    assert networks.measure_largest(bench, spec, REFERENCE, 13, None) == {"group": 3}
    assert tried == [13, 6, 3]


def test_a_frame_costs_its_windows_and_its_share_of_the_keyframes() -> None:
    assert per_frame("exact", FULL, 0.0, 1.0) == pytest.approx(33 / 13)
    assert per_frame("fast", FULL, 1.0, 0.0) == pytest.approx(6 / 13 / 13)


def test_the_document_says_what_is_counted() -> None:
    document = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    assert table(FULL) in document
    assert {f"{evaluation_operations(spec) / 1e12:.2f} TFLOP" for spec in FULL.specs.values()} == {"17.74 TFLOP"}
    assert "17.74 TFLOP" in document


@pytest.mark.parametrize(
    ("name", "half", "bfloat16"),
    [
        ("NVIDIA H200", 989e12, 989e12),
        ("NVIDIA H100 80GB HBM3", 989e12, 989e12),
        ("NVIDIA H100 PCIe", 756e12, 756e12),
        ("NVIDIA A100-SXM4-40GB", 312e12, 312e12),
        ("NVIDIA L4", 121e12, 121e12),
        ("NVIDIA L40S", 362e12, 362e12),
        ("Tesla T4", 65e12, None),
        ("NVIDIA GeForce RTX 4090", 165.2e12, 165.2e12),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None, None),
        ("NVIDIA H200 MIG 1g.18gb", None, None),
        ("an unknown card", None, None),
    ],
)
def test_peaks_of_cards(name: str, half: float | None, bfloat16: float | None) -> None:
    assert peak(name, torch.float16) == half
    assert peak(name, torch.bfloat16) == bfloat16
