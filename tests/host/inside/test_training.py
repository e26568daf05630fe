"""Prepare Clips and Train KeySync LoRA: from a video to a MODEL with a LoRA, with nothing that ComfyUI lacks."""

from __future__ import annotations

import copy
import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import comfy.model_management
import comfy.samplers
import comfy.utils
import folder_paths
import numpy as np
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import InputImpl, Types
from torch import Tensor

ROOT = Path(__file__).resolve().parents[3]
NAME, SECONDS = "somebody", 2.0


class Parts(NamedTuple):
    """The nodes' module, and what the loaders give for KeySync small."""

    nodes: ModuleType
    vae: Any
    encoder: Any
    model: Any


@pytest.fixture(scope="module")
def parts(extension: ModuleType) -> Parts:
    def node(module: str) -> ModuleType:
        return importlib.import_module(f"{extension.__name__}.nodes.{module}")

    with torch.inference_mode():  # as the executor runs nodes
        (vae,) = node("vae").LoadKeySyncVAE.execute("keysync-small-vae").result
        (encoder,) = node("speech").LoadSpeechEncoder.execute("keysync-small-hubert").result
        (model,) = node("model").LoadKeySyncModel.execute("keysync-small-interpolation.safetensors", "default").result
    return Parts(node("training"), vae, encoder, model)


@pytest.fixture(autouse=True)
def unloaded() -> Iterator[None]:
    yield
    comfy.model_management.unload_all_models()


def example(extension: ModuleType, seconds: float = SECONDS) -> Any:
    """The example clip with the example's speech, in memory."""
    loader = importlib.import_module(f"{extension.__name__}.nodes.example").LoadExample
    video, audio = loader.execute("person talking", seconds).result
    components = video.get_components()
    return InputImpl.VideoFromComponents(
        Types.VideoComponents(images=components.images, frame_rate=Fraction(25), audio=audio)
    )


def prepare(parts: Parts, **changes: Any) -> Any:
    inputs: dict[str, Any] = {
        "vae": parts.vae,
        "encoder": parts.encoder,
        "name": NAME,
        "resolution": 0,
        "crop_scale": 0.0,
        "drop_blurred": False,
        "drop_out_of_sync": False,
    }
    with torch.inference_mode():
        return parts.nodes.PrepareClips.execute(**inputs | changes).result


def train(parts: Parts, clips: Any, **changes: Any) -> Any:
    inputs: dict[str, Any] = {
        "model": parts.model,
        "vae": parts.vae,
        "clips": clips,
        "name": NAME,
        "steps": 3,
        "learning_rate": 1e-2,
        "rank": 4,
        "batch_size": 1,
        "random_seed": 1,
        "gradient_checkpointing": True,
        "base_precision": "as loaded",
        "optimizer": "AdamW",
        "pixel_loss": True,
    }
    with torch.inference_mode():
        return parts.nodes.TrainLoRA.execute(**inputs | changes).result


@pytest.fixture(scope="module")
def clips(parts: Parts, extension: ModuleType) -> Any:
    prepared, summary = prepare(parts, videos={"video0": example(extension)})
    assert summary.startswith("Kept 1 clip (2.0 s) of 1 video (2.0 s).")
    assert "The keyframe model cannot be trained on them: it needs 170 frames (6.8 s)" in summary
    return prepared


def run_folder(name: str = NAME) -> Path:
    return Path(folder_paths.get_output_directory(), "keysync", "training", name)


def output(extension: ModuleType, model: Any) -> Tensor:
    """What a MODEL makes of one window of noise at one noise level: (t, 4, h, w)."""
    stages = importlib.import_module(f"{extension.__name__}.keysync.network.stage")
    with torch.inference_mode():
        comfy.model_management.load_models_gpu([model])
        model.pre_run()
        network, spec = model.model, model.model.spec
        generator = torch.Generator().manual_seed(0)
        x = 3.0 * torch.randn(spec.window, 4, *spec.latent_size, generator=generator)
        features = torch.randn(1, spec.window, 2, spec.audio_channels, generator=generator)
        ends = torch.randn(1, 2, 4, *spec.latent_size, generator=generator)
        known = torch.zeros(1, spec.window, 4, *spec.latent_size)
        condition = network.conditioner.condition(stages.Windows(features, ends, known, known[:, :, :1]))
        conds = [{"model_conds": network.extra_conds(keysync_condition=condition, device=x.device), "uuid": 0}]
        sigma = torch.full((len(x),), 3.0)
        return comfy.samplers.calc_cond_batch(network, [conds], x, sigma, model.model_options)[0].clone()


