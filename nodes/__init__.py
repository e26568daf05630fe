"""The extension: every node of KeySync, in the order in which a dub is wired."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import (
    animate,
    audio,
    compare,
    dub,
    emotion,
    example,
    face,
    flashlips,
    join,
    keyface,
    lips,
    lips_vectors,
    live,
    mask,
    measure,
    model,
    mouths,
    occluder,
    paste,
    rewrite,
    sampling,
    sound,
    speakers,
    speech,
    training,
    vae,
)


class KeySyncExtension(ComfyExtension):
    """What ComfyUI asks for the nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        parts = (
            rewrite,
            example,
            model,
            vae,
            audio,
            speech,
            face,
            mask,
            occluder,
            sampling,
            lips,
            mouths,
            paste,
            dub,
            speakers,
            flashlips,
            lips_vectors,
            live,
            keyface,
            sound,
            emotion,
            animate,
            join,
            compare,
            measure,
            training,
        )
        return [node for part in parts for node in part.NODES]
