from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from .model_base import BaseModel
from .model_patcher import ModelPatcher

class Sampler: ...

class KSAMPLER(Sampler):
    def __init__(self, sampler_function: Callable[..., Tensor]) -> None: ...

class KSamplerX0Inpaint:
    noise: Tensor
    latent_image: Tensor
    def __init__(self, model: object, sigmas: Tensor) -> None: ...
    def __call__(self, x: Tensor, sigma: Tensor, denoise_mask: Tensor | None) -> Tensor: ...

class CFGGuider:
    model_patcher: ModelPatcher
    model_options: dict[str, Any]
    cfg: float
    # The patcher's model, there while sampling.
    inner_model: Any
    def __init__(self, model_patcher: ModelPatcher) -> None: ...
    def inner_sample(self, *args: Any, **kwargs: Any) -> Tensor: ...
    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] = ..., seed: int | None = None
    ) -> Tensor: ...
    def sample(
        self,
        noise: Tensor,
        latent_image: Tensor,
        sampler: Sampler,
        sigmas: Tensor,
        denoise_mask: Tensor | None = None,
        callback: Callable[[int, Tensor, Tensor, int], None] | None = None,
        disable_pbar: bool = False,
        seed: int | None = None,
    ) -> Tensor: ...

def calc_cond_batch(
    model: BaseModel,
    conds: Sequence[list[dict[str, Any]]],
    x_in: Tensor,
    timestep: Tensor,
    model_options: dict[str, Any],
) -> list[Tensor]: ...
def cfg_function(
    model: BaseModel,
    cond_pred: Tensor,
    uncond_pred: Tensor,
    cond_scale: float,
    x: Tensor,
    timestep: Tensor,
    model_options: dict[str, Any] = ...,
    cond: list[dict[str, Any]] | None = None,
    uncond: list[dict[str, Any]] | None = None,
) -> Tensor: ...
def sampler_object(name: str) -> KSAMPLER: ...
