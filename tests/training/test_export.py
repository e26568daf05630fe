"""Export: what a run has trained as a file that KeySync, ComfyUI and the original code read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.network.stage import Stage
from keysync.vae.vae import load_vae
from keysync.weights.checkpoint import load_stage, save_stage
from keysync.weights.describe import describe
from keysync.weights.files import read_tensors
from keysync.weights.identify import DECODER
from keysync.weights.stage_format import EMBEDDED, metadata_of, published_names
from training.config.config import TrainConfig, to_toml
from training.export import export, main
from training.weights.lora import adapted, merged, write_lora

from .small_config import small_config

STAGES = ("keyframe", "interpolation")
GOLDEN = Path(__file__).parents[1] / "data" / "golden"
WRAPPER = "_forward_module."


class SmallRun:
    """A run's folder as training leaves it: settings, and checkpoints that differ from step to step."""

    def __init__(self, folder: Path, config: TrainConfig, tiny: Path) -> None:
        self.folder, self.config, self.tiny = folder, config, tiny
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "config.toml").write_text(to_toml(config))

    def stage(self, number: float) -> Stage:
        stage = load_stage(self.tiny, dtype=torch.float32)
        torch.nn.init.constant_(stage.unet.get_parameter("out.2.bias"), number)
        return stage

    def checkpoint(self, step: int, averaged: bool = False) -> None:
        place = self.folder / "checkpoints" / f"step-{step:06d}"
        place.mkdir()
        told = {"keysync.training.steps": str(step), "keysync.training.config": json.dumps(asdict(self.config))}
        save_stage(self.stage(step), place / "stage.safetensors", extra_metadata=told)
        if averaged:
            save_stage(self.stage(step + 0.5), place / "ema.safetensors", extra_metadata=told)

    def adapters(self, step: int) -> Stage:
        stage = adapted(load_stage(self.tiny, dtype=torch.float32), self.config)
        torch.manual_seed(0)
        for name, parameter in stage.named_parameters():
            if ".lora_B." in name:
                torch.nn.init.normal_(parameter)
        place = self.folder / "checkpoints" / f"step-{step:06d}"
        place.mkdir()
        told = {"keysync.training.steps": str(step)}
        write_lora(place / "lora.safetensors", stage.spec, stage.state_dict(), self.config, told)
        return stage


@pytest.fixture
def make(tmp_path: Path, tiny_files: dict[str, Path]) -> Any:
    def run(stage: str = "keyframe", **changes: Any) -> SmallRun:
        return SmallRun(tmp_path / "run", small_config(stage, **changes), tiny_files[stage])

    return run


@pytest.fixture
def lora_run(make: Any, tiny_files: dict[str, Path]) -> SmallRun:
    run: SmallRun = make(trainable="lora", start=str(tiny_files["keyframe"]), lora_rank=2, lora_alpha=3.0)
    return run


def bias(path: Path) -> float:
    """What `SmallRun` tells checkpoints apart by."""
    return float(load_stage(path).unet.get_parameter("out.2.bias")[0].detach())


def published(stage: Stage) -> dict[str, Tensor]:
    state = stage.state_dict()
    return {theirs: state[ours] for theirs, ours in published_names(stage).items()}


@pytest.mark.parametrize("name", STAGES)
def test_safetensors_say_what_they_are(name: str, make: Any, tmp_path: Path) -> None:
    run = make(name)
    run.checkpoint(3)
    assert export(run.folder, tmp_path / "out.safetensors") == f"{name} stage, step 3"
    expected = published(run.stage(3))
    held = load_file(tmp_path / "out.safetensors")
    assert held.keys() == expected.keys()
    assert all(torch.equal(tensor, held[key]) for key, tensor in expected.items())
    stage = load_stage(tmp_path / "out.safetensors", expect=name)
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        told = file.metadata()
    assert told == {
        **metadata_of(stage.spec),
        "keysync.training.steps": "3",
        "keysync.training.config": json.dumps(asdict(run.config)),
    }
    assert told["keysync.mask"] == "box"
    found = describe(tmp_path / "out.safetensors")
    assert (found.kind, found.problem, found.untrained, found.unexpected) == (name, None, False, ())