def test_it_is_not_imported_at_start(parts: Parts, extension: ModuleType) -> None:
    program = (
        "import sys, comfy.options; sys.argv = ['main.py', '--cpu']; comfy.options.enable_args_parsing()\n"
        "import importlib.util, utils.extra_config\n"
        f"spec = importlib.util.spec_from_file_location('ours', {str(ROOT / '__init__.py')!r})\n"
        "module = importlib.util.module_from_spec(spec); sys.modules['ours'] = module\n"
        "spec.loader.exec_module(module)\n"
        "import ours.nodes\n"
        "print([name for name in sys.modules if name.startswith(('ours.training', 'keysync.'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_the_clips_are_prepared_once(parts: Parts, clips: Any, extension: ModuleType) -> None:
    assert clips.folder == run_folder() / "data"
    assert (clips.clips, clips.resolution, clips.crop_scale, clips.longest) == (1, 128, 1.4, 50)
    assert clips.windows == 50 - 13
    stamps = {path: path.stat().st_mtime_ns for path in clips.folder.rglob("*") if path.name != "report.json"}
    again, _ = prepare(parts, videos={"video0": example(extension)})
    assert again == clips
    assert {path: path.stat().st_mtime_ns for path in clips.folder.rglob("*") if path.is_file() and path in stamps} == {
        path: stamp for path, stamp in stamps.items() if path.is_file()
    }


def test_a_folder_of_clips(parts: Parts, clips: Any) -> None:
    folder = Path(folder_paths.get_input_directory(), "people")
    folder.mkdir(parents=True, exist_ok=True)
    (source,) = (run_folder() / "clips").glob("*.mp4")
    shutil.copy(source, folder / "a.mp4")
    (folder / "notes.txt").write_text("not a video")
    prepared, summary = prepare(parts, folder="people", name="folder")
    assert prepared.clips == 1
    assert "1 clip" in summary


def test_the_dropped_are_named(parts: Parts, extension: ModuleType, error: type[Exception]) -> None:
    components = example(extension).get_components()
    silent = InputImpl.VideoFromComponents(
        Types.VideoComponents(images=components.images, frame_rate=Fraction(25), audio=None)
    )
    with pytest.raises(error, match=r"no clip can be used: 2\.0 s, no sound: .* \(it has no audio track\)"):
        prepare(parts, videos={"video0": silent}, name="silent")
    black = InputImpl.VideoFromComponents(
        Types.VideoComponents(
            images=torch.zeros_like(components.images), frame_rate=Fraction(25), audio=components.audio
        )
    )
    _, summary = prepare(parts, videos={"video0": example(extension), "video1": black}, name="some")
    assert "Dropped: 2.0 s, no face: " in summary


def test_from_clips_to_a_model(parts: Parts, clips: Any, extension: ModuleType) -> None:
    weights = {name: tensor.clone() for name, tensor in parts.model.model.state_dict().items()}
    before = output(extension, parts.model)
    model, lora_name, plot, preview, summary = train(parts, clips)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in parts.model.model.state_dict().items())
    assert not parts.model.patches
    assert lora_name == str(Path("keysync", f"{NAME}_interpolation.safetensors"))
    assert lora_name in folder_paths.get_filename_list("loras")
    assert plot.shape == (1, 400, 960, 3)
    assert preview.shape == (1, 3 * (128 + 20), 4 * 128, 3)
    assert np.isfinite(preview.numpy()).all()
    assert "The interpolation model was trained for 3 steps, on 2.0 s of clips." in summary
    assert torch.equal(output(extension, parts.model), before)
    after = output(extension, model)
    assert float((after - before).abs().max()) > 1e-3

    from nodes import LoraLoaderModelOnly

    (loaded,) = LoraLoaderModelOnly().load_lora_model_only(parts.model, lora_name, 1.0)
    assert torch.equal(output(extension, loaded), after)


