"""The VAE between crops and latents."""
