"""The weaker copy of a network that guides it: loaded together with it by the core, evaluated by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.samplers
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from .network import KeySyncModel
from .patches import usable, without_context_windows
from .precision import on_cpu, pinned_attention

# Under this name the core holds it with the model that it guides.
KEY = "keysync_weak"


class WeakNetwork:
    """The MODEL of a weaker copy, with the patches that are its own."""

    def __init__(self, patcher: ModelPatcher) -> None:
        self._patcher = patcher
        self._options = usable(without_context_windows(patcher.model_options))
        if on_cpu(patcher.load_device):
            self._options["transformer_options"].setdefault("optimized_attention_override", pinned_attention)

    @property
    def model(self) -> KeySyncModel:
        model: KeySyncModel = self._patcher.model
        return model

    def beside(self, patcher: ModelPatcher) -> ModelPatcher:
        """The MODEL that it guides: whenever the core loads that one, it loads both."""
        both = patcher.clone()
        both.set_additional_models(KEY, [self._patcher])
        return both

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside, the loaded network can be evaluated."""
        self._patcher.pre_run()
        try:
            yield
        finally:
            self._patcher.cleanup()

    def __call__(self, cond: list[dict[str, Any]], x: Tensor, sigma: Tensor) -> Tensor:
        """The denoised latents (b*t, 4, h, w) of noisy ones, fully conditioned."""
        (predicted,) = comfy.samplers.calc_cond_batch(self.model, [cond], x, sigma, self._options)
        return predicted
