"""Synthesises speech: sentences to sound, phonemes and the motion of the mouth."""
