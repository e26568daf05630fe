"""KeyFace: a talking head of any length from one picture, speech or other sounds, and a curve of emotion."""
