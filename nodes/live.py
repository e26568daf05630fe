"""Dub Live: frames and sound in, some at a time, from one run of a workflow to the next; dubbed frames out."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..keysync.face.detectors import DETECTORS, make_detector
from ..keysync.face.track import FaceChoice
from ..keysync.live.choices import BATCH
from ..keysync.live.live import Live
from ..keysync.systems.flashlips.models import FlashLips
from ..keysync.systems.flashlips.settings import Drawing
from .detector import DETECTOR_TIP, detector_device, detector_weights
from .flashlips import MOUTHS, mouth_input, references_input, steps_input
from .host.audio import AudioDict, channels_of
from .host.checks import frame_rate, want_finite
from .host.frames import alive
from .host.remedies import remedies
from .host.search import schema
from .host.sessions import SESSIONS, Session
from .host.sockets import FlashLipsSocket
from .lips import fps_input
from .sampling_inputs import seed_input

# Where this run lies in its session.
NEXT, FIRST, LAST, WHOLE = "next", "first", "last", "whole"


class DubLive(io.ComfyNode):
    """Dubs frames as they come."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncDubLive",
            display_name="Dub Live",
            category="KeySync/flashlips",
            description="Dubs frames as they come, with FlashLips: each run takes the next frames and their sound, and "
            "returns those that can be drawn by now. What waits for later frames or sound comes out of a later run; no "
            "frame is dropped.",
            inputs=[
                io.Image.Input("images", tooltip="The next frames: one or more, of one size throughout the session."),
                FlashLipsSocket.Input("flashlips", tooltip="From Load FlashLips."),
                fps_input("Frame rate of the images, 20 to 33."),
                io.String.Input("session", default="live", tooltip="Runs with the same name go on from each other."),
                io.Combo.Input(
                    "part",
                    options=[NEXT, FIRST, LAST, WHOLE],
                    default=NEXT,
                    tooltip="Where this run lies in its session.\n"
                    f"{NEXT}: it goes on; a new session begins\n"
                    f"{FIRST}: the session begins anew; frames that waited are dropped\n"
                    f"{LAST}: nothing follows, so all frames come out\n"
                    f"{WHOLE}: first and last: these are all frames",
                ),
                io.Int.Input(
                    "batch",
                    default=BATCH,
                    min=1,
                    max=1024,
                    tooltip="Frames that are drawn together. Fewer come out sooner, more are drawn faster.",
                ),
                mouth_input(),
                references_input(),
                seed_input("Seed of the lips: another one is a different take."),
                steps_input(),
                io.Combo.Input("detector", options=list(DETECTORS), default="mediapipe", tooltip=DETECTOR_TIP),
                io.Int.Input(
                    "face_index",
                    default=0,
                    min=0,
                    max=63,
                    tooltip="Which face to dub and follow: 0 is the largest of the first frames, 1 the second largest.",
                ),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="The next of the new speech; it may be shorter or longer than the frames.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="images",
                    tooltip="The frames that were drawn; without any, the nodes behind do not run.",
                ),
                io.Audio.Output(display_name="audio", tooltip="The sound of these frames."),
                io.String.Output(display_name="report", tooltip="How many frames came out, and how many wait."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> float:
        return float("nan")  # the same frames again are the next ones

    @classmethod
    @remedies({"batch": "set batch"})
    def execute(
        cls,
        images: Tensor,
        flashlips: FlashLips,
        fps: float,
        session: str,
        part: str,
        batch: int,
        mouth: str,
        references: int,
        seed: int,
        steps: int,
        detector: str,
        face_index: int,
        audio: AudioDict | None = None,
    ) -> io.NodeOutput:
        want_finite(images, "images")
        sound, sound_rate = (None, 0) if audio is None else channels_of(audio)
        drawing = Drawing(steps or None, references, MOUTHS[mouth])
        rate = float(frame_rate(fps))
        settings = (flashlips, rate, batch, drawing, seed, detector, face_index)

        def begin() -> Session:
            device = detector_device()
            finder = make_detector(detector, detector_weights(), device=device)
            choice = FaceChoice(face_index)
            live = Live(flashlips, finder, rate, choice=choice, sampling=drawing, seed=seed, batch=batch)
            return Session(live, finder, rate, settings)

        found = SESSIONS.get(session, settings, begin, anew=part in (FIRST, WHOLE))
        found.add(images[..., :3].cpu(), sound, sound_rate)
        ends = part in (LAST, WHOLE)
        if ends:
            found.end()
        try:
            frames = found.draw(alive)
        finally:
            if ends:
                SESSIONS.close(session)
        report = found.describe(frames)
        if not frames:
            nothing = ExecutionBlocker(None)
            return io.NodeOutput(nothing, nothing, report)
        pictures = torch.stack([torch.from_numpy(frame.picture) for frame in frames]).float() / 255
        said = found.sound_of(frames)
        heard = ExecutionBlocker(None) if said is None else {"waveform": said, "sample_rate": found.sound_rate}
        return io.NodeOutput(pictures, heard, report)


NODES: list[type[io.ComfyNode]] = [DubLive]