def test_more_steps_go_on_as_if_never_stopped(parts: Parts, clips: Any) -> None:
    lora_folder = Path(folder_paths.get_folder_paths("loras")[0])
    train(parts, clips, name="twice", steps=2)
    *_, summary = train(parts, clips, name="twice", steps=4)
    assert "trained for 4 steps, the first 2 of them earlier" in summary
    train(parts, clips, name="once", steps=4)
    resumed, whole = (
        comfy.utils.load_torch_file(str(lora_folder / "keysync" / f"{name}_interpolation.safetensors"))
        for name in ("twice", "once")
    )
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in resumed.items())


def test_gradients_reach_the_adapter(parts: Parts, clips: Any, extension: ModuleType) -> None:
    """Overfit to one window at one noise: its loss falls."""
    with torch.inference_mode(False), torch.enable_grad(), parts.nodes.training():
        package = extension.__name__
        runs = importlib.import_module(f"{package}.training.run.lora_run")
        loras = importlib.import_module(f"{package}.nodes.host.training_lora")
        choices = loras.Choices(30, 5e-3, 4, 1, 0, False, "fp32", "AdamW", True)
        config = loras._config(parts.model.model.spec, parts.model.model.file, choices)
        run = runs.LoraRun(config, clips.folder, run_folder("overfit"), frozen="fp32", optimizer="AdamW")
        only = run.windows[0]
        run.windows = [only] * choices.steps
        run.train(None, lambda done, loss: None)
        losses = run.losses()
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5]), losses


