"""Training as a whole: one process and two, stopped and gone on, and what breaks on the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors import safe_open
from safetensors.torch import load_file

from keysync.errors import KeySyncError
from keysync.media.reader import VideoReader
from keysync.weights.checkpoint import load_stage
from keysync.weights.describe import describe
from training import export
from training.config.config import TrainConfig, load_config
from training.data.index import read_index
from training.data.store import Folder
from training.loss.loss import Losses, LossModule
from training.run import precision
from training.run.run import Run
from training.run.schedule import learning_rate
from training.run.validation import LEVELS
from training.train import main, train

from ..conftest import ROOT
from .older_data import make_older
from .small_config import small_settings
from .small_data import spoil, write_small_data

# Windows of 5 frames and one level: a step in tens of milliseconds.
SMALL = {
    "window": 5,
    "channel_mult": "1",
    "attention": "true",
    "warmup_steps": 1,
    "sample_every": 0,
    "checkpoint_every": 2,
    "ema_decay": 0.9,
    "steps": 4,
    "rgb_weight": 0.5,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tiny_files: dict[str, Path]) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data") / "small", frames=40, vae=str(tiny_files["vae"]))


@pytest.fixture(autouse=True)
def _new_state() -> Iterator[None]:
    """accelerate keeps the precision of a process's first run."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def config(stage: str, **changes: Any) -> TrainConfig:
    words = {key: str(value).lower() for key, value in {**SMALL, **small_settings(stage), **changes}.items()}
    return load_config(f"tiny-{stage}", None, words)


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in Run(out).logged()]


def weights(out: Path, step: int = 4) -> dict[str, torch.Tensor]:
    """All that a checkpoint holds."""
    folder = Run(out).checkpoint(step)
    files = folder.glob("*.safetensors")
    tensors = {f"{file.name} {name}": tensor for file in files for name, tensor in load_file(file).items()}
    state = torch.load(folder / "optimizer.pt", weights_only=True)["state"]
    return tensors | {f"{name} {key}": value for name, part in state.items() for key, value in part.items()}


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert not [name for name in ours if not torch.equal(ours[name], theirs[name])]


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of both stages that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    for stage in ("keyframe", "interpolation"):
        assert train(config(stage), data, folder / stage) == 4
    return {stage: folder / stage for stage in ("keyframe", "interpolation")}


@pytest.mark.parametrize("stage", ["keyframe", "interpolation"])
def test_a_run_leaves_what_the_library_loads(stage: str, whole: dict[str, Path]) -> None:
    run = Run(whole[stage])
    assert run.steps() == [2, 4]
    assert len(set(losses(whole[stage]))) == 4
    for file in ("stage.safetensors", "ema.safetensors"):
        loaded = load_stage(run.checkpoint(4) / file, expect=stage)
        assert loaded.spec.latent_size == (8, 8)
        with safe_open(run.checkpoint(4) / file, "pt") as opened:
            assert opened.metadata()["keysync.training.steps"] == "4"
    assert describe(run.checkpoint(4) / "stage.safetensors").problem is None
    first, last = (load_file(run.checkpoint(step) / "stage.safetensors") for step in (2, 4))
    moved = [name for name in first if not torch.equal(first[name], last[name])]
    assert len(moved) == len(first)  # trainable "all": none stays


@pytest.mark.parametrize("stage", ["keyframe", "interpolation"])
def test_a_run_in_two_parts_is_the_same_run(stage: str, data: Path, whole: dict[str, Path], tmp_path: Path) -> None:
    assert train(config(stage, steps=2), data, tmp_path) == 2
    assert train(config(stage), data, tmp_path) == 4
    assert losses(tmp_path) == losses(whole[stage])
    assert_same(weights(tmp_path), weights(whole[stage]))


