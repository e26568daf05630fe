"""Faces: found, followed, cropped, masked, and pasted back."""
