"""Several people dubbed in one video: who they are and what each says."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..keysync.errors import KeySyncError
from ..keysync.media.source import SoundInMemory
from ..keysync.speakers import Speaker as LibrarysSpeaker
from ..keysync.speakers import read_parts
from .face import CHOICES, clues_from
from .host.audio import AudioDict, channels_of
from .host.search import schema
from .host.sockets import Speakers, SpeakerSocket, SpeakersSocket

# Choices of Track Face that one person of a video can have.
FACES = ("index", "coordinates", "picture")
MOST_SPEAKERS = 32


class Speaker(io.ComfyNode):
    """Says who speaks, and what."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncSpeaker",
            display_name="Speaker",
            category="KeySync",
            description="One of several people to dub in a video: a voice, whose face it is, and when it is heard. "
            "Goes into Speakers.",
            inputs=[
                io.Audio.Input("audio", tooltip="The new speech of this person. It begins with the video."),
                io.Combo.Input(
                    "face",
                    options=list(FACES),
                    default="index",
                    tooltip="Who speaks, one person through all cuts.\nindex: the one at rank face_index\ncoordinates: "
                    "the one at face_x, face_y in most frames\npicture: the person in the input of that name",
                ),
                io.Int.Input(
                    "face_index",
                    default=0,
                    min=0,
                    max=63,
                    tooltip="For face = index: 0 is the most prominent person of the video, 1 the next one, and so on.",
                ),
                io.Int.Input(
                    "face_x",
                    default=0,
                    min=0,
                    max=32768,
                    tooltip="For face = coordinates: pixels from the left edge of the video to the face.",
                ),
                io.Int.Input(
                    "face_y",
                    default=0,
                    min=0,
                    max=32768,
                    tooltip="For face = coordinates: pixels from the top edge of the video to the face.",
                ),
                io.String.Input(
                    "seconds",
                    default="",
                    tooltip="When the voice is heard, such as 0-4.5, 7-9. Empty: wherever the audio is not silent.",
                ),
                io.Image.Input(
                    "picture",
                    optional=True,
                    tooltip="For face = picture: the person, seen from the front. The largest face counts.",
                ),
            ],
            outputs=[SpeakerSocket.Output(display_name="speaker", tooltip="The person and the voice, for Speakers.")],
        )

    @classmethod
    def execute(
        cls,
        audio: AudioDict,
        face: str,
        face_index: int,
        face_x: int,
        face_y: int,
        seconds: str = "",
        picture: Tensor | None = None,
    ) -> io.NodeOutput:
        choice = CHOICES[face](face_index, face_x, face_y, True)
        who = {"index": f"face {face_index}", "coordinates": f"the face at {face_x}, {face_y}"}.get(face, "the picture")
        parts = read_parts(seconds) if seconds.strip() else None
        sound = SoundInMemory(f"the voice of {who}", *channels_of(audio))
        # The rate is of no use: no choice here listens.
        clues = clues_from(choice, 0, 1.0, picture, None)
        return io.NodeOutput(LibrarysSpeaker(sound, choice, parts, who, clues))


class JoinSpeakers(io.ComfyNode):
    """Collects the speakers of a video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncSpeakers",
            display_name="Speakers",
            category="KeySync",
            description="All people to dub in a video, each with a voice: connect as many Speaker nodes as there are "
            "people. Goes into audio of Lip Sync or Dub Video.",
            inputs=[
                io.Autogrow.Input(
                    "speakers",
                    template=io.Autogrow.TemplatePrefix(
                        SpeakerSocket.Input("speaker", tooltip="A person and a voice, from Speaker."),
                        prefix="speaker",
                        min=1,
                        max=MOST_SPEAKERS,
                    ),
                    tooltip="The people to dub, each from a Speaker. There is always one more input to connect.",
                )
            ],
            outputs=[
                SpeakersSocket.Output(
                    display_name="speakers",
                    tooltip="For audio of Lip Sync and Dub Video. The result has all voices as one soundtrack.",
                )
            ],
        )

    @classmethod
    def execute(cls, speakers: dict[str, Any]) -> io.NodeOutput:
        people = tuple(speaker for speaker in speakers.values() if speaker is not None)
        if not people:
            raise KeySyncError("there is no speaker: connect one Speaker or more")
        return io.NodeOutput(Speakers(people))


NODES: list[type[io.ComfyNode]] = [Speaker, JoinSpeakers]
