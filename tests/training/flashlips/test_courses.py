"""FlashLips' four parts, one after the other, by the command that trains them, at toy size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from keysync.systems.flashlips.bundle import open_bundle
from training.config.config import load_as
from training.export import export
from training.export import main as export_main
from training.flashlips.config import LIPS_STAGES, FlashLipsConfig
from training.run.run import Run
from training.train import main, train

from ..small_data import spoil, write_small_data

# What a toy run has instead of the published settings.
TOY = {
    "precision": "fp32",
    "workers": "0",
    "batch_size": "2",
    "steps": "2",
    "checkpoint_every": "1",
    "sample_every": "2",
    "ema_decay": "0.5",
    "reference_gap": "3",
    "decoded": "1",
}
OWN = {"lips_editor": {"network": "tiny"}, "lips_audio": {"speech_encoder": "hubert"}}


def words(stage: str, start: Path | None, **changes: str) -> dict[str, str]:
    """The settings of a toy run."""
    begun = {} if start is None else {"start": str(start)}
    return {**TOY, **OWN.get(stage, {}), **begun, **changes}


def command(stage: str, data: Path, out: Path, settings: dict[str, str]) -> list[str]:
    """The command line of a run."""
    rest = [word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", value)]
    return [stage.replace("_", "-"), "--data", str(data), "--out", str(out), "--device", "cpu", *rest]


@pytest.fixture(scope="module")
def chain(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The run of each part and, under its name and `.safetensors`, the file that it exports."""
    folder = tmp_path_factory.mktemp("chain")
    start, made = None, {}
    for stage in LIPS_STAGES:
        assert main(command(stage, data, folder / stage, words(stage, start))) == 0
        start = folder / f"{stage}.safetensors"
        assert export_main([str(folder / stage), "-o", str(start)]) == 0
        AcceleratorState._reset_state(reset_partial_state=True)
        made[stage] = folder / stage
        made[start.name] = start
    return made


def test_the_parts_are_trained_one_after_the_other(chain: dict[str, Path]) -> None:
    last = open_bundle(chain["lips_audio.safetensors"])
    assert last.parts.keys() == {"editor", "lips", "reader", "speech"}
    assert last.spec.mask_free
    assert last.spec.speech_encoder == "hubert"
    assert last.spec.networks.speech.speech == 32
    assert last.spec.image_size == (64, 64)
    assert last.metadata["keysync.training.steps"] == "2"
    assert not open_bundle(chain["lips_vector.safetensors"]).spec.mask_free


@pytest.mark.parametrize("stage", LIPS_STAGES)
def test_a_part_changes_and_the_others_stay(stage: str, chain: dict[str, Path]) -> None:
    trained = {"lips_editor": {"editor", "lips"}, "lips_vector": {"reader"}, "lips_refine": {"editor"}}
    parts = trained.get(stage, {"speech"})
    run = Run(chain[stage])
    first, last = (load_file(run.checkpoint(step) / "flashlips.safetensors") for step in (1, 2))
    moved = {name.partition(".")[0] for name in first if not torch.equal(first[name], last[name])}
    assert moved == parts
    before = LIPS_STAGES.index(stage) - 1
    if before >= 0:
        held = load_file(chain[f"{LIPS_STAGES[before]}.safetensors"])
        kept = {name: value for name, value in held.items() if name.partition(".")[0] not in parts}
        assert kept
        assert all(torch.equal(last[name], value) for name, value in kept.items())


@pytest.mark.parametrize("stage", LIPS_STAGES)
def test_a_run_says_its_losses_and_shows_a_sample(stage: str, chain: dict[str, Path]) -> None:
    run = Run(chain[stage])
    lines = run.logged()
    assert [line["step"] for line in lines] == [1, 2]
    assert all(line["loss"] > 0 for line in lines)
    if stage in ("lips_editor", "lips_refine"):
        assert all(line["lips"] > 0 and line["lower"] > 0 and line["perceptual"] == 0 for line in lines)
    assert (chain[stage] / "samples" / "step-000002.png").is_file()
    assert [(row["step"], row["clips"]) for row in run.validated()] == [(2, 4)]
    assert run.best() == 2
    assert not list((chain[stage] / "samples").glob("*.mp4"))


@pytest.mark.parametrize("stage", LIPS_STAGES)
def test_a_run_in_two_parts_is_the_same_run(stage: str, chain: dict[str, Path], data: Path, tmp_path: Path) -> None:
    before = LIPS_STAGES.index(stage) - 1
    start = None if before < 0 else chain[f"{LIPS_STAGES[before]}.safetensors"]
    settings = words(stage, start, sample_every="0", rate_schedule="cosine", final_learning_rate="0")
    configs = [load_as(FlashLipsConfig, stage.replace("_", "-"), None, {**settings, "steps": steps}) for steps in "12"]
    assert train(configs[1], data, tmp_path / "whole", "cpu") == 2
    for config in configs:
        train(config, data, tmp_path / "parts", "cpu")
    whole, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    assert [line["loss"] for line in parts.logged()] == [line["loss"] for line in whole.logged()]
    for file in ("flashlips.safetensors", "ema.safetensors"):
        ours, theirs = (load_file(run.checkpoint(2) / file) for run in (parts, whole))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_resumes_with_another_batch_by_the_clips_seen(data: Path, tmp_path: Path) -> None:
    begun, larger = (
        load_as(FlashLipsConfig, "lips-editor", None, words("lips_editor", None, sample_every="0", **changes))
        for changes in ({"steps": "2"}, {"steps": "4", "batch_size": "4"})
    )
    assert train(begun, data, tmp_path, "cpu") == 2
    assert train(larger, data, tmp_path, "cpu") == 4
    run = Run(tmp_path)
    assert [(line["step"], line["clips"]) for line in run.logged()] == [(1, 2), (2, 4), (3, 8)]
    assert [(row["clips"], row["clips_per_step"]) for row in run.history()] == [(0, 2), (4, 4)]