@pytest.mark.parametrize("name", STAGES)
def test_pt_as_the_original_reads_it(name: str, make: Any, tmp_path: Path) -> None:
    run = make(name)
    run.checkpoint(3)
    export(run.folder, tmp_path / "out.pt")
    content = torch.load(tmp_path / "out.pt", weights_only=True)
    golden = torch.load(GOLDEN / "keyframe_dub_tiny_subset.pt", weights_only=True)
    assert list(content) == ["module"]
    assert "module" in golden
    assert all(key.startswith(WRAPPER) for key in (*content["module"], *golden["module"]))
    bare = {key.replace(WRAPPER, ""): tensor for key, tensor in content["module"].items()}
    assert bare.keys() == {*published(run.stage(3)), EMBEDDED}
    if name == "keyframe":
        assert {key.replace(WRAPPER, "").partition(".")[0] for key in golden["module"]} >= {"model", "conditioner"}
    tensors, _ = read_tensors(tmp_path / "out.pt")
    assert all(torch.equal(tensor, tensors[key]) for key, tensor in published(run.stage(3)).items())
    # Sizes that no shape tells came along, though pickles have no metadata.
    assert load_stage(tmp_path / "out.pt", expect=name).spec == run.stage(3).spec


def test_the_newest_or_the_one_asked_for_averaged_or_not(make: Any, tmp_path: Path) -> None:
    run, out = make(ema_decay=0.5), tmp_path / "out.safetensors"
    run.checkpoint(3)
    run.checkpoint(1000000, averaged=True)
    run.checkpoint(20, averaged=True)
    assert export(run.folder, out) == "keyframe stage, step 1000000, averaged weights"
    assert bias(out) == 1000000.5
    assert export(run.folder, out, averaged=False) == "keyframe stage, step 1000000"
    assert bias(out) == 1000000.0
    export(run.folder, out, step=20)
    assert bias(out) == 20.5
    export(run.folder, out, step=3)
    assert bias(out) == 3.0


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_smaller_weights(dtype: torch.dtype, suffix: str, make: Any, tmp_path: Path) -> None:
    run = make()
    run.checkpoint(3)
    export(run.folder, tmp_path / f"out{suffix}", dtype=dtype)
    tensors, _ = read_tensors(tmp_path / f"out{suffix}")
    tensors.pop(EMBEDDED, None)
    assert {tensor.dtype for tensor in tensors.values()} == {dtype}
    assert load_stage(tmp_path / f"out{suffix}").spec == run.stage(3).spec


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_the_vae_s_decoder_comes_along(suffix: str, make: Any, tmp_path: Path, tiny_files: dict[str, Path]) -> None:
    run, out = make(), tmp_path / f"out{suffix}"
    run.checkpoint(3)
    export(run.folder, out, vae=tiny_files["vae"])
    assert load_stage(out).spec == run.stage(3).spec
    assert describe(out).vae_decoder
    ours, theirs = load_vae(out), load_vae(tiny_files["vae"])
    assert ours.encoder is None
    latents = torch.randn(2, 4, 8, 8)
    assert torch.equal(ours.decode(latents), theirs.decode(latents))
    again = tmp_path / "again.safetensors"
    export(run.folder, again, vae=out)
    assert read_tensors(again)[0].keys() | {EMBEDDED} == read_tensors(out)[0].keys() | {EMBEDDED}


def test_a_decoder_has_the_published_names(make: Any, tmp_path: Path) -> None:
    """A golden checkpoint's decoder, of several widths, goes through diffusers' names and comes out as it went in."""
    run, golden = make(), GOLDEN / "keyframe_checkpoint.safetensors"
    run.checkpoint(3)
    export(run.folder, tmp_path / "out.safetensors", vae=golden)
    held, expected = (
        {k: v for k, v in load_file(f).items() if DECODER in k} for f in (tmp_path / "out.safetensors", golden)
    )
    assert held.keys() == expected.keys()
    assert all(torch.equal(tensor.float(), held[key]) for key, tensor in expected.items())