def test_going_on_with_other_data_is_said(
    data: Path, tiny_files: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(config("keyframe", steps=2), data, tmp_path / "run")
    more = write_small_data(tmp_path / "more", frames=40, clips=3, vae=str(tiny_files["vae"]))
    train(config("keyframe", steps=3), data, tmp_path / "run")
    assert "other data" not in caplog.text
    train(config("keyframe", steps=4), more, tmp_path / "run")
    assert f"was trained on other data than {more}" in caplog.text


def command(stage: str, data: Path, out: Path, **changes: Any) -> list[str]:
    settings = {**SMALL, **small_settings(stage), **changes}
    words = [f"--{key.replace('_', '-')}={str(value).lower()}" for key, value in settings.items()]
    return ["training.train", stage, "--preset", f"tiny-{stage}", "--data", str(data), "--out", str(out), *words]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def started(words: list[str], processes: int = 1) -> subprocess.Popen[str]:
    launcher = ["-m"]
    if processes > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    return subprocess.Popen(
        [sys.executable, *launcher, *words],
        cwd=ROOT,
        env=ENVIRONMENT,
        text=True,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def wait_for_lines(out: Path, count: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if (out / "log.jsonl").exists() and len(Run(out).logged()) >= count:
            return
        time.sleep(0.02)
    raise AssertionError(f"no {count} steps in two minutes")


def test_a_killed_run_goes_on_as_if_it_had_not_been(data: Path, whole: dict[str, Path], tmp_path: Path) -> None:
    process = started(command("keyframe", data, tmp_path, steps=1000))
    wait_for_lines(tmp_path, 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    for step in Run(tmp_path).steps()[1:]:  # it may have come further than the comparison goes
        (tmp_path / "checkpoints" / f"step-{step:06d}").rename(tmp_path / f"later-{step}")
    assert train(config("keyframe"), data, tmp_path) == 4
    assert losses(tmp_path) == losses(whole["keyframe"])
    assert_same(weights(tmp_path), weights(whole["keyframe"]))


def test_a_terminated_run_keeps_its_last_step(data: Path, tmp_path: Path) -> None:
    """The signal goes to all processes of the run, its readers of data among them, as from a terminal or torchrun."""
    process = started(command("interpolation", data, tmp_path, steps=1000, checkpoint_every=900, workers=2))
    wait_for_lines(tmp_path, 2)
    os.killpg(process.pid, signal.SIGTERM)
    assert "the same command resumes" in process.communicate()[1]
    assert process.returncode == 130
    assert Run(tmp_path).steps() == [len(losses(tmp_path))]


@pytest.mark.parametrize("distributed", ["ddp", "fsdp"])
@pytest.mark.parametrize("stage", ["keyframe", "interpolation"])
def test_two_processes_train_what_one_does(
    stage: str, distributed: str, data: Path, whole: dict[str, Path], tmp_path: Path
) -> None:
    """One clip each where the one process has two; a run with sharded weights is also ended by one process."""
    sample = 4 if distributed == "fsdp" else 0
    words = command(stage, data, tmp_path, batch_size=1, distributed=distributed, sample_every=sample)
    process = started(words, processes=2)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    assert losses(tmp_path) == pytest.approx(losses(whole[stage]), rel=1e-5)
    ours, theirs = weights(tmp_path), weights(whole[stage])
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-4, msg=name)
    if sample:
        assert (tmp_path / "samples" / "step-000004.png").is_file()
        assert train(config(stage, batch_size=1, steps=5), data, tmp_path) == 5


def test_passes_add_up_to_a_batch(data: Path, whole: dict[str, Path], tmp_path: Path) -> None:
    train(config("keyframe", batch_size=1, accumulate=2), data, tmp_path)
    assert losses(tmp_path) == pytest.approx(losses(whole["keyframe"]), rel=1e-4)


def test_a_run_bends(data: Path, whole: dict[str, Path], tmp_path: Path) -> None:
    """Two processes, one, and two again, at the same batch of all together."""

    def two(steps: int) -> None:
        process = started(command("keyframe", data, tmp_path, batch_size=1, steps=steps), processes=2)
        said = process.communicate()[1]
        assert process.returncode == 0, said

    two(1)
    train(config("keyframe", batch_size=1, accumulate=2, steps=2), data, tmp_path)
    train(config("keyframe", steps=3), data, tmp_path)
    two(4)
    assert losses(tmp_path) == pytest.approx(losses(whole["keyframe"]), rel=1e-4)
    assert [line["clips"] for line in Run(tmp_path).logged()] == [2, 4, 6, 8]
    told = Run(tmp_path).history()
    assert [(line["step"], line["processes"], line["clips_per_step"]) for line in told] == [
        *((0, 2, 2), (1, 1, 2), (2, 1, 2), (3, 2, 2))
    ]
    assert told[1]["changed"] == {"steps": [1, 2], "accumulate": [1, 2]}


def test_clips_are_the_clock_when_the_batch_changes(data: Path, tmp_path: Path) -> None:
    """A batch twice as large: half as many steps, the rest of the clips, and a schedule by clips."""
    settings = {"ema_decay": 0, "warmup_steps": 4, "final_learning_rate": 1e-4}
    train(config("interpolation", steps=2, **settings), data, tmp_path)
    assert train(config("interpolation", batch_size=4, **settings), data, tmp_path) == 4
    lines = Run(tmp_path).logged()
    assert [line["clips"] for line in lines] == [2, 4, 8]
    assert Run(tmp_path).steps() == [2, 3]
    assert lines[2]["learning_rate"] == learning_rate(config("interpolation", **settings), 2)


def test_what_an_error_advises_is_accepted(data: Path, tmp_path: Path) -> None:
    """Settings of learning may change, and what the checkpoint's optimizer holds of them does, too."""
    train(config("keyframe", steps=2), data, tmp_path)
    changes = {"learning_rate": 1e-5, "max_grad_norm": 0.5, "weight_decay": 0.5, "ema_decay": 0.0, "rgb_weight": 0.0}
    assert train(config("keyframe", steps=4, **changes), data, tmp_path) == 4
    state = torch.load(Run(tmp_path).checkpoint(4) / "optimizer.pt", weights_only=True)
    assert {(group["lr"], group["weight_decay"]) for group in state["param_groups"]} == {(1e-5, 0.5)}
    assert not (Run(tmp_path).checkpoint(4) / "ema.safetensors").exists()
    assert train(config("keyframe", steps=5, ema_decay=0.9), data, tmp_path) == 5  # averages begin again
    assert (Run(tmp_path).checkpoint(5) / "ema.safetensors").exists()
    assert Run(tmp_path).history()[1]["changed"].keys() == {"steps", *changes}


@pytest.mark.parametrize("has", [True, False])
def test_halves_on_a_cpu(
    has: bool, data: Path, whole: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a processor that has bfloat16, or is said to have it, and of one without."""
    AcceleratorState._reset_state(reset_partial_state=True)  # that of `whole`
    monkeypatch.setattr(precision, "has_bfloat16", lambda: has)
    train(config("interpolation", precision="bf16", gradient_checkpointing=True), data, tmp_path)
    assert losses(tmp_path) == pytest.approx(losses(whole["interpolation"]), rel=0.05)
    assert (losses(tmp_path) != losses(whole["interpolation"])) == has


def small_card(whole: dict[str, Path], **changes: Any) -> TrainConfig:
    """A LoRA with a loss on pixels, whose decoder stays elsewhere and decodes tiles of half a small crop, with all of
    the crop around them."""
    base = str(Run(whole["keyframe"]).checkpoint(4) / "stage.safetensors")
    settings = {"trainable": "lora", "lora_rank": 2, "learning_rate": 1e-3, "decoder_tile": 32, "offload_decoder": True}
    return replace(config("keyframe", **{**settings, **changes}), start=base)


@pytest.fixture(scope="module")
def tiled(data: Path, whole: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of such a run whose base is held in float32."""
    out = tmp_path_factory.mktemp("tiled")
    assert train(small_card(whole), data, out) == 4
    return losses(out)


def test_tiles_that_see_all_change_no_loss(
    data: Path, whole: dict[str, Path], tiled: list[float], tmp_path: Path
) -> None:
    train(small_card(whole, decoder_tile=0, offload_decoder=False, steps=2), data, tmp_path)
    assert losses(tmp_path) == pytest.approx(tiled[:2], rel=1e-4)


@pytest.mark.parametrize(("frozen", "apart"), [("bf16", 0.02), ("fp8", 0.2)])
def test_a_small_card_s_settings_together(
    frozen: str, apart: float, data: Path, whole: dict[str, Path], tiled: list[float], tmp_path: Path
) -> None:
    """Only the base's precision changes losses; a run in two parts is the same run, and its adapters are float32."""
    for out, steps in (("once", 4), ("twice", 2), ("twice", 4)):
        assert train(small_card(whole, frozen=frozen, steps=steps), data, tmp_path / out) == steps
    assert losses(tmp_path / "twice") == pytest.approx(tiled, rel=apart)
    assert losses(tmp_path / "twice") != tiled
    assert_same(weights(tmp_path / "twice"), weights(tmp_path / "once"))
    first, last = (load_file(Run(tmp_path / "twice").checkpoint(step) / "lora.safetensors") for step in (2, 4))
    assert {tensor.dtype for tensor in last.values()} == {torch.float32}
    assert any(not torch.equal(first[name], last[name]) for name in last)
    assert all(tensor.isfinite().all() for tensor in last.values())
    target = tmp_path / "merged.safetensors"
    assert export.main([str(tmp_path / "twice"), "-o", str(target), "--merge"]) == 0
    merged, base = load_file(target), load_file(small_card(whole).start)
    assert any(not torch.equal(merged[name], base[name]) for name in merged.keys() & base.keys())


def test_adapters_alone_are_trained_and_go_on(
    data: Path, whole: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = Run(whole["keyframe"]).checkpoint(4) / "stage.safetensors"
    settings = {"start": base, "trainable": "lora", "lora_rank": 2}
    for out, steps in (("once", 4), ("twice", 2), ("twice", 4)):
        made = config("keyframe", **settings, steps=steps)
        train(TrainConfig(**{**vars(made), "start": str(base)}), data, tmp_path / out)
    held = sorted(path.name for path in Run(tmp_path / "once").checkpoint(4).iterdir())
    assert held == ["ema.safetensors", "lora.safetensors", "optimizer.pt", "state.json"]
    assert losses(tmp_path / "once") == losses(tmp_path / "twice")
    assert_same(weights(tmp_path / "once"), weights(tmp_path / "twice"))
    last, averaged = (load_file(Run(tmp_path / "once").checkpoint(4) / name) for name in held[1::-1])
    assert last.keys() == averaged.keys()
    assert [name for name in last if name.endswith("lora_B.weight") and not torch.equal(last[name], averaged[name])]
    for words, kind in (([], ", averaged weights"), (["--no-ema"], ""), (["--merge"], ", averaged weights, adapters")):
        assert export.main([str(tmp_path / "once"), "-o", str(tmp_path / "out.safetensors"), *words]) == 0
        assert f"step 4{kind}" in capsys.readouterr().out
    up = [tensor for name, tensor in weights(tmp_path / "once").items() if name.endswith("lora_B.weight")]
    assert up
    assert all(tensor.any() for tensor in up)


def test_samples_and_the_validation_loss(data: Path, tmp_path: Path) -> None:
    train(config("interpolation", sample_every=2, steps=2), data, tmp_path)
    assert (tmp_path / "samples" / "step-000002.png").stat().st_size > 1000
    assert list((tmp_path / "tensorboard").iterdir())
    (line,) = Run(tmp_path).validated()
    assert (line["step"], line["clips"]) == (2, 4)
    assert {name for name in line if name.startswith("loss")} == {"loss", *(f"loss_at_{level:g}" for level in LEVELS)}
    assert Run(tmp_path).best() == 2
    film = VideoReader(tmp_path / "samples" / "step-000002.mp4")
    assert (film.info.width, film.info.height, film.info.has_audio) == (128, 64, True)
    assert sum(1 for _ in film.frames()) == 17  # four windows of five frames that share their ends


def test_without_a_long_validation_clip_others_stand_in_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = write_small_data(tmp_path / "data", frames=40)
    make_older(data, checksums=True)
    index = json.loads((data / "index.json").read_text())
    for shard in index["splits"]["validation"]:
        for sample in shard["samples"]:
            sample["frames"] = 3
    (data / "index.json").write_text(json.dumps(index))
    train(config("keyframe", sample_every=1, steps=1), data, tmp_path / "run")
    assert "validating on training clips instead" in caplog.text
    assert (tmp_path / "run" / "samples" / "step-000001.png").is_file()


def test_a_loss_that_is_no_number_ends_the_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = LossModule.forward

    def forward(self: LossModule, batch: Any, draws: Any) -> Losses:
        found = plain(self, batch, draws)
        return Losses(found.total * (float("nan") if 4 in batch.number else 1), *found[1:])

    monkeypatch.setattr(LossModule, "forward", forward)
    assert main(command("keyframe", data, tmp_path)[1:]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"the loss is nan at step 3 of {tmp_path}" in error
    assert "the checkpoint of step 2 is intact" in error
    assert Run(tmp_path).steps() == [2]


def test_weights_that_are_no_numbers_are_not_saved(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *arguments: Any) -> Any:
        done = plain(self, *arguments)
        self.param_groups[0]["params"][0].data.fill_(float("inf"))
        return done

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    assert main([*command("keyframe", data, tmp_path)[1:], "--checkpoint-every", "1", "--steps", "1"]) == 1
    assert "has values that are not finite after step 1, so the checkpoint was not saved" in capsys.readouterr().err
    assert Run(tmp_path).steps() == []


@pytest.mark.parametrize("damage", ["cut", "bit", "state", "old"])
def test_a_damaged_checkpoint_is_passed_over(
    damage: str, data: Path, whole: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(config("keyframe"), data, tmp_path)
    folder = Run(tmp_path).checkpoint(4)
    file = folder / {"state": "state.json", "bit": "ema.safetensors"}.get(damage, "optimizer.pt")
    held = bytearray(file.read_bytes())
    if damage == "bit":
        held[len(held) // 2] ^= 1
    else:
        held = held[: len(held) // 2]
    file.write_bytes(held)
    if damage == "old":  # a checkpoint without checksums
        about = json.loads((folder / "state.json").read_text())
        (folder / "state.json").write_text(json.dumps({"step": 4, "scaler": None, "data": about["data"]}))
    assert train(config("keyframe"), data, tmp_path) == 4
    assert f"{folder} is damaged" in caplog.text
    assert "resuming from step 2 instead; it is now step-000004.damaged, which you can delete" in caplog.text
    assert losses(tmp_path) == losses(whole["keyframe"])
    assert_same(weights(tmp_path), weights(whole["keyframe"]))
    assert (tmp_path / "checkpoints" / "step-000004.damaged").is_dir()


def test_a_checkpoint_of_the_first_version_goes_on(data: Path, whole: dict[str, Path], tmp_path: Path) -> None:
    train(config("keyframe", steps=2), data, tmp_path)
    (tmp_path / "history.jsonl").unlink()
    state = Run(tmp_path).checkpoint(2) / "state.json"
    about = json.loads(state.read_text())
    state.write_text(json.dumps({"step": 2, "scaler": about["scaler"], "data": about["data"]}))
    assert train(config("keyframe"), data, tmp_path) == 4
    assert losses(tmp_path) == losses(whole["keyframe"])


def test_nothing_is_written_before_all_has_loaded(data: Path, tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match="gone"):
        train(config("keyframe", start=tmp_path / "gone.safetensors"), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_not_shared_is_refused(data: Path, tmp_path: Path) -> None:
    """Two processes with a folder of their own each, as on two machines that share nothing."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    running = []
    for rank in ("0", "1"):
        words = command("keyframe", data, tmp_path / rank, batch_size=1)
        program = (
            "import training.run.together as t; t.SECONDS = 0.5; "
            f"from training.train import main; raise SystemExit(main({words[1:]!r}))"
        )
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", program],
                cwd=ROOT,
                env={**ENVIRONMENT, **place},
                text=True,
                stderr=subprocess.PIPE,
            )
        )
    for process in running:
        assert "does not see the folder" in process.communicate()[1]
        assert process.returncode == 1
    assert not list(tmp_path.rglob("*.jsonl"))
    assert not list(tmp_path.rglob(".shared*"))


def test_a_damaged_checkpoint_is_named(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(config("keyframe", steps=2), data, tmp_path)
    folder = Run(tmp_path).checkpoint(2)
    for name in ("optimizer.pt", "stage.safetensors"):
        (folder / name).write_bytes(b"")
        assert main(command("keyframe", data, tmp_path)[1:]) == 1
        assert f"{folder} is damaged" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="file sizes cannot be limited here")
def test_a_full_disk_loses_nothing(data: Path, tmp_path: Path) -> None:
    """torch reports a full disk as an error of its own: here a file that may not grow."""
    train(config("keyframe", steps=2), data, tmp_path)
    largest = Run(tmp_path).checkpoint(2) / "optimizer.pt"
    assert largest.stat().st_size > (Run(tmp_path).checkpoint(2) / "stage.safetensors").stat().st_size
    limit = largest.stat().st_size - 100_000
    words = command("keyframe", data, tmp_path)
    small = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    )
    program = f"{small}; from training.train import main; raise SystemExit(main({words[1:]!r}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=ENVIRONMENT, text=True, capture_output=True)
    assert done.returncode == 1, done.stderr
    error = done.stderr.splitlines()[-1]
    assert "optimizer.pt" in error
    assert "free some disk space" in error
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000002"]


def test_another_run_in_the_folder_is_an_error(data: Path, whole: dict[str, Path]) -> None:
    with pytest.raises(KeySyncError, match="holds a run with seed 0, not 3: resume it with 0"):
        train(config("keyframe", seed=3), data, whole["keyframe"])


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--learning-rat", "1"], "did you mean learning_rate?"),
        (["--preset", "tiny-interpolation"], "the preset is for the interpolation stage, not keyframe"),
        (["--precision", "fp16", "--distributed", "fsdp"], "choose bf16"),
        (["--device", "cuda:77"], "is not available"),
        (["--precision", "fp16"], "precision fp16 needs a GPU"),
        ([], "has crops of 64x64 but resolution is 128"),
        (["--speech-encoder", "wavlm", "--mask", "beard"], "mask"),
    ],
)
def test_settings_that_make_no_sense(
    words: list[str], wanted: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = [] if "--preset" in words else ["--preset", "tiny-keyframe"]
    assert main(["keyframe", "--data", str(data), "--out", str(tmp_path), *preset, *words]) == 1
    assert wanted in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_lip_sync_loss_of_one_s_own(data: Path, whole: dict[str, Path], tmp_path: Path) -> None:
    name = "tests.training.loss.test_lipsync:openings_and_loudness"
    train(config("interpolation", steps=2, sync_loss=name, sync_weight=2), data, tmp_path)
    for ours, theirs in zip(Run(tmp_path).logged()[:1], Run(whole["interpolation"]).logged()[:1], strict=True):
        assert ours["latent"] == theirs["latent"]
        assert ours["sync"] > 0
        assert ours["loss"] == pytest.approx(theirs["loss"] + 2 * ours["sync"], rel=1e-5)


def test_damaged_clips_end_in_a_table(
    tiny_files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shard whose numbers are not finite, and a clip with a wrong bit, among four."""
    data = write_small_data(tmp_path / "data", frames=40, clips=5, shard_bytes=1, vae=str(tiny_files["vae"]))
    spoilt, bad = spoil(data, 0), read_index(Folder(data)).splits["train"][2]
    content = bytearray((data / bad.shard).read_bytes())
    content[sum(bad.members["landmarks.npy"]) - 1] ^= 1
    (data / bad.shard).write_bytes(content)
    words = command("interpolation", data, tmp_path / "run", max_failures=2, workers=1)[1:]
    assert main(words) == 0
    table = capsys.readouterr().out
    assert "2 damaged clips were left out:" in table
    assert f"{spoilt.shard}  {spoilt.key}: " in table
    assert f"{bad.key}.landmarks.npy is damaged, its checksum differs" in table
    assert {row["clip"] for row in Run(tmp_path / "run").quarantined()} == {spoilt.key, bad.key}
    assert all(loss == loss for loss in losses(tmp_path / "run"))
    assert main([*words, "--max-failures", "1", "--steps", "5"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "2 clips are damaged, 1 may be (max_failures): " in error


def test_the_log_is_json(whole: dict[str, Path]) -> None:
    lines = [json.loads(line) for line in (whole["keyframe"] / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[0].keys() == {
        *(
            "step",
            "clips",
            "loss",
            "latent",
            "pixel",
            "sync",
            "gradient_norm",
            "learning_rate",
            "clips_per_second",
            "memory_gib",
        )
    }
    assert all(line["gradient_norm"] > 0 and line["clips_per_second"] > 0 for line in lines)
    assert 0.01 < lines[0]["memory_gib"] < 100
