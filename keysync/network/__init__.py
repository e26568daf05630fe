"""The diffusion network and its mathematics: layers, U-Net, stage, noise, schedule, guidance, Euler's method."""
