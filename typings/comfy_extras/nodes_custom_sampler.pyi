from typing import Any, Protocol

from comfy.samplers import CFGGuider, Sampler
from comfy_api.latest import io
from torch import Tensor

class _Noise(Protocol):
    seed: int
    def generate_noise(self, input_latent: dict[str, Any]) -> Tensor: ...

class Noise_RandomNoise:
    seed: int
    def __init__(self, seed: int) -> None: ...
    def generate_noise(self, input_latent: dict[str, Any]) -> Tensor: ...

class SamplerCustomAdvanced(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema: ...
    @classmethod
    def execute(
        cls, noise: _Noise, guider: CFGGuider, sampler: Sampler, sigmas: Tensor, latent_image: dict[str, Any]
    ) -> io.NodeOutput: ...
