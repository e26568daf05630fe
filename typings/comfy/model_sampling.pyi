from torch import Tensor, nn

from .supported_models_base import BASE

class EPS:
    def noise_scaling(
        self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False
    ) -> Tensor: ...

class V_PREDICTION(EPS): ...

class ModelSamplingContinuousEDM(nn.Module):
    def __init__(self, model_config: BASE | None = None) -> None: ...
