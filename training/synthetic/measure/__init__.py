"""Measures mouths in pixels and compares them with the ground truth."""
