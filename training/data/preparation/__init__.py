"""Prepares videos for training: each video passes a chain of stages, whose results are kept."""
