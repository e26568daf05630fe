class LatentFormat:
    latent_rgb_factors: list[list[float]] | None
    latent_rgb_factors_bias: list[float] | None
    taesd_decoder_name: str | None

class SD15(LatentFormat): ...
