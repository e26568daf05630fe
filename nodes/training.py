"""Prepare Clips and Train KeySync LoRA: a model made to speak like one person, on the functions of `training`."""

from __future__ import annotations

from typing import Any

import comfy.sd
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..keysync.errors import KeySyncError
from .host.encoder import CoreSpeechEncoder
from .host.search import schema
from .host.sockets import Clips, ClipsSocket, SpeechEncoderSocket
from .host.training import input_folder, training, training_folder

CATEGORY = "KeySync/training"
MOST_VIDEOS = 50
PRECISIONS = ("as loaded", "bf16", "fp8", "fp32")
OPTIMIZERS = ("AdamW", "AdamW 8-bit")


class PrepareClips(io.ComfyNode):
    """Prepares videos for training."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncPrepareClips",
            display_name="Prepare Clips",
            category=CATEGORY,
            description="Prepares videos of a person who speaks for Train KeySync LoRA: finds and crops the face, "
            "drops clips that are blurred or whose lips do not match the sound, and encodes pictures and speech. What "
            "is prepared is kept in ComfyUI's output folder and used again.",
            inputs=[
                io.Autogrow.Input(
                    "videos",
                    template=io.Autogrow.TemplatePrefix(
                        io.Video.Input("video", tooltip="A video with its sound, in which the person speaks."),
                        prefix="video",
                        min=0,
                        max=MOST_VIDEOS,
                    ),
                    tooltip="Videos of the person, with sound. Several minutes are better than several seconds.",
                    optional=True,
                ),
                io.String.Input(
                    "folder",
                    default="",
                    tooltip="A folder inside ComfyUI's input folder: all videos in it are used too. Empty: none.",
                ),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model, from Load KeySync VAE or Load VAE."),
                SpeechEncoderSocket.Input(
                    "encoder", tooltip="The speech encoder of the model to train, from Load Speech Encoder."
                ),
                SpeechEncoderSocket.Input(
                    "second_encoder",
                    optional=True,
                    tooltip="The speech encoder of the other model: to train both published models, connect HuBERT and "
                    "WavLM.",
                ),
                io.String.Input(
                    "name",
                    default="my_person",
                    tooltip="Names the folder of the prepared clips, in output/keysync/training: letters, digits, "
                    "hyphens and underscores.",
                ),
                io.Int.Input(
                    "resolution",
                    default=0,
                    min=0,
                    max=2048,
                    step=8,
                    tooltip="Side of the crops in pixels. 0 uses what belongs to the VAE: 128 for the built-in one, "
                    "else 512.",
                ),
                io.Float.Input(
                    "crop_scale",
                    default=0.0,
                    min=0.0,
                    max=4.0,
                    step=0.1,
                    tooltip="Width of a crop over that of the face. 0 uses what belongs to the VAE: 1.4 for the "
                    "built-in one, else 2.",
                ),
                io.Boolean.Input("drop_blurred", default=True, tooltip="Drops clips in which the face is blurred."),
                io.Boolean.Input(
                    "drop_out_of_sync",
                    default=True,
                    tooltip="Drops clips whose lips are not seen to follow the sound, such as a voice from elsewhere.",
                ),
            ],
            outputs=[
                ClipsSocket.Output(display_name="clips", tooltip="For Train KeySync LoRA."),
                io.String.Output(
                    display_name="summary", tooltip="Which clips were kept, and which were dropped and why."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, folder: str = "", **inputs: Any) -> str:
        if not folder:
            return ""
        files = sorted(path for path in input_folder(folder).rglob("*") if path.is_file())
        return " ".join(f"{path} {path.stat().st_mtime_ns} {path.stat().st_size}" for path in files)

    @classmethod
    def execute(
        cls,
        vae: comfy.sd.VAE,
        encoder: CoreSpeechEncoder,
        name: str,
        resolution: int,
        crop_scale: float,
        drop_blurred: bool,
        drop_out_of_sync: bool,
        folder: str = "",
        videos: dict[str, Any] | None = None,
        second_encoder: CoreSpeechEncoder | None = None,
    ) -> io.NodeOutput:
        home = training_folder(name)
        given = [video for video in (videos or {}).values() if video is not None]
        folders = [input_folder(folder)] if folder else []
        if not given and not folders:
            raise KeySyncError(
                "there is no video to prepare: connect a video, or name a folder in ComfyUI's input folder"
            )
        encoders = [one for one in (encoder, second_encoder) if one is not None]
        with training(), torch.inference_mode(False):
            from .host.training_clips import Cut, prepare_clips, video_file

            files = [*folders, *(video_file(video, home / "clips") for video in given)]
            cut = Cut(resolution, crop_scale, drop_blurred, drop_out_of_sync)
            clips, summary = prepare_clips(files, vae, encoders, home, cut)
        return io.NodeOutput(clips, summary)


class TrainLoRA(io.ComfyNode):
    """Trains a LoRA for a stage."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncTrainLoRA",
            display_name="Train KeySync LoRA",
            category=CATEGORY,
            description="Trains a LoRA for one KeySync model on prepared clips, so that it speaks like the person in "
            "them. With the same settings and more steps it goes on where it stopped; Cancel keeps the steps done.",
            inputs=[
                io.Model.Input(
                    "model", tooltip="The keyframe or interpolation model, from Load KeySync Model. It is not changed."
                ),
                io.Vae.Input("vae", tooltip="The VAE that is connected to Prepare Clips."),
                ClipsSocket.Input(
                    "clips", tooltip="From Prepare Clips. The keyframe model needs clips of 6.8 s or more."
                ),
                io.String.Input(
                    "name",
                    default="my_person",
                    tooltip="Names the LoRA and the folder of the run: letters, digits, hyphens and underscores.",
                ),
                io.Int.Input(
                    "steps", default=1000, min=1, max=1_000_000, tooltip="Training steps in all, earlier ones included."
                ),
                io.Float.Input(
                    "learning_rate",
                    default=1e-4,
                    min=1e-7,
                    max=1e-1,
                    step=1e-7,
                    tooltip="How far each step moves the weights. Lower it if the loss rises.",
                ),
                io.Int.Input(
                    "rank",
                    default=16,
                    min=1,
                    max=256,
                    tooltip="Size of the LoRA: more can learn more, and takes more memory.",
                ),
                io.Int.Input(
                    "batch_size", default=1, min=1, max=64, tooltip="Windows in a step. More take more memory."
                ),
                # Not called seed: the frontend would choose another one after each run, with which no run goes on.
                io.Int.Input(
                    "random_seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    tooltip="Decides the order of the clips, and the noise.",
                ),
                io.Boolean.Input(
                    "gradient_checkpointing",
                    default=True,
                    tooltip="Takes much less memory, and about a third more time.",
                ),
                io.Combo.Input(
                    "base_precision",
                    options=list(PRECISIONS),
                    default="as loaded",
                    tooltip="Precision of the model's weights, which stay as they are; the LoRA is trained in float32. "
                    "as loaded: that of the model, and bf16 for fp16. bf16 takes half the memory of fp32, fp8 half of "
                    "that: keep gradient_checkpointing on with fp8.",
                ),
                io.Combo.Input(
                    "optimizer",
                    options=list(OPTIMIZERS),
                    default="AdamW",
                    tooltip="AdamW 8-bit needs the package bitsandbytes. A LoRA's optimizer is small: it saves little.",
                ),
                io.Boolean.Input(
                    "pixel_loss",
                    default=True,
                    tooltip="Also compares decoded pixels, as the keyframe model was trained. Off takes less memory "
                    "and time. The interpolation model has no such loss.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model with the LoRA applied."),
                io.String.Output(display_name="lora_name", tooltip="Its file, as the core's LoRA loaders name it."),
                io.Image.Output(display_name="loss_plot", tooltip="The loss of each step, and its running mean."),
                io.Image.Output(
                    display_name="preview",
                    tooltip="A window of a clip, and what the model makes of it before and after.",
                ),
                io.String.Output(display_name="summary", tooltip="What was trained, in sentences."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        vae: comfy.sd.VAE,
        clips: Clips,
        name: str,
        steps: int,
        learning_rate: float,
        rank: int,
        batch_size: int,
        random_seed: int,
        gradient_checkpointing: bool,
        base_precision: str,
        optimizer: str,
        pixel_loss: bool,
    ) -> io.NodeOutput:
        folder = training_folder(name)
        with training():
            from .host.training_lora import Choices, train_lora

            choices = Choices(
                steps,
                learning_rate,
                rank,
                batch_size,
                random_seed,
                gradient_checkpointing,
                base_precision,
                optimizer,
                pixel_loss,
            )
            trained = train_lora(model, vae, clips, folder, name, choices)
        return io.NodeOutput(trained.model, trained.lora_name, trained.plot, trained.preview, trained.summary)


NODES: list[type[io.ComfyNode]] = [PrepareClips, TrainLoRA]
