"""Weight files: reading, writing, identifying and describing them; the checkpoints of stages."""
