"""A small KeyFace: the recipe of its stages."""
