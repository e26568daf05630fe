"""Load Speech Encoder and Encode Speech: the encoders of the library, moved between devices by ComfyUI."""

from __future__ import annotations

import logging

from comfy_api.latest import io

from ..keysync.errors import KeySyncError
from ..keysync.media.audio import hear
from ..keysync.method import FRAME_BY_FRAME, NETWORK_RATE
from ..keysync.speech.encoders import ENCODERS
from ..keysync.speech.weights import FOLDER_FILES
from .host.audio import AudioDict
from .host.encoder import CoreSpeechEncoder, load
from .host.files import built_in, find, fingerprint, offered
from .host.search import schema
from .host.sockets import Speech, SpeechEncoderSocket, SpeechSocket
from .host.video import open_sound

log = logging.getLogger(__name__)

BUILT_IN = built_in("hubert")
KINDS = ("audio_encoders",)
ENCODERS_TIP = "\n".join(
    (
        "The built-in keysync-small-hubert is for both models of keysync-small. Others are in models/audio_encoders.",
        *(encoder.files for encoder in ENCODERS.values()),
    )
)


class LoadSpeechEncoder(io.ComfyNode):
    """Loads an encoder of the table `ENCODERS`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncLoadSpeechEncoder",
            display_name="Load Speech Encoder",
            category="KeySync",
            description="Loads the speech encoder that a model was trained with, and detects which one a file is.",
            inputs=[
                io.Combo.Input(
                    "encoder_name",
                    options=list(offered(BUILT_IN, KINDS, FOLDER_FILES)),
                    tooltip=ENCODERS_TIP,
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
    """Turns speech into features."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncEncodeSpeech",
            display_name="Encode Speech",
            category="KeySync",
            description="Turns speech into the features that a model follows, frame by frame. Each model needs the "
            "encoder that it was trained with.",
            inputs=[
                SpeechEncoderSocket.Input("encoder", tooltip="From Load Speech Encoder."),
                io.Audio.Input("audio", tooltip="The new speech from Fit Audio, as long as the frames."),
                io.Float.Input(
                    "fps",
                    default=float(NETWORK_RATE),
                    min=1.0,
                    max=240.0,
                    step=0.001,
                    tooltip="Frame rate of the video. The method works at {} to {} fps.".format(*FRAME_BY_FRAME),
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
        heard = hear(open_sound(audio))
        for note in heard.notes:
            log.warning(note)
        return io.NodeOutput(Speech(encoder.encode(heard.samples), fps))


def check_rate(fps: float) -> None:
    """Raises `KeySyncError` for a frame rate that the method does not work at."""
    slowest, fastest = FRAME_BY_FRAME
    if not slowest <= round(fps, 2) <= fastest:
        raise KeySyncError(
            f"the frame rate is {fps:g} fps but the method works at {slowest} to {fastest}: convert the frames to "
            f"{NETWORK_RATE} fps first, or use Dub Video, which takes any frame rate"
        )


NODES: list[type[io.ComfyNode]] = [LoadSpeechEncoder, EncodeSpeech]
