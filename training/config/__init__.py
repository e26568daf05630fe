"""The settings of a training run, and their presets."""
