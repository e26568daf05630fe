"""A LoRA run inside a host program: it learns, resumes, stops, and leaves a file; and the frozen weights' precision."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from keysync.errors import KeySyncError, install_line
from keysync.weights.checkpoint import load_stage
from training.config.config import BF16, FP8, FP32, FROZEN, TrainConfig
from training.run.lora_run import ADAMW, ADAMW_8_BIT, LoraRun

from ...tiny_models import AUDIO_CHANNELS
from ..small_config import small_config
from ..small_data import write_small_data

STEPS = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data") / "data", channels=AUDIO_CHANNELS)


def settings(tiny_files: dict[str, Path], stage: str = "interpolation", **changes: Any) -> TrainConfig:
    config = small_config(stage, trainable="lora", start=str(tiny_files[stage]), lora_rank=2, lora_alpha=2.0)
    return replace(config, rgb_weight=0.0, warmup_steps=0, steps=STEPS, learning_rate=1e-2, **changes)


def opened(config: TrainConfig, data: Path, folder: Path, **changes: Any) -> LoraRun:
    return LoraRun(config, data, folder, **{"frozen": FP32, "optimizer": ADAMW, **changes})


def watch(done: int, loss: float) -> None:
    """Nobody looks."""


@pytest.mark.parametrize("stage", ["keyframe", "interpolation"])
def test_it_overfits_a_window(stage: str, tiny_files: dict[str, Path], data: Path, tmp_path: Path) -> None:
    run = opened(settings(tiny_files, stage, gradient_checkpointing=True), data, tmp_path / "run")
    run.config = replace(run.config, steps=30)
    run.windows = [run.windows[0]] * 60  # type: ignore[assignment] # all that it asks of them
    run.train(None, watch)
    losses = run.losses()
    assert len(losses) == 30
    assert losses[-1] < 0.9 * losses[0]


def test_a_stopped_run_goes_on_as_if_it_had_not(tiny_files: dict[str, Path], data: Path, tmp_path: Path) -> None:
    whole = opened(settings(tiny_files), data, tmp_path / "whole")
    whole.train(None, watch)

    class Stopped(Exception):
        pass

    def stop(done: int, loss: float) -> None:
        if done == 2:
            raise Stopped

    first = opened(settings(tiny_files), data, tmp_path / "parts")
    with pytest.raises(Stopped):
        first.train(None, stop)
    second = opened(settings(tiny_files), data, tmp_path / "parts")
    assert second.done == 2
    second.train(None, watch)
    assert second.losses() == whole.losses()
    for run in (whole, second):
        run.write(tmp_path / f"{run.run.folder.name}.safetensors")
    ours, theirs = (load_file(tmp_path / f"{name}.safetensors") for name in ("parts", "whole"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_it_stops_within_a_step(tiny_files: dict[str, Path], data: Path, tmp_path: Path) -> None:
    calls = 0

    def alive() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt

    run = opened(settings(tiny_files), data, tmp_path / "run", alive=alive)
    with pytest.raises(KeyboardInterrupt):
        run.train(None, watch)
    assert (run.done, run.run.steps()) == (0, [])


@pytest.mark.parametrize("frozen", FROZEN)
def test_the_frozen_weights_stay_and_the_adapters_are_float32(
    frozen: str, tiny_files: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    run = opened(settings(tiny_files, gradient_checkpointing=True), data, tmp_path / "run", frozen=frozen)
    kept = {name: part.clone() for name, part in run.stage.state_dict().items() if ".lora_" not in name}
    run.train(None, watch)
    state = run.stage.state_dict()
    assert all(torch.equal(state[name].float(), part.float()) for name, part in kept.items())
    assert {part.dtype for name, part in state.items() if ".lora_" in name} == {torch.float32}
    large = {
        part.dtype for name, part in kept.items() if part.ndim > 1 and name.startswith("unet.") and "weight" in name
    }
    assert large == {{FP32: torch.float32, BF16: torch.bfloat16, FP8: torch.float8_e4m3fn}[frozen]}
    comparison = run.compare()
    assert comparison.before != comparison.after
    assert all(part.isfinite().all() for part in run.preview())


def test_the_preview_s_before_is_the_stage_itself(tiny_files: dict[str, Path], data: Path, tmp_path: Path) -> None:
    run = opened(settings(tiny_files), data, tmp_path / "run")
    run.train(None, watch)
    preview = run.preview()
    run.stage = load_stage(tiny_files["interpolation"], dtype=torch.float32)
    torch.testing.assert_close(run.preview().after, preview.before, rtol=1e-4, atol=1e-4)
    assert (preview.after - preview.before).abs().max() > 1e-3


def test_another_optimizer_or_setting_is_another_run(tiny_files: dict[str, Path], data: Path, tmp_path: Path) -> None:
    opened(settings(tiny_files), data, tmp_path / "run")
    (tmp_path / "run" / "optimizer.txt").write_text("another")
    with pytest.raises(KeySyncError, match="holds a run with the optimizer another, not AdamW"):
        opened(settings(tiny_files), data, tmp_path / "run")
    with pytest.raises(KeySyncError, match="holds a run with seed 0, not 5"):
        opened(settings(tiny_files, seed=5), data, tmp_path / "run")


def test_without_bitsandbytes(
    tiny_files: dict[str, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(KeySyncError, match=re.escape(install_line("bitsandbytes"))):
        opened(settings(tiny_files), data, tmp_path / "run", optimizer=ADAMW_8_BIT)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_keeps_the_steps_before(
    tiny_files: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    run = opened(settings(tiny_files), data, tmp_path / "run")

    def spoil(done: int, loss: float) -> None:
        if done == 2:
            run.windows = [replace(run.windows[0], latents=run.windows[0].latents * torch.nan)] * 99  # type: ignore[assignment]

    with pytest.raises(KeySyncError, match="the loss is nan after step 2; the steps before it are saved: lower"):
        run.train(None, spoil)
    assert run.run.steps() == [2]


def test_a_device_without_8_bits(tiny_files: dict[str, Path], data: Path, tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match=r"PyTorch cannot hold weights in 8 bits on nowhere \(.*\): choose bf16"):
        opened(settings(tiny_files), data, tmp_path / "run", frozen=FP8, device="nowhere")
