"""Encode Sound: speech and other sounds as KeyFace's stages hear them, encoded once for any number of portraits."""

from __future__ import annotations

import logging

from comfy_api.latest import io

from ..keysync.errors import KeySyncError
from ..keysync.media.audio import hear
from .host.audio import AudioDict
from .host.encoder import CoreSpeechEncoder
from .host.search import schema
from .host.sockets import SoundSocket, SpeechEncoderSocket
from .host.sound import GivenSound, Sound
from .host.video import open_sound

log = logging.getLogger(__name__)


class EncodeSound(io.ComfyNode):
    """What two encoders make of a sound, side by side."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncEncodeSound",
            display_name="Encode Sound",
            category="KeySync/portrait",
            description="Encodes a sound for one of KeyFace's models, with its speech encoder and its sound encoder: "
            "WavLM and BEATs for the published keyframe model, wav2vec 2.0 and BEATs for the published interpolation "
            "model. Other pictures, emotions and seeds then encode nothing again.",
            inputs=[
                SpeechEncoderSocket.Input(
                    "speech_encoder",
                    tooltip="The model's speech encoder, from Load Speech Encoder: WavLM or wav2vec 2.0.",
                ),
                SpeechEncoderSocket.Input("sound_encoder", tooltip="BEATs, from Load Speech Encoder."),
                io.Audio.Input("audio", tooltip="The audio that goes into Animate Portrait, too."),
            ],
            outputs=[
                SoundSocket.Output(
                    display_name="sound",
                    tooltip="For Animate Portrait: keyframe_encoder if encoded with WavLM, interpolation_encoder if "
                    "with wav2vec 2.0. Also for Sample Keyframes and Interpolate Keyframes.",
                )
            ],
        )

    @classmethod
    def execute(
        cls, speech_encoder: CoreSpeechEncoder, sound_encoder: CoreSpeechEncoder, audio: AudioDict
    ) -> io.NodeOutput:
        if speech_encoder.name == sound_encoder.name:
            raise KeySyncError(
                f"speech_encoder and sound_encoder are both {sound_encoder.name}: connect two encoders, such as wavlm "
                "and beats"
            )
        heard = hear(open_sound(audio))
        for note in heard.notes:
            log.warning(note)
        encoders = (speech_encoder, sound_encoder)
        parts = (GivenSound(encoder.encode(heard.samples), len(heard.samples)) for encoder in encoders)
        return io.NodeOutput(Sound(tuple(parts)))


NODES: list[type[io.ComfyNode]] = [EncodeSound]