def test_a_lora_run_gives_the_lora(lora_run: SmallRun, tmp_path: Path) -> None:
    stage, out = lora_run.adapters(5), tmp_path / "lora.safetensors"
    assert export(lora_run.folder, out, dtype=torch.float16) == "LoRA for the keyframe stage, step 5"
    place = lora_run.folder / "checkpoints" / "step-000005" / "lora.safetensors"
    held, expected = load_file(out), load_file(place)
    assert held.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(held[name], tensor if name.endswith(".alpha") else tensor.half())
    with safe_open(out, "pt") as file:
        assert file.metadata()["keysync.stage"] == stage.spec.name
        assert file.metadata()["keysync.training.steps"] == "5"


def test_merged_adapters(lora_run: SmallRun, tmp_path: Path) -> None:
    stage, out = lora_run.adapters(5), tmp_path / "out.safetensors"
    assert export(lora_run.folder, out, merge=True) == "keyframe stage, step 5, adapters merged in"
    held = load_stage(out, expect="keyframe").state_dict()
    before = load_stage(lora_run.tiny, dtype=torch.float32).state_dict()
    assert all(torch.equal(tensor, held[name]) for name, tensor in merged(stage).state_dict().items())
    assert any(not torch.equal(tensor, held[name]) for name, tensor in before.items())
    assert read_tensors(out)[1]["keysync.training.steps"] == "5"
    assert "keysync.lora.rank" not in read_tensors(out)[1]


def refused(message: str, folder: Path, target: Path, **options: Any) -> None:
    before = sorted(target.parent.iterdir()) if target.parent.is_dir() else []
    with pytest.raises(KeySyncError, match=message):
        export(folder, target, **options)
    assert not target.parent.is_dir() or sorted(target.parent.iterdir()) == before


def test_what_is_not_there(make: Any, tmp_path: Path) -> None:
    run, out = make(), tmp_path / "out.safetensors"
    refused("none is not a training run: it has no config.toml", tmp_path / "none", out)
    refused("run has no checkpoint yet: the run writes the first one after step 100", run.folder, out)
    run.checkpoint(3)
    run.checkpoint(20)
    refused("run has no checkpoint of step 4: choose from 3, 20", run.folder, out, step=4)
    refused(r"gone.safetensors is in a folder that does not exist", run.folder, tmp_path / "no" / "gone.safetensors")
    refused(r"out.ckpt: cannot write weights as .ckpt: expected .safetensors or .pt", run.folder, tmp_path / "out.ckpt")
    refused("the run trained no adapters \\(trainable all\\); omit --merge", run.folder, out, merge=True)
    (run.folder / "checkpoints" / "step-000020" / "stage.safetensors").write_bytes(b"broken")
    refused(r"step-000020.stage.safetensors is truncated", run.folder, out)


def test_what_a_lora_cannot_be(lora_run: SmallRun, tmp_path: Path, tiny_files: dict[str, Path]) -> None:
    lora_run.adapters(5)
    refused(r"a LoRA, which cannot be a .pt file: add --merge", lora_run.folder, tmp_path / "lora.pt")
    out = tmp_path / "lora.safetensors"
    refused("cannot hold a VAE's decoder: add --merge", lora_run.folder, out, vae=tiny_files["vae"])


def test_a_full_disk_leaves_no_half_file(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, out = make(), tmp_path / "out.pt"
    run.checkpoint(3)

    def save(_: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed\nmore")

    monkeypatch.setattr(torch, "save", save)
    refused(r"cannot write .*out.pt \(PytorchStreamWriter failed", run.folder, out)


def test_the_command(make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = make(ema_decay=0.5), tmp_path / "out.safetensors"
    run.checkpoint(3, averaged=True)
    arguments = [str(run.folder), "-o", str(out), "--step", "3", "--no-ema", "--dtype", "bf16"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"export: {out}: keyframe stage, step 3\n"
    assert bias(out) == 3.0
    assert load_stage(out).unet.out[2].bias.dtype == torch.bfloat16
    assert main([str(tmp_path), "-o", str(out)]) == 1
    assert "export: error: " in capsys.readouterr().err
