"""KeySync: keyframes by diffusion, then the frames between them."""
