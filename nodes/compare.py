"""Compare Videos: two videos side by side."""

from __future__ import annotations

from comfy_api.latest import Input, InputImpl, io

from ..keysync.media.comparison import write_comparison
from .host.frames import steps
from .host.remedies import remedies
from .host.search import schema
from .host.temporary import temporary_video
from .host.video import open_video, sound_of


class CompareVideos(io.ComfyNode):
    """Shows two videos side by side."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncCompareVideos",
            display_name="Compare Videos",
            category="KeySync",
            description="Shows two videos side by side, each with its label: the same moment of both, with the sound "
            "of the second one. Memory use does not grow with the length.",
            inputs=[
                io.Video.Input("before", tooltip="The video on the left. Where it ends first, its last frame stays."),
                io.Video.Input("after", tooltip="The video on the right. The result has its length and its sound."),
            ],
            outputs=[io.Video.Output(display_name="video", tooltip="Both videos side by side, for Save Video.")],
        )

    @classmethod
    @remedies()
    def execute(cls, before: Input.Video, after: Input.Video) -> io.NodeOutput:
        left, right = open_video(before, "the video before"), open_video(after, "the video after")
        output = temporary_video()
        write_comparison([left, right], output, sound=sound_of(after), step=steps(right.info.frame_count))
        return io.NodeOutput(InputImpl.VideoFromFile(str(output)))


NODES: list[type[io.ComfyNode]] = [CompareVideos]
