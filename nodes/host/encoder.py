"""Load Speech Encoder and Encode Speech: HuBERT and WavLM, moved between devices by ComfyUI."""

from __future__ import annotations

from pathlib import Path

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..keysync.errors import KeySyncError
from ..keysync.media.resample import resample
from ..keysync.method import FRAME_BY_FRAME, NETWORK_RATE, SAMPLE_RATE
from ..keysync.speech.encoder import SpeechEncoder
from ..keysync.speech.encoders import ENCODERS, load_encoder
from ..keysync.speech.features import SpeechFeatures
from ..keysync.speech.weights import FOLDER_FILES
from ..keysync.weights.files import read_tensors, shapes_of
from ..keysync.weights.identify import KINDS as FILE_KINDS
from ..keysync.weights.identify import recognise
from .audio import AudioDict, channels_of
from .files import built_in, find, fingerprint, offered
from .sockets import Speech, SpeechEncoderSocket, SpeechSocket

BUILT_IN = built_in("hubert")
KINDS = ("audio_encoders",)


class LoadSpeechEncoder(io.ComfyNode):
    """Loads HuBERT or WavLM."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="KeySyncLoadSpeechEncoder",
            display_name="Load Speech Encoder",
            category="KeySync",
            description="Loads HuBERT, which the published keyframe model hears with, or WavLM, which the published "
            "interpolation model does: which one it is, the file itself tells.",
            inputs=[
                io.Combo.Input(
                    "encoder_name",
                    options=list(offered(BUILT_IN, KINDS, FOLDER_FILES)),
                    tooltip="keysync-small-hubert is built in, for both models of keysync-small. Else a file or a "
                    "transformers folder in models/audio_encoders: HuBERT or WavLM as Hugging Face has them, or "
                    "Microsoft's WavLM-Base+.pt.",
                )
            ],
            outputs=[SpeechEncoderSocket.Output(display_name="encoder", tooltip="For Encode Speech and Dub Video.")],
        )

    @classmethod
    def fingerprint_inputs(cls, encoder_name: str) -> str:
        return fingerprint(find(encoder_name, BUILT_IN, KINDS, FOLDER_FILES))

    @classmethod
    def execute(cls, encoder_name: str) -> io.NodeOutput:
        return io.NodeOutput(load(find(encoder_name, BUILT_IN, KINDS, FOLDER_FILES)))


class EncodeSpeech(io.ComfyNode):
    """Makes speech into features."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="KeySyncEncodeSpeech",
            display_name="Encode Speech",
            category="KeySync",
            description="Makes speech into what a model hears, frame by frame. Each model wants the encoder that "
            "it was trained with.",
            inputs=[
                SpeechEncoderSocket.Input("encoder", tooltip="From Load Speech Encoder."),
                io.Audio.Input("audio", tooltip="The new speech, from Fit Audio: as long as the frames."),
                io.Float.Input(
                    "fps",
                    default=float(NETWORK_RATE),
                    min=1.0,
                    max=240.0,
                    step=0.001,
                    tooltip="Frames a second of the video that the speech is said over; the method works at 20 to 33.",
                ),
            ],
            outputs=[
                SpeechSocket.Output(
                    display_name="speech", tooltip="For Sample Keyframes, Interpolate Keyframes or KeySync Guider."
                )
            ],
        )

    @classmethod
    def execute(cls, encoder: CoreSpeechEncoder, audio: AudioDict, fps: float) -> io.NodeOutput:
        check_rate(fps)
        waveform, rate = channels_of(audio)
        return io.NodeOutput(Speech(encoder.encode(resample(waveform.mean(0)[None], rate, SAMPLE_RATE)[0]), fps))


class CoreSpeechEncoder:
    """A speech encoder that ComfyUI's memory manager loads before use and takes away when others need the room."""

    def __init__(self, encoder: SpeechEncoder) -> None:
        self._encoder = encoder
        # The core notes on its models where they are, in an attribute that transformers' models keep for themselves.
        self.patcher = ModelPatcher(
            torch.nn.ModuleList([encoder.model]),
            load_device=comfy.model_management.text_encoder_device(),
            offload_device=comfy.model_management.text_encoder_offload_device(),
        )

    @property
    def name(self) -> str:
        return self._encoder.name

    @property
    def channels(self) -> int:
        return self._encoder.channels

    def encode(self, waveform: Tensor) -> SpeechFeatures:
        """Features of a waveform (n,) float32, 16 kHz mono, as `keysync.speech.encoders.SpeechEncoder` gives them."""
        comfy.model_management.load_models_gpu([self.patcher], force_full_load=True)
        return self._encoder.encode(waveform.cpu())


def load(path: Path) -> CoreSpeechEncoder:
    """The speech encoder in a file or folder. Raises `KeySyncError` for what is none, or not whole."""
    file = next((path / name for name in FOLDER_FILES if (path / name).is_file()), path)
    kind, sign = recognise(shapes_of(read_tensors(file)[0]))
    if kind not in ENCODERS:
        wanted = " or ".join(FILE_KINDS[name] for name in ENCODERS)
        raise KeySyncError(f"{file} is {FILE_KINDS[kind]} ({sign}): {wanted} was wanted")
    device = comfy.model_management.text_encoder_offload_device()
    # The executor runs nodes in inference mode, and weights made there are slow to cast later.
    with torch.inference_mode(False):
        return CoreSpeechEncoder(load_encoder(kind, path, device=device))


def check_rate(fps: float) -> None:
    """Raises `KeySyncError` for a frame rate that the method does not work at."""
    slowest, fastest = FRAME_BY_FRAME
    if not slowest <= round(fps, 2) <= fastest:
        raise KeySyncError(
            f"frames at {fps:g} fps came but the method works at {slowest} to {fastest}: convert the frames to "
            f"{NETWORK_RATE} fps first, or use Dub Video, which takes any rate"
        )


NODES: list[type[io.ComfyNode]] = [LoadSpeechEncoder, EncodeSpeech]
