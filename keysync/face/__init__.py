"""Faces: detection, tracking, cropping, masking and pasting."""
