"""A LoRA trained in ComfyUI's process, its memory managed by the core. Imported by `training` only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.sd
import comfy.utils
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...keysync.errors import KeySyncError
from ...keysync.method import NETWORK_RATE
from ...keysync.network.stage import StageSpec
from ...training.config.config import BF16, FP8, FP32, load_config
from ...training.run.lora_run import LoraRun
from .checks import spec_of
from .frames import alive
from .sockets import Clips
from .training_pictures import draw_losses, draw_preview
from .training_vae import LossDecoder, TrainingVAE, digest_of

AS_LOADED = "as loaded"
# Of what the core holds a model in; fp16 is trained in bf16, in which gradients do not vanish.
LOADED = {torch.float32: FP32, torch.float16: BF16, torch.bfloat16: BF16, torch.float8_e4m3fn: FP8}
FOLDER = "keysync"
CHECKPOINT_EVERY, KEPT = 100, 2
MAX_GRAD_NORM = 1.0
# Frames of a window that a preview shows.
SHOWN = 4
# More than there is: the core unloads every other model.
ALL_MEMORY = 1e20


@dataclass(frozen=True)
class Choices:
    """The inputs of Train KeySync LoRA beside its models, clips and name."""

    steps: int
    learning_rate: float
    rank: int
    batch_size: int
    seed: int
    gradient_checkpointing: bool
    precision: str
    optimizer: str
    pixel_loss: bool


@dataclass(frozen=True)
class Trained:
    """The MODEL with the LoRA applied, the LoRA's name for the core's loaders, pictures (1, h, w, 3) of the losses and
    of a window, and what happened, in sentences."""

    model: ModelPatcher
    lora_name: str
    plot: Tensor
    preview: Tensor
    summary: str


def train_lora(
    model: ModelPatcher, vae: comfy.sd.VAE, clips: Clips, folder: Path, name: str, choices: Choices
) -> Trained:
    """Trains or resumes the run in `folder`. MODEL stays as it is: a copy of its file's weights is trained on.

    Raises `KeySyncError` for what does not fit the model, and for a run with settings that it cannot change.
    """
    spec = spec_of(model)
    file = _file(model)
    want_clips(spec, clips)
    held_vae = TrainingVAE(vae)
    if clips.vae != digest_of(vae.first_stage_model):
        raise KeySyncError(
            "the clips were encoded with another VAE, or with this one in another precision: connect the VAE of "
            "Prepare Clips"
        )
    # The executor runs nodes in inference mode, which knows no gradients.
    with torch.inference_mode(False), torch.enable_grad():
        run = LoraRun(
            _config(spec, file, choices),
            clips.folder,
            folder / spec.name,
            frozen=_precision(model, choices.precision),
            optimizer=choices.optimizer,
            device=comfy.model_management.get_torch_device(),
            alive=alive,
        )
        began = run.done
        decoder = LossDecoder(vae) if run.config.rgb_weight else None
        held = _load(run.stage, *([] if decoder is None else [decoder]))
        run.train(decoder, _watch(run.done, choices.steps))
        comparison, preview = run.compare(), run.preview()
        path = _lora_path(name, spec)
        run.write(path)
        lora_name = str(path.relative_to(_lora_folder()))
        losses = run.losses()
        summary = "\n".join(_summary(run, began, clips, lora_name, comparison))
        del run, decoder, held
        comfy.model_management.soft_empty_cache()
    patched, _ = comfy.sd.load_lora_for_models(model, None, comfy.utils.load_torch_file(str(path)), 1.0, 0.0)
    rows = [_pictures(held_vae, latents[0]) for latents in preview]
    return Trained(
        patched,
        lora_name,
        draw_losses(losses),
        draw_preview(dict(zip(("clip", "before", "after"), rows, strict=True))),
        summary,
    )


def want_clips(spec: StageSpec, clips: Clips) -> None:
    """Raises `KeySyncError` for clips that this model cannot be trained on."""
    height, _ = spec.image_size
    if not (clips.folder / "index.json").is_file():
        raise KeySyncError(
            f"the prepared clips are gone from {clips.folder}: run Prepare Clips again under another name"
        )
    if (clips.resolution, clips.crop_scale) != (height, spec.crop_scale):
        raise KeySyncError(
            f"the clips are {clips.resolution} pixels wide at crop scale {clips.crop_scale:g} but the {spec.name} "
            f"model needs {height} at {spec.crop_scale:g}: set resolution and crop_scale of Prepare Clips"
        )
    if spec.speech_encoder not in clips.encoders:
        raise KeySyncError(
            f"the clips were heard by {', '.join(clips.encoders)} but the {spec.name} model follows "
            f"{spec.speech_encoder}: connect Load Speech Encoder with {spec.speech_encoder} to Prepare Clips"
        )
    span = (spec.window - 1) * spec.frames_apart + 1
    if clips.longest < span:
        raise KeySyncError(
            f"the {spec.name} model needs clips of at least {span} frames ({span / NETWORK_RATE:.1f} s) in one shot "
            f"but the longest has {clips.longest}: use longer videos, or train the interpolation model"
        )


def _file(model: ModelPatcher) -> Path:
    file: Path | None = model.model.file
    if file is None or model.patches:
        what = "has patches, as from a LoRA loader or a merge" if model.patches else "is not from a file"
        raise KeySyncError(f"the model {what}: connect Load KeySync Model directly")
    return file


def _config(spec: StageSpec, file: Path, choices: Choices) -> Any:
    preset = load_config(spec.name, None, {})
    height, _ = spec.image_size
    return replace(
        preset,
        start=str(file),
        speech_encoder=spec.speech_encoder,
        window=spec.window,
        resolution=height,
        mask=spec.mask,
        trainable="lora",
        lora_rank=choices.rank,
        lora_alpha=float(choices.rank),
        rgb_weight=preset.rgb_weight if choices.pixel_loss else 0.0,
        learning_rate=choices.learning_rate,
        warmup_steps=0,
        max_grad_norm=MAX_GRAD_NORM,
        steps=choices.steps,
        batch_size=choices.batch_size,
        gradient_checkpointing=choices.gradient_checkpointing,
        seed=choices.seed % 2**63,
        workers=0,
        checkpoint_every=CHECKPOINT_EVERY,
        keep_checkpoints=KEPT,
        sample_every=0,
    )


def _precision(model: ModelPatcher, chosen: str) -> str:
    return LOADED.get(model.model.diffusion_model.dtype, BF16) if chosen == AS_LOADED else chosen


def _load(*networks: torch.nn.Module) -> list[ModelPatcher]:
    """Moves networks to where ComfyUI runs its models, which makes room for them, and counts them while what is
    returned is kept."""
    management = comfy.model_management
    device, home = management.get_torch_device(), management.unet_offload_device()
    # The core notes on its models where they are, in an attribute that a stage has for itself.
    patchers = [ModelPatcher(torch.nn.ModuleList([network]), device, home) for network in networks]
    management.load_models_gpu(patchers, ALL_MEMORY, force_full_load=True)
    return patchers


def _watch(done: int, steps: int) -> Callable[[int, float], None]:
    progress = comfy.utils.ProgressBar(steps)
    progress.update_absolute(done)

    def watch(done: int, loss: float) -> None:
        progress.update_absolute(done)
        alive()

    return watch


def _lora_folder() -> Path:
    return Path(folder_paths.get_folder_paths("loras")[0])


def _lora_path(name: str, spec: StageSpec) -> Path:
    folder = _lora_folder() / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KeySyncError(f"the folder {folder} cannot be made ({error.strerror}): make it writable") from error
    return folder / f"{name}_{spec.name}.safetensors"


def _pictures(vae: TrainingVAE, latents: Tensor) -> Tensor:
    """Some pictures (n, h, w, 3) of the latents (t, 4, h, w) of a window, evenly from it."""
    chosen = torch.linspace(0, len(latents) - 1, SHOWN).round().long()
    return vae.decode(latents[chosen].cpu())


def _summary(run: LoraRun, began: int, clips: Clips, lora_name: str, comparison: Any) -> Iterator[str]:
    """What was trained, in sentences."""
    resumed = f", the first {began} of them earlier" if began else ""
    yield (
        f"The {run.stage.spec.name} model was trained for {run.done} steps{resumed}, on {clips.seconds:.1f} s of clips."
    )
    yield (
        f"On {comparison.windows} windows with fixed noise, the loss was {comparison.before:.4g} before and is "
        f"{comparison.after:.4g} now."
    )
    yield f"The LoRA is {lora_name}, for the core's LoRA loaders."
    yield "With the same settings and more steps it goes on from here."
