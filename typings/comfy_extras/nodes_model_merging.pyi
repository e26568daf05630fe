from typing import Any

from comfy.model_patcher import ModelPatcher

class ModelSave:
    def save(
        self,
        model: ModelPatcher,
        filename_prefix: str,
        prompt: dict[str, Any] | None = None,
        extra_pnginfo: dict[str, Any] | None = None,
    ) -> dict[str, Any]: ...