def test_the_folder_of_another_part_is_refused(
    chain: dict[str, Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = words("lips_vector", chain["lips_editor.safetensors"])
    assert main(command("lips_vector", data, chain["lips_editor"], settings)) == 1
    assert "holds a run with stage 'lips_editor', not 'lips_vector'" in capsys.readouterr().err


@pytest.mark.parametrize("workers", ["0", "1"])
def test_the_first_damaged_clip_ends_a_run(
    workers: str, tmp_path: Path, tiny_files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_small_data(tmp_path / "data", frames=14, vae=str(tiny_files["vae"]))
    spoil(data, 0)
    settings = words("lips_editor", None, steps="8", sample_every="0", workers=workers)
    assert main(command("lips_editor", data, tmp_path / "run", settings)) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"training: error: {data}")
    assert "has numbers that are not finite" in error


def test_an_editor_goes_on_from_a_file(chain: dict[str, Path], data: Path, tmp_path: Path) -> None:
    settings = words("lips_editor", chain["lips_audio.safetensors"], mask="face", sample_every="0", steps="1")
    config = load_as(FlashLipsConfig, "lips-editor", None, settings)
    assert train(config, data, tmp_path / "run", "cpu") == 1
    made = open_bundle(Run(tmp_path / "run").checkpoint(1) / "flashlips.safetensors")
    assert (made.spec.mask, made.spec.mask_free) == ("face", False)
    assert made.parts.keys() == {"editor", "lips", "reader", "speech"}


def test_averages_are_exported_unless_others_are_asked_for(chain: dict[str, Path], tmp_path: Path) -> None:
    run, name = Run(chain["lips_editor"]), "editor.backbone.enter.weight"
    assert export(run.folder, tmp_path / "last.safetensors", averaged=False) == "FlashLips, lips_editor, step 2"
    last, averaged = (
        load_file(file)[name] for file in (tmp_path / "last.safetensors", chain["lips_editor.safetensors"])
    )
    assert torch.equal(last, load_file(run.checkpoint(2) / "flashlips.safetensors")[name])
    assert not torch.equal(last, averaged)
    export(run.folder, tmp_path / "first.safetensors", step=1, averaged=False, dtype=torch.float16)
    first = load_file(tmp_path / "first.safetensors")[name]
    assert first.dtype == torch.float16
    assert torch.equal(first, load_file(run.checkpoint(1) / "flashlips.safetensors")[name].half())


def test_files_and_data_that_do_not_fit(
    chain: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def problem(stage: str, folder: Path = data, **changes: str) -> str:
        assert main(command(stage, folder, tmp_path / "run", {**words(stage, None), **changes})) == 1
        return capsys.readouterr().err

    editor = str(chain["lips_editor.safetensors"])
    assert 'start is "": expected a FlashLips file for lips_vector' in problem("lips_vector")
    assert "has no reader of lips vectors" in problem("lips_audio", start=editor)
    assert "has no speech features of whisper" in problem(
        "lips_audio", start=str(chain["lips_refine.safetensors"]), speech_encoder="whisper"
    )
    assert "hides the box mask but mask is mouth: set mask to box" in problem("lips_refine", start=editor, mask="mouth")
    other = write_small_data(tmp_path / "other", frames=14, latent_size=(16, 16))
    assert "was trained with crops of 64x64 but" in problem("lips_vector", other, start=editor)
    assert not (tmp_path / "run").exists()


def test_weights_in_8_bits(chain: dict[str, Path], tmp_path: Path) -> None:
    """A file of integers, whose parts are those of the whole file but for their rounding."""
    target = tmp_path / "small.safetensors"
    assert export_main([str(chain["lips_audio"]), "-o", str(target), "--dtype", "int8"]) == 0
    assert torch.int8 in {tensor.dtype for tensor in load_file(target).values()}
    small, whole = open_bundle(target), open_bundle(chain["lips_audio.safetensors"])
    assert small.spec == whole.spec
    for part, tensors in whole.parts.items():
        assert small.parts[part].keys() == tensors.keys()
        for name, tensor in tensors.items():
            off = (small.parts[part][name].float() - tensor.float()).abs().max()
            assert off <= max(0.01 * float(tensor.abs().max()), 1e-6)  # what float16 tells apart


@pytest.mark.parametrize("option", [["--merge"], ["--weak"], ["--vae", "folder"], ["--card", "card.md"]])
def test_options_of_stages_are_refused(
    option: list[str], chain: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export_main([str(chain["lips_vector"]), "-o", str(tmp_path / "file.safetensors"), *option]) == 1
    assert "is not for parts of FlashLips: omit " in capsys.readouterr().err
