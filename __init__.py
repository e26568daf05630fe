"""KeySync for ComfyUI: lip sync as native nodes. ComfyUI loads this folder and calls `comfy_entrypoint`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .nodes import KeySyncExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> KeySyncExtension:
    """Imports the nodes only when ComfyUI asks for them: the folder itself imports without ComfyUI."""
    from .nodes import KeySyncExtension

    return KeySyncExtension()
