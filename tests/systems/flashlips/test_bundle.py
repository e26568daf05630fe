"""The file of FlashLips: what is written is read, and anything else is refused with a reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from keysync.cli import main
from keysync.errors import KeySyncError
from keysync.systems.flashlips.bundle import PARTS, convert_bundle, open_bundle, save_bundle
from keysync.systems.flashlips.presets import PRESETS
from keysync.vae.vae import load_vae
from keysync.weights.eight_bits import to_eight_bits
from keysync.weights.files import read_tensors, write_tensors

from ...tiny_flashlips import write_tiny_flashlips

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_flashlips(tmp_path_factory.mktemp("flashlips"))


def rewritten(file: Path, target: Path, change: dict[str, Tensor | None]) -> Path:
    """The file with other tensors; None removes one."""
    tensors, metadata = read_tensors(file)
    kept = {name: tensor for name, tensor in (tensors | change).items() if tensor is not None}
    write_tensors(kept, target, metadata)
    return target


def test_parts_come_back(file: Path) -> None:
    bundle = open_bundle(file)
    assert bundle.spec == TINY
    assert bundle.metadata["keysync.untrained"] == "true"
    assert set(bundle.parts) == {*PARTS, "vae"}
    tensors, _ = read_tensors(file)
    for name in PARTS:
        for key, tensor in bundle.load(name, dtype=torch.float32).state_dict().items():
            assert torch.equal(tensor, tensors[f"{name}.{key}"])


def test_the_vae_is_loaded_from_the_file(file: Path) -> None:
    vae = load_vae(file)
    assert vae.encoder is not None
    assert vae.encode(torch.rand(1, 64, 64, 3)).shape == (1, 4, 8, 8)


def test_what_is_loaded_does_not_change_with_its_file(file: Path, tmp_path: Path) -> None:
    """Its weights are copied: Windows replaces no file that is mapped."""
    copy = tmp_path / "a.safetensors"
    copy.write_bytes(file.read_bytes())
    reader = open_bundle(copy).load("reader")
    before = reader.leave.weight.clone()
    data = bytearray(copy.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    with copy.open("r+b") as opened:
        opened.write(data)
    assert torch.equal(reader.leave.weight, before)


def test_a_file_may_hold_what_is_trained_so_far(tmp_path: Path) -> None:
    file = write_tiny_flashlips(tmp_path, parts=("editor", "lips"), vae=False)
    bundle = open_bundle(file)
    assert not bundle.has_vae
    bundle.load("lips")
    with pytest.raises(KeySyncError, match="has no speech transformer: expected a file whose training is complete"):
        bundle.load("speech")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speech.leave.bias": None}, r"complete speech transformer: 1 missing, first speech\.leave\.bias"),
        ({"reader.leave.bias": torch.zeros(13)}, r"complete reader of lips vectors: 1 misshapen, first reader\.leave"),
        ({"editor.backbone.more": torch.zeros(1)}, r"complete editor: 1 unknown, first editor\.backbone\.more"),
        ({"more.weight": torch.zeros(1)}, "holds 1 tensors of no part of FlashLips, first more.weight"),
        ({"lips.leave.bias": torch.zeros(4).fill_(torch.nan)}, "lips.leave.bias contains numbers that are not finite"),
        ({"lips.leave.bias": torch.zeros(4, dtype=torch.int32)}, "lips.leave.bias has dtype torch.int32"),
    ],
)
def test_damaged_files_are_refused(file: Path, tmp_path: Path, change: dict[str, Tensor | None], message: str) -> None:
    with pytest.raises(KeySyncError, match=message):
        open_bundle(rewritten(file, tmp_path / "a.safetensors", change))


def test_files_of_other_systems_are_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(KeySyncError, match=r"is a VAE \(.*\): expected a FlashLips file") as error:
        open_bundle(file.parent / "vae" / "diffusion_pytorch_model.safetensors")
    assert error.value.about == "flashlips"
    tensors, _ = read_tensors(file)
    write_tensors(tensors, tmp_path / "bare.safetensors", {})
    with pytest.raises(KeySyncError, match="has no metadata of a FlashLips file"):
        open_bundle(tmp_path / "bare.safetensors")


def test_weights_in_eight_bits_are_read(file: Path, tmp_path: Path) -> None:
    tensors, metadata = read_tensors(file)
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith("first_stage_model.")}
    write_tensors(to_eight_bits(own), tmp_path / "a.safetensors", metadata)
    exact, rounded = (
        open_bundle(path).load("editor").backbone.enter.weight.detach() for path in (file, tmp_path / "a.safetensors")
    )
    assert 0 < float((exact - rounded).abs().max()) < 0.01 * float(exact.abs().max())


def test_a_file_is_converted_to_halves_and_its_vae_kept(file: Path, tmp_path: Path) -> None:
    convert_bundle(file, tmp_path / "half.safetensors", torch.float16)
    before, after = open_bundle(file), open_bundle(tmp_path / "half.safetensors")
    assert after.spec == before.spec
    assert after.metadata == before.metadata
    assert after.parts["editor"]["backbone.enter.weight"].dtype == torch.float16
    assert after.parts["vae"]["decoder.conv_in.weight"].dtype == torch.float32
    with pytest.raises(KeySyncError, match="both source and target"):
        convert_bundle(file, file)


def test_the_commands_know_the_file(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(file)]) == 0
    said = capsys.readouterr().out
    assert "a FlashLips file" in said
    assert "backbone: UNet\n" in said
    assert "VAE: included" in said
    assert "training: none: untrained weights" in said
    assert "problem" not in said
    target = tmp_path / "half.safetensors"
    assert main(["convert", str(file), str(target), "--dtype", "fp16"]) == 0
    assert target.is_file()
    assert main(["convert", str(file), str(target), "--head-dim", "64"]) == 1
    assert "a FlashLips file, which has no head dim: leave it out" in capsys.readouterr().err


def test_inspect_says_why_a_file_cannot_be_loaded(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = rewritten(file, tmp_path / "a.safetensors", {"speech.leave.bias": None})
    assert main(["inspect", str(damaged)]) == 0
    assert "problem: " in capsys.readouterr().out


def test_files_without_a_vae_name_the_one_that_they_need(tmp_path: Path) -> None:
    spec = replace(TINY, vae="Stable Video Diffusion XL")
    save_bundle(tmp_path / "a.safetensors", spec, {"editor": PARTS["editor"].build(spec.networks)})
    assert open_bundle(tmp_path / "a.safetensors").spec.vae == "Stable Video Diffusion XL"