def test_cancel_keeps_the_steps_that_are_done(parts: Parts, clips: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = 0

    class Bar:
        def __init__(self, total: int) -> None: ...

        def update_absolute(self, value: int) -> None:
            nonlocal seen
            seen = value
            if value == 2:
                comfy.model_management.interrupt_current_processing()

    monkeypatch.setattr(comfy.utils, "ProgressBar", Bar)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        train(parts, clips, name="cancelled", steps=50)
    assert seen == 2
    (checkpoint,) = (run_folder("cancelled") / "interpolation" / "checkpoints").iterdir()
    assert checkpoint.name == "step-000002"
    assert not list(Path(folder_paths.get_folder_paths("loras")[0]).glob("keysync/cancelled*"))
    monkeypatch.undo()
    *_, summary = train(parts, clips, name="cancelled", steps=3)
    assert "trained for 3 steps, the first 2 of them earlier" in summary


def test_cancel_within_a_step_of_the_preparation(
    parts: Parts, extension: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = importlib.import_module(f"{extension.__name__}.nodes.host.training_clips").WatchedDetector
    original, frames = detector.detect, 0

    def detect(self: Any, *arguments: Any) -> Any:
        nonlocal frames
        frames += 1
        if frames == 3:
            comfy.model_management.interrupt_current_processing()
        return original(self, *arguments)

    monkeypatch.setattr(detector, "detect", detect)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        prepare(parts, videos={"video0": example(extension)}, name="interrupted")
    assert frames == 3
    monkeypatch.undo()
    prepared, _ = prepare(parts, videos={"video0": example(extension)}, name="interrupted")
    assert prepared.clips == 1


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
def test_base_precision(parts: Parts, clips: Any, precision: str) -> None:
    model, *_ = train(parts, clips, name=f"in-{precision}", base_precision=precision)
    assert model.patches


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a\\b", ".hidden", "a.b", "x" * 65, "con:"])
def test_names_are_names(parts: Parts, clips: Any, name: str, error: type[Exception]) -> None:
    said = "expected 1 to 64 letters, digits, hyphens and underscores"
    with pytest.raises(error, match=said):
        prepare(parts, name=name, folder="people")
    with pytest.raises(error, match=said):
        train(parts, clips, name=name)


def test_refused(parts: Parts, clips: Any, extension: ModuleType, error: type[Exception]) -> None:
    with pytest.raises(error, match="is outside ComfyUI's input folder"):
        prepare(parts, folder="../output")
    with pytest.raises(error, match="there is no folder 'nowhere' in ComfyUI's input folder"):
        prepare(parts, folder="nowhere")
    with pytest.raises(error, match="there is no video to prepare"):
        prepare(parts)
    with pytest.raises(error, match="the clips were encoded with another VAE"):
        train(parts, replace(clips, vae="0" * 32))
    with pytest.raises(error, match="the prepared clips are gone from"):
        train(parts, replace(clips, folder=Path("/nowhere")))
    with pytest.raises(error, match="set resolution and crop_scale of Prepare Clips"):
        train(parts, replace(clips, resolution=512))
    with pytest.raises(error, match="connect Load Speech Encoder with hubert to Prepare Clips"):
        train(parts, replace(clips, encoders=("wavlm",)))
    with pytest.raises(error, match="bitsandbytes"):
        train(parts, clips, optimizer="AdamW 8-bit", name="eight")
    loader = importlib.import_module(f"{extension.__name__}.nodes.model").LoadKeySyncModel
    (keyframes,) = loader.execute("keysync-small-keyframe.safetensors", "default").result
    with pytest.raises(
        error, match=r"needs clips of at least 170 frames \(6\.8 s\) in one shot but the longest has 50"
    ):
        train(parts, clips, model=keyframes)
    model, *_ = train(parts, clips)
    with pytest.raises(error, match="has patches, as from a LoRA loader or a merge: connect Load KeySync Model"):
        train(parts, clips, model=model, name="onto")
    with pytest.raises(error, match="holds a run with seed"):
        train(parts, clips, random_seed=77)


def test_another_model_is_refused(parts: Parts, clips: Any, error: type[Exception]) -> None:
    cpu = torch.device("cpu")
    other = ModelPatcher(torch.nn.Linear(1, 1), cpu, cpu)
    with pytest.raises(error, match="the model is Linear, not a KeySync model"):
        train(parts, clips, model=other)


def test_without_the_package(
    parts: Parts, clips: Any, monkeypatch: pytest.MonkeyPatch, error: type[Exception], tmp_path: Path
) -> None:
    host = importlib.import_module(parts.nodes.training.__module__)
    monkeypatch.setattr(host, "ROOT", tmp_path)
    with pytest.raises(error, match="training is not installed: the package of ComfyUI's registry leaves it out"):
        train(parts, clips)


def test_keyframes_with_the_loss_on_pixels(parts: Parts, extension: ModuleType) -> None:
    """The example's clip twice over, which is long enough for a window."""
    components = example(extension, 6.0).get_components()
    images = torch.cat((components.images, components.images.flip(0)))[:180]
    sound = torch.cat((components.audio["waveform"],) * 2, -1)[..., : round(7.2 * components.audio["sample_rate"])]
    long = InputImpl.VideoFromComponents(
        Types.VideoComponents(
            images=images,
            frame_rate=Fraction(25),
            audio={"waveform": sound, "sample_rate": components.audio["sample_rate"]},
        )
    )
    clips, summary = prepare(parts, videos={"video0": long}, name="long")
    assert "7.2 s are in clips that the keyframe model can be trained on." in summary
    loader = importlib.import_module(f"{extension.__name__}.nodes.model").LoadKeySyncModel
    (keyframes,) = loader.execute("keysync-small-keyframe.safetensors", "default").result
    train(parts, clips, model=keyframes, name="long")
    log = (run_folder("long") / "keyframe" / "log.jsonl").read_text()
    assert '"pixel": 0.0,' not in log
    train(parts, clips, model=keyframes, name="long-latents", pixel_loss=False)
    assert '"pixel": 0.0,' in (run_folder("long-latents") / "keyframe" / "log.jsonl").read_text()


def test_another_library_under_its_name_is_refused(
    parts: Parts, clips: Any, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    other = ModuleType("keysync")
    other.__file__ = "/elsewhere/keysync/__init__.py"
    monkeypatch.setitem(sys.modules, "keysync", other)
    with pytest.raises(error, match=r"another keysync is loaded, from /elsewhere/keysync: expected .*; uninstall it"):
        train(parts, clips)


def test_gradients_pass_a_decoder_made_for_inference(parts: Parts, extension: ModuleType) -> None:
    decoders = importlib.import_module(f"{extension.__name__}.nodes.host.training_vae")
    with torch.inference_mode():
        made = copy.copy(parts.vae)
        made.first_stage_model = copy.deepcopy(parts.vae.first_stage_model)
    assert all(weight.is_inference() for weight in made.first_stage_model.parameters())
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    decoder = decoders.LossDecoder(made)
    pictures = decoder(latents, torch.zeros(2, 1), 1)
    pictures.square().mean().backward()
    assert latents.grad is not None
    assert latents.grad.abs().amax((1, 2, 3)).min() > 0
    with torch.no_grad():
        alone = decoders.CoreVAE(parts.vae).decode(latents.detach() * 0.18215)
    shown = (pictures.detach().movedim(1, -1) + 1) / 2
    assert float((shown.clamp(0, 1) - alone).abs().max()) < 1e-4
