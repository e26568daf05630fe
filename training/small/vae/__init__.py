"""The VAE of the small model."""
