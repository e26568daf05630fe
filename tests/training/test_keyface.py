"""KeyFace's stages through the package's own commands: train, resume, export in both layouts, and the weaker copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import save_file

from keysync.network.stage import ALL_STAGES, KEYFACE, Stage
from keysync.weights.checkpoint import load_stage, load_weak
from keysync.weights.describe import describe
from training import export, train
from training.config.config import load_config, preset_of
from training.run.run import Run
from training.weights.initial_weights import starting_stage

from ..tiny_models import LATENT_SIZE
from .small_data import write_small_data
from .weights.svd_files import CONTEXT, HEAD_DIM, sgm_tensors

# Two encoders side by side, windows of 5 frames and one level: a step in tens of milliseconds.
SMALL = """
model_channels = 64
channel_mult = [1]
attention = [true]
num_res_blocks = 1
head_dim = 32
context_dim = 64
window = 5
resolution = 64
speech_encoder = "hubert+wavlm"
trainable = "all"
gradient_checkpointing = false
learning_rate = 1e-3
warmup_steps = 0
workers = 0
checkpoint_every = 2
ema_decay = 0.9
"""


@pytest.fixture(autouse=True)
def _new_state() -> Iterator[None]:
    """accelerate keeps the precision of a process's first run."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_files: dict[str, Path]) -> dict[str, Path]:
    """Runs of 4 steps of both stages, each stopped after 2 and resumed; the keyframes' one compares pixels too."""
    folder = tmp_path_factory.mktemp("keyface")
    data = write_small_data(folder / "data", frames=40, vae=str(tiny_files["vae"]), emotion=True)
    (folder / "small.toml").write_text(SMALL)
    found = {}
    for stage in KEYFACE:
        found[stage] = folder / stage
        words = [preset_of(stage), "--data", str(data), "--out", str(found[stage]), "--sample-every", "4"]
        words += ["--config", str(folder / "small.toml"), "--device", "cpu"]
        words += ["--lpips-weight", "0"] if stage == KEYFACE[0] else []
        for steps in ("2", "4"):
            assert train.main([*words, "--steps", steps]) == 0
    return found


@pytest.mark.parametrize("stage", KEYFACE)
def test_a_run_and_its_export(stage: str, runs: dict[str, Path], tmp_path: Path) -> None:
    run = Run(runs[stage])
    assert run.steps() == [2, 4]
    assert len({line["loss"] for line in run.logged()}) == 4
    assert list((runs[stage] / "samples").iterdir())
    for suffix in (".safetensors", ".pt"):
        file = tmp_path / f"stage{suffix}"
        assert export.main([str(runs[stage]), "-o", str(file)]) == 0
        spec = load_stage(file, expect=stage).spec
        assert (spec.name, spec.speech_encoder, spec.window, spec.latent_size) == (stage, "hubert+wavlm", 5, (8, 8))
        assert spec.unet.vector_dim == ALL_STAGES[stage].unet.vector_dim
        assert not spec.weak


def test_an_early_checkpoint_is_the_weaker_copy(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, good, weak = str(runs["keyface_interpolation"]), tmp_path / "good.safetensors", tmp_path / "weak.safetensors"
    assert export.main([run, "-o", str(good)]) == 0
    assert export.main([run, "-o", str(weak), "--step", "2", "--weak"]) == 0
    assert "step 2, averaged weights, the weaker copy" in capsys.readouterr().out
    stage = load_stage(good, expect="keyface_interpolation")
    assert load_weak(weak, stage).spec.weak
    assert export.main([str(runs["keyface_keyframe"]), "-o", str(weak), "--weak"]) == 1
    assert "no weaker copy guides the keyface_keyframe stage: omit --weak" in capsys.readouterr().err


@pytest.mark.parametrize("name", KEYFACE)
def test_svd_as_initial_weights(name: str, tmp_path: Path) -> None:
    """What Stable Video Diffusion does not have is new: the labels, wider by the emotion, and the audio projection."""
    svd = sgm_tensors()
    save_file(svd, tmp_path / "svd.safetensors")
    words = {"start": str(tmp_path / "svd.safetensors"), "head_dim": str(HEAD_DIM), "resolution": "64"}
    stage: Stage = starting_stage(load_config(preset_of(name), None, words), LATENT_SIZE, 40)
    first = name == "keyface_keyframe"
    assert stage.unet.get_parameter("label_emb.0.0.weight").shape[1] == CONTEXT + (512 if first else 0)
    assert stage.audio_projection.weight.shape == (CONTEXT, 40)
    changed = {f"model.diffusion_model.{key}" for key, tensor in stage.unet.state_dict().items()}
    changed = {key for key in changed if not _equal(stage.unet.state_dict()[key[22:]], svd.get(key))}
    expected = {"model.diffusion_model.label_emb.0.0.weight"}
    assert changed == (expected if first else expected | {"model.diffusion_model.input_blocks.0.0.weight"})


def _equal(ours: torch.Tensor, theirs: torch.Tensor | None) -> bool:
    return theirs is not None and torch.equal(ours, theirs.float())


def test_eight_bits(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, whole, small = str(runs["keyface_keyframe"]), tmp_path / "whole.safetensors", tmp_path / "small.safetensors"
    assert export.main([run, "-o", str(whole)]) == 0
    assert export.main([run, "-o", str(small), "--dtype", "int8"]) == 0
    assert small.stat().st_size < 0.4 * whole.stat().st_size
    assert describe(small).problem is None
    first, second = (load_stage(file, expect="keyface_keyframe", dtype=torch.float32) for file in (whole, small))
    assert first.spec == second.spec
    for name, tensor in first.state_dict().items():
        error = (tensor - second.state_dict()[name]).abs().max()
        assert float(error) <= 0.01 * float(tensor.abs().max()) + 1e-6, name
    assert export.main([run, "-o", str(tmp_path / "stage.pt"), "--dtype", "int8"]) == 1
    assert "8 bits are for stages in .safetensors files" in capsys.readouterr().err
