"""One training run: its folder, processes, checkpoints and progress reports."""
