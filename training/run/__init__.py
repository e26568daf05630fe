"""One training run: its folder, its processes, its checkpoints, and what it tells on its way."""
