"""Distillation as a whole: guidance, then steps, from a file to a file that says what it is; stopped and resumed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors import safe_open

import training.small
from keysync.systems.keysync.sampling import Sampling
from keysync.systems.keysync.small import SMALL
from keysync.weights.checkpoint import load_stage
from keysync.weights.describe import describe
from training import export
from training.distill import main, parse
from training.run.run import Run
from training.weights.initial_weights import trained_spec

from .small_data import write_small_data
from .test_train import assert_same, losses, started, weights

# All that a full-size preset leaves unsuited to a test.
QUICK = {
    "preset": "tiny-keyframe",
    "steps": 4,
    "checkpoint_every": 2,
    "sample_every": 0,
    "warmup_steps": 1,
    "ema_decay": 0.9,
    "batch_size": 1,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tiny_files: dict[str, Path]) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data") / "small", vae=str(tiny_files["vae"]))


@pytest.fixture(autouse=True)
def _new_state() -> Iterator[None]:
    """accelerate keeps the precision of a process's first run."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def command(what: str, teacher: Path, data: Path, out: Path, **changes: object) -> list[str]:
    settings = {**QUICK, **changes}
    words = [f"--{key.replace('_', '-')}={str(value).lower()}" for key, value in settings.items()]
    return [what, str(teacher), "--data", str(data), "--out", str(out), *words]


def test_guidance_then_steps(
    data: Path, tiny_files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guided, fast = tmp_path / "guided.safetensors", tmp_path / "fast.safetensors"
    first = command("guidance", tiny_files["keyframe"], data, tmp_path / "G", sample_every=4)
    assert main(first) == 0, capsys.readouterr().err
    assert export.main([str(tmp_path / "G"), "-o", str(guided)]) == 0
    before, spec = load_stage(tiny_files["keyframe"]).spec, load_stage(guided).spec
    baked = replace(before, guidance_baked=True, audio_guidance=1.0, identity_guidance=1.0)
    assert spec == baked
    with safe_open(guided, "pt") as file:
        assert '"audio_guidance": 5.0, "identity_guidance": 2.0' in file.metadata()["keysync.training.config"]
    assert (tmp_path / "G" / "samples" / "step-000004.png").is_file()

    second = command("steps", guided, data, tmp_path / "S", levels="700,3", teacher_steps=2, distill_from="trajectory")
    assert main(second) == 0, capsys.readouterr().err
    assert export.main([str(tmp_path / "S"), "-o", str(fast)]) == 0
    stage = load_stage(fast)
    assert stage.spec == replace(baked, levels=(700.0, 3.0))
    assert describe(fast).problem is None
    assert Sampling().network_evaluations(stage.spec) == 2
    again = command("guidance", fast, data, tmp_path / "A")
    assert main(again) == 1
    assert "is distilled with its guidance already" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["guidance", "steps"])
def test_a_run_in_two_parts_is_the_same_run(what: str, data: Path, tiny_files: dict[str, Path], tmp_path: Path) -> None:
    levels = {"levels": "700,3", "teacher_steps": 2} if what == "steps" else {}
    for out, steps in (("once", 4), ("twice", 2), ("twice", 4)):
        words = command(what, tiny_files["keyframe"], data, tmp_path / out, steps=steps, **levels)
        assert main(words) == 0
    assert len(losses(tmp_path / "once")) == 4
    assert losses(tmp_path / "once") == losses(tmp_path / "twice")
    assert_same(weights(tmp_path / "once"), weights(tmp_path / "twice"))


@pytest.mark.parametrize("trainable", ["all", "lora"])
def test_two_processes_with_shards_learn_what_one_does(
    trainable: str, data: Path, tiny_files: dict[str, Path], tmp_path: Path
) -> None:
    """Their clips have levels of their own, and so ways of their own from noise."""
    settings = {"steps": 2, "levels": "700,3", "teacher_steps": 2, "distill_from": "trajectory", "ema_decay": 0}
    settings |= {"trainable": trainable, "workers": 0}
    one, two = (command("steps", tiny_files["keyframe"], data, tmp_path / out, **settings) for out in ("one", "two"))
    assert main([*one, "--batch-size", "2"]) == 0
    process = started(["training.distill", *two, "--distributed", "fsdp"], processes=2)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_adapters(data: Path, tiny_files: dict[str, Path], tmp_path: Path) -> None:
    """A LoRA's file says that it is distilled; merged, the stage does."""
    words = command(
        "guidance", tiny_files["keyframe"], data, tmp_path / "R", trainable="lora", lora_rank=2, ema_decay=0
    )
    assert main(words) == 0
    assert [path.name for path in Run(tmp_path / "R").checkpoint(4).glob("*.safetensors")] == ["lora.safetensors"]
    assert export.main([str(tmp_path / "R"), "-o", str(tmp_path / "lora.safetensors")]) == 0
    with safe_open(tmp_path / "lora.safetensors", "pt") as file:
        assert file.metadata()["keysync.guidance_baked"] == "true"
    assert export.main([str(tmp_path / "R"), "--merge", "-o", str(tmp_path / "merged.safetensors")]) == 0
    stage, start = (
        load_stage(path, dtype=torch.float32) for path in (tmp_path / "merged.safetensors", tiny_files["keyframe"])
    )
    assert stage.spec.guidance_baked
    moved = [name for name, tensor in stage.state_dict().items() if not torch.equal(tensor, start.state_dict()[name])]
    assert moved
    assert all(".attn" in name or ".ff" in name for name in moved)


def test_a_teacher_decides_what_its_student_is(tiny_files: dict[str, Path], tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('trainable = "lora"\n')
    words = command("guidance", tiny_files["interpolation"], tmp_path, tmp_path, preset="interpolation", ema_decay=0)
    config, _ = parse([*words, "--config", str(mine), "--audio-guidance", "4"])
    assert (config.stage, config.resolution, config.speech_encoder) == ("interpolation", 64, "wavlm")
    assert (config.trainable, config.audio_guidance, config.identity_guidance) == ("lora", 4.0, 2.0)
    assert parse(words)[0].trainable == "all"
    assert config.start == str(tiny_files["interpolation"].resolve())


@pytest.mark.parametrize("stage", ["keyframe", "interpolation"])
def test_the_recipe_of_the_built_in_models(stage: str, tmp_path: Path) -> None:
    """Settings that the command accepts for both stages, and a tenth of the evaluations of the teacher."""
    recipe = Path(training.small.__file__).with_name("distill.toml")
    words = ["guidance", str(SMALL[stage]), "--data", str(tmp_path), "--out", str(tmp_path)]
    config, _ = parse([*words, "--config", str(recipe)])
    assert (config.stage, config.resolution, config.speech_encoder) == (stage, 128, "hubert")
    teacher = load_stage(SMALL[stage]).spec
    student = trained_spec(teacher, config)
    assert Sampling().network_evaluations(teacher) >= 10 * Sampling().network_evaluations(student) > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["steps"], "the noise levels of the distilled schedule, such as 700,6,0.9"),
        (["steps", "--levels", "3,700"], "each below the one before"),
        (["guidance", "--rgb-weight", "1"], "rgb_weight is 1.0: expected 0 with distill guidance"),
        (["guidance", "--audio-guidanc", "1"], "did you mean audio_guidance?"),
    ],
)
def test_a_line_that_makes_no_sense(
    words: list[str], message: str, tiny_files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    what, *rest = words
    assert main([*command(what, tiny_files["keyframe"], tmp_path / "none", tmp_path / "run"), *rest]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
