"""Talking heads, drawn: people, light and camera in, pictures and their 68 points out."""
