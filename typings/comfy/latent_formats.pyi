class LatentFormat:
    scale_factor: float
    latent_channels: int
