"""Renders talking heads: people, light and camera to pictures and their 68 landmarks."""
