"""Load Speech Encoder and Encode Speech: HuBERT and WavLM, moved between devices by ComfyUI."""

from __future__ import annotations

from comfy_api.latest import io

from ..keysync.errors import KeySyncError
from ..keysync.media.resample import resample
from ..keysync.method import FRAME_BY_FRAME, NETWORK_RATE, SAMPLE_RATE
from ..keysync.speech.weights import FOLDER_FILES
from .host.audio import AudioDict, channels_of
from .host.encoder import CoreSpeechEncoder, load
from .host.files import built_in, find, fingerprint, offered
from .host.sockets import Speech, SpeechEncoderSocket, SpeechSocket

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


def check_rate(fps: float) -> None:
    """Raises `KeySyncError` for a frame rate that the method does not work at."""
    slowest, fastest = FRAME_BY_FRAME
    if not slowest <= round(fps, 2) <= fastest:
        raise KeySyncError(
            f"frames at {fps:g} fps came but the method works at {slowest} to {fastest}: convert the frames to "
            f"{NETWORK_RATE} fps first, or use Dub Video, which takes any rate"
        )


NODES: list[type[io.ComfyNode]] = [LoadSpeechEncoder, EncodeSpeech]
