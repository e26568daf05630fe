"""Lip Sync: a dub in one node that needs no files, by a system of the library's table."""

from __future__ import annotations

from dataclasses import replace

import comfy.model_management
from comfy_api.latest import Input, io
from torch import Tensor

from ..keysync.dub import Settings
from ..keysync.errors import KeySyncError
from ..keysync.speech.lips_curve import LipsCurve
from ..keysync.summary import summarize
from ..keysync.systems.automatic import automatic
from ..keysync.systems.keysync.system import KEYSYNC as LIBRARYS
from ..keysync.systems.renderer import Renderer, System
from ..keysync.systems.rewrite.rewriter import Rewriting
from ..keysync.systems.rewrite.system import REWRITE
from ..keysync.systems.rewrite.system import load as load_rewriter
from .dub import (
    NodeProgress,
    align_input,
    audio_input,
    detector_inputs,
    dub,
    dub_outputs,
    face_inputs,
    face_source,
    find_input,
    quiet_input,
    sync_input,
)
from .host.audio import AudioDict
from .host.remedies import remedies
from .host.search import schema
from .host.small import load_small
from .host.sockets import Faces, LipsSocket, Speakers
from .host.video import open_occluder

# The library's table, with the built-in model on the core.
KEYSYNC = replace(LIBRARYS, load=load_small)
AUTOMATIC = automatic(REWRITE, KEYSYNC)
SYSTEMS: dict[str, System] = {system.name: system for system in (AUTOMATIC, REWRITE, KEYSYNC)}
# What models of other nodes make room for: the largest system's weights and what it works with.
ROOM = 1024**3  # bytes


class LipSync(io.ComfyNode):
    """Dubs a video with what is built in."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncLipSync",
            display_name="Lip Sync (no download)",
            category="KeySync",
            description="Dubs a video with what is built in: takes a video and new speech, and returns the video with "
            "lips that follow the speech. A real face is drawn with the mouths of its own clip. Nothing is downloaded.",
            inputs=[
                io.Video.Input("video", tooltip="The video to dub. One face in it is dubbed, or those of Speakers."),
                audio_input(),
                io.Combo.Input(
                    "system",
                    options=list(SYSTEMS),
                    default=AUTOMATIC.name,
                    tooltip="What draws the mouth.\n"
                    "auto: looks at the face and takes what suits it; the report says which, and why\n"
                    "rewrite: the mouths of the same clip, in which the person must speak\n"
                    "keysync: the built-in small model, which was trained on rendered faces only",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.1,
                    max=3.0,
                    step=0.05,
                    tooltip="How far the mouth moves. 1 is ordinary speech. Has an effect on rewrite only.",
                ),
                sync_input(),
                *detector_inputs(),
                quiet_input(),
                *face_inputs(),
                LipsSocket.Input(
                    "lips",
                    optional=True,
                    tooltip="A lips curve that rewrite follows instead of the audio, from Lips Curve from Speech, Lips "
                    "Curve from Video or Edit Lips Curve. If connected, auto is rewrite.",
                ),
                find_input(),
                align_input(),
            ],
            outputs=dub_outputs(),
        )

    @classmethod
    @remedies()
    def execute(
        cls,
        video: Input.Video,
        audio: AudioDict | Speakers,
        system: str,
        strength: float,
        sync_mode: str,
        detector: str,
        face_index: int,
        provenance: bool = True,
        track: Faces | None = None,
        occluder: Tensor | Input.Video | None = None,
        lips: LipsCurve | None = None,
        quiet_mouth: bool = False,
        find_occluder: bool = False,
        align: bool = False,
    ) -> io.NodeOutput:
        if lips is not None and isinstance(audio, Speakers):
            raise KeySyncError(
                "a lips curve is of one voice and audio of several: disconnect lips, or connect one voice"
            )
        sampling = {REWRITE.name: Rewriting(strength)}
        renderer = load(system, lips)
        face = face_source(face_index, detector, track)
        settings = Settings(sync_mode, sampling=sampling, provenance=provenance, quiet_mouth=quiet_mouth, align=align)
        result, report = dub(
            video, audio, renderer, settings, face, NodeProgress(), open_occluder(occluder, find_occluder)
        )
        if report.system != REWRITE.name and strength != 1:
            report.notes.append(f"the strength {strength:g} has no effect: {report.system} has no such setting")
        if lips is not None and quiet_mouth:
            report.notes.append("quiet_mouth has no effect: the lips follow the curve and not the speech")
        if lips is not None and lips.seconds > report.seconds + 1 / lips.fps:
            report.notes.append(
                f"the lips curve lasts {lips.seconds:.2f} s, the result {report.seconds:.2f} s: its end is left out"
            )
        return io.NodeOutput(result, report.to_json(), summarize(report, face))


def load(name: str, lips: LipsCurve | None) -> Renderer:
    """The system of that name with what is built in, on ComfyUI's device; lips are followed by rewrite alone.

    Raises `KeySyncError` for lips and another system.
    """
    device = comfy.model_management.get_torch_device()
    if lips is not None and name == KEYSYNC.name:
        raise KeySyncError(f"{name} cannot follow a lips curve: choose {REWRITE.name} in system, or disconnect lips")
    comfy.model_management.free_memory(ROOM, device)
    if lips is not None:
        return load_rewriter({}, device=device, dtype=None).following(lips)
    row = SYSTEMS[name]
    return row.load({option.name: None for option in row.files}, device=device, dtype=None)


NODES: list[type[io.ComfyNode]] = [LipSync]
