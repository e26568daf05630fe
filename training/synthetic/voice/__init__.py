"""Speech, synthesised: sentences in, sound, phonemes and the mouth's motion out."""
